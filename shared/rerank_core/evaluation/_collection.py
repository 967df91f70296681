"""Test collections: documents, queries and human judgements, in BEIR's layout."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from rerank_core._checks import describe, is_blank
from rerank_core._errors import InvalidInputError
from rerank_core.evaluation._lines import Line, read_objects, read_table

__all__ = [
    "MOST_GRADE",
    "Answers",
    "Collection",
    "Judgements",
    "digest",
    "read_collection",
    "texts_of",
]

Answers: TypeAlias = Mapping[str, Mapping[str, Sequence[tuple[int, int]]]]
"""Places of the answers in each document, by query id and document id."""

Judgements: TypeAlias = Mapping[str, Mapping[str, int]]
"""Grade of each judged document, by query id and document id."""

MOST_GRADE = 1_000_000
"""The highest grade: the programs that measure count all up to it."""

_ANSWERS = ("query-id", "corpus-id", "start", "end")
_QRELS = ("query-id", "corpus-id", "score")
_SAMPLE = ("question", "answers")
_TREC_QRELS = ("query-id", "iteration", "corpus-id", "score")


@dataclass(frozen=True)
class Collection:
    """Documents, queries and judgements to evaluate on.

    Attributes:
        name: Name of the collection.
        documents: Text of each document by id.
        queries: Text of each query by id.
        judgements: Grade of each judged document, by query id and document id. Documents with a
            grade of 0 or less, or without one, are not relevant.
        notes: Remarks on what was skipped while reading.
        folder: The folder it was read from.
        headers: What stands before a document's own text, such as its title, by id. Trimmers read
            it, and cut only what follows it.
        answers: Places of the answers in the documents' own texts, by query id and document id:
            the first character of each, and the one after its last. Optional; `evaluate` tells
            how many of them are left after trimming.

    Example:
        ```python
        from rerank_core.evaluation import Collection

        documents = {"1": "Cats purr.", "2": "Dogs bark."}
        pets = Collection("pets", documents, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        print(pets.evaluated)
        ```

        ```text
        ('q',)
        ```
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judgements: Judgements
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)

    @classmethod
    def sample(cls) -> Collection:
        """Load the collection that ships with the package: 146 questions about Python.

        Its 2,819 documents are passages of Python's own documentation. The questions were written
        by hand, and fixed before any reranker was run on them.

        Example:
            ```python
            from rerank_core.evaluation import Collection

            sample = Collection.sample()
            print(len(sample.queries), "questions over", len(sample.documents), "passages")
            print(sample.queries["q075"])
            print(sample.judgements["q075"])
            ```
        """
        folder = Path(__file__).with_name("sample")
        passages = json.loads(gzip.decompress((folder / "passages.json.gz").read_bytes()))
        headers = {name: f"{name.partition('#')[0]}: " for name in passages}
        documents = {name: headers[name] + text for name, text in passages.items()}
        queries, judgements = {}, {}
        for line, (question, answers) in read_table(folder / "questions.tsv", _SAMPLE, _SAMPLE):
            query = f"q{line.number - 1:03}"
            queries[query] = question
            judgements[query] = dict.fromkeys(answers.split(", "), 1)
        return cls("python-docs", documents, queries, judgements, headers=headers)

    @cached_property
    def evaluated(self) -> tuple[str, ...]:
        """Sorted ids of the queries that have a text and a judgement of at least 1."""
        return tuple(
            sorted(
                query
                for query, grades in self.judgements.items()
                if query in self.queries and any(grade > 0 for grade in grades.values())
            )
        )

    def own_text(self, document: str) -> str:
        """Return a document's text without its header."""
        return self.documents[document][len(self.headers.get(document, "")) :]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the ids and texts of documents and queries; their order does not matter."""
        return digest(
            chain(
                [str(len(self.documents))],
                chain.from_iterable(sorted(self.documents.items())),
                chain.from_iterable(sorted(self.queries.items())),
            )
        )


def digest(texts: Iterable[str]) -> str:
    """Return a hash of texts that depends on where each of them ends."""
    found = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def read_collection(
    folder: str | Path, *, qrels: str | None = None, name: str | None = None
) -> Collection:
    """Read a collection in BEIR's layout (https://github.com/beir-cellar/beir).

    The folder contains ``corpus.jsonl`` (``_id``, ``text`` and optionally ``title``),
    ``queries.jsonl`` (``_id`` and ``text``) and judgements. A title is put before its text, as
    ``title + ". " + text``. Lone surrogates become U+FFFD.

    Judgements are tab-separated with the header ``query-id``, ``corpus-id``, ``score``, or have
    TREC's four columns ``query iteration document grade`` and no header. Grades are integers.

    Judgements of documents without a text are common, since judgements are often shared with a
    larger corpus. Queries without a text or without judgements are left out. `Collection.notes`
    counts all of them.

    An optional ``answers.tsv``, with the header ``query-id``, ``corpus-id``, ``start``, ``end`` and
    tabs, tells which part of a document's ``text`` answers a query: ``text[start:end]``, in
    characters as Python counts them, without the title. A query may have several answers.

    Args:
        folder: The folder.
        qrels: Path of the judgements, relative to the folder. Default: ``qrels.tsv``, otherwise
            ``qrels/test.tsv``.
        name: Name of the collection. Default: the folder's name.

    Raises:
        InvalidInputError: If a file is missing; if a line is malformed, repeats an id, or
            contradicts an earlier judgement (the error has its number); if an answer is not
            in its text; if no query can be evaluated.

    Example:
        ```python
        from pathlib import Path
        from tempfile import mkdtemp
        from rerank_core.evaluation import read_collection

        folder = Path(mkdtemp())
        (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "Cats purr."}')
        (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "Do cats purr?"}')
        (folder / "qrels.tsv").write_text("q1 0 d1 1")
        print(read_collection(folder).judgements)
        ```

        ```text
        {'q1': {'d1': 1}}
        ```
    """
    root = Path(folder)
    if not root.is_dir():
        raise InvalidInputError(
            f"{root}: no such folder; a collection is a folder with corpus.jsonl, queries.jsonl "
            "and qrels.tsv"
        )
    judged = _qrels_file(root, qrels)
    documents, headers = _read_texts(root / "corpus.jsonl", with_title=True)
    queries, _ = _read_texts(root / "queries.jsonl", with_title=False)
    collection = Collection(
        name or root.resolve().name,
        documents,
        queries,
        _read_judgements(judged),
        folder=root,
        headers=headers,
    )
    if not collection.evaluated:
        raise InvalidInputError(
            f"{judged}: no query of {root / 'queries.jsonl'} has a judgement of at least 1; "
            "check that the files belong together"
        )
    notes = _notes(collection)
    if (places := root / "answers.tsv").exists():
        answers, unknown = _read_answers(places, collection)
        collection = replace(collection, answers=answers)
        if unknown:
            notes += (f"{unknown} answers have no query or document here and are left out",)
    return replace(collection, notes=notes)


def _qrels_file(root: Path, chosen: str | None) -> Path:
    names = ("qrels.tsv", "qrels/test.tsv") if chosen is None else (chosen,)
    for name in names:
        if (root / name).is_file():
            return root / name
    present = sorted(
        path.relative_to(root).as_posix()
        for pattern in ("qrels*.tsv", "qrels*.txt", "qrels/*.tsv")
        for path in root.glob(pattern)
    )
    found = f"there is {', '.join(present)}" if present else "and no other file of judgements"
    raise InvalidInputError(f"{root}: no {' or '.join(names)}; {found}")


def _read_texts(path: Path, *, with_title: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return the texts by id, and what stands before those that have a title."""
    texts: dict[str, str] = {}
    headers: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, identity, text, header in texts_of(path, with_title=with_title):
        if identity in texts:
            raise line.error(f'"_id" {identity!r} appears twice, first on line {lines[identity]}')
        texts[identity], lines[identity] = text, line.number
        if header:
            headers[identity] = header
    if not texts:
        raise InvalidInputError(f"{path}: is empty; it must have one JSON object per line")
    return texts, headers


def texts_of(path: Path, *, with_title: bool) -> Iterator[tuple[Line, str, str, str]]:
    """Read the texts of a collection's file one by one.

    Args:
        path: ``corpus.jsonl`` or ``queries.jsonl``.
        with_title: Read documents, which may have a title and be blank.

    Yields:
        The line, the id, the text, and what stands before it if there is a title.

    Raises:
        InvalidInputError: If the file cannot be read, or a line is malformed.
    """
    for line, fields in read_objects(path):
        identity = _string(line, fields, "_id")
        if not identity.strip():
            raise line.error('"_id" is blank')
        parts = [_string(line, fields, "text")]
        if with_title and fields.get("title") is not None:
            parts.insert(0, _string(line, fields, "title"))
        # Lone surrogates have no encoding.
        parts = [
            part.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            for part in parts
            if not is_blank(part)
        ]
        if not with_title and not parts:
            raise line.error('"text" is blank; a query needs a text')
        yield line, identity, ". ".join(parts), f"{parts[0]}. " if len(parts) > 1 else ""


def _string(line: Line, fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        found = describe(value) if name in fields else "missing"
        raise line.error(f'"{name}" must be a string; it is {found}')
    return value


def _read_judgements(path: Path) -> Judgements:
    judgements: dict[str, dict[str, int]] = {}
    lines: dict[tuple[str, str], int] = {}
    for line, (query, document, value) in read_table(path, _QRELS, _TREC_QRELS):
        grade = line.integer(value, "the grade")
        if abs(grade) > MOST_GRADE:
            raise line.error(f"the grade must be at most {MOST_GRADE:,}, not {describe(value)}")
        # The same grade twice is no contradiction.
        known = judgements.setdefault(query, {}).setdefault(document, grade)
        first = lines.setdefault((query, document), line.number)
        if known != grade:
            raise line.error(
                f"document {document!r} is judged {grade} for query {query!r}, but {known} on "
                f"line {first}"
            )
    if not judgements:
        raise InvalidInputError(f"{path}: has no judgements")
    return judgements


def _read_answers(path: Path, collection: Collection) -> tuple[Answers, int]:
    """Return the answers, and the number of those whose query or document is unknown."""
    answers: dict[str, dict[str, list[tuple[int, int]]]] = {}
    unknown = 0
    for line, (query, document, *places) in read_table(path, _ANSWERS, _ANSWERS):
        start, end = map(line.integer, places, ("start", "end"))
        if query not in collection.queries or document not in collection.documents:
            unknown += 1
            continue
        length = len(collection.own_text(document))
        if not 0 <= start < end <= length:
            raise line.error(
                f"{start} to {end} is no part of document {document!r}, whose text has {length} "
                "characters"
            )
        answers.setdefault(query, {}).setdefault(document, []).append((start, end))
    return answers, unknown


def _notes(collection: Collection) -> tuple[str, ...]:
    queries, judgements = collection.queries.keys(), collection.judgements.keys()
    judged = set(chain.from_iterable(collection.judgements.values()))
    without_text = judged - collection.documents.keys()
    without_relevant = (judgements & queries) - set(collection.evaluated)
    counts = {
        f"of {len(judged)} judged documents have no text here": without_text,
        "judged queries have no text here and are left out": judgements - queries,
        "judged queries have no relevant document and are left out": without_relevant,
        "queries have no judgements and are left out": queries - judgements,
    }
    return tuple(f"{len(found)} {problem}" for problem, found in counts.items() if found)
