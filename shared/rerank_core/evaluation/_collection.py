"""A test collection: documents, queries and human judgements, in BEIR's layout."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from rerank_core.errors import InvalidInputError
from rerank_core.evaluation._lines import Line, read_objects, read_table
from rerank_core.validation import describe

__all__ = ["Collection", "Judgements", "digest", "read_collection"]

Judgements: TypeAlias = Mapping[str, Mapping[str, int]]
"""For each query id the grade of each judged document id."""

_QRELS = ("query-id", "corpus-id", "score")
_TREC_QRELS = ("query-id", "iteration", "corpus-id", "score")


@dataclass(frozen=True)
class Collection:
    """A test collection.

    Attributes:
        name: The folder's name.
        documents: Text of each document by id. With a title it is ``title + ". " + text``.
        queries: Text of each query by id.
        judgements: For each query the grade of each judged document; 0 is judged not relevant.
        notes: What was passed over while reading, in sentences.
        folder: Where it was read from.
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judgements: Judgements
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    @cached_property
    def evaluated(self) -> tuple[str, ...]:
        """Sorted ids of the queries that count: with text, and a judgement of at least 1."""
        return tuple(
            sorted(
                query
                for query, grades in self.judgements.items()
                if query in self.queries and any(grade > 0 for grade in grades.values())
            )
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the documents and queries, ids and texts, whatever their order."""
        return digest(
            chain(
                [str(len(self.documents))],
                chain.from_iterable(sorted(self.documents.items())),
                chain.from_iterable(sorted(self.queries.items())),
            )
        )


def digest(texts: Iterable[str]) -> str:
    """Hash texts; it matters where one ends and the next begins."""
    found = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode()
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def read_collection(
    folder: str | Path, *, qrels: str | None = None, name: str | None = None
) -> Collection:
    """Read a collection in BEIR's layout (https://github.com/beir-cellar/beir).

    The folder holds ``corpus.jsonl`` (``_id``, ``text``, perhaps ``title``), ``queries.jsonl``
    (``_id``, ``text``) and judgements. A document's text is its title, a full stop, a blank and
    its text; without a title the text alone. Lone surrogates become U+FFFD.

    Judgements are tab-separated with the header ``query-id``, ``corpus-id``, ``score``, or TREC's
    four columns ``query iteration document grade`` without a header. Grades are whole numbers; 0
    and less are judged not relevant.

    Judged documents without text are normal, since a pool is often judged on a larger corpus;
    judged queries without text cannot be evaluated. Both are counted in `Collection.notes`.

    Args:
        folder: The folder.
        qrels: The file of judgements, a path from the folder. Default: ``qrels.tsv``, else
            ``qrels/test.tsv``.
        name: What to call it. Default: the folder's name.

    Raises:
        InvalidInputError: If a file is missing or a line is wrong, with its number; if an id is
            there twice, or a document is judged twice for a query, with two grades; if no query
            can be evaluated.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InvalidInputError(
            f"{root}: no such folder; a collection is a folder with corpus.jsonl, queries.jsonl "
            "and qrels.tsv"
        )
    judged = _qrels_file(root, qrels)
    collection = Collection(
        name or root.resolve().name,
        _read_texts(root / "corpus.jsonl", with_title=True),
        _read_texts(root / "queries.jsonl", with_title=False),
        _read_judgements(judged),
        folder=root,
    )
    if not collection.evaluated:
        raise InvalidInputError(
            f"{judged}: no query of {root / 'queries.jsonl'} has a judgement of at least 1; "
            "do the files belong together?"
        )
    return replace(collection, notes=_notes(collection))


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


def _read_texts(path: Path, *, with_title: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, fields in read_objects(path):
        identity = _string(line, fields, "_id")
        if not identity.strip():
            raise line.error('"_id" is blank')
        if identity in texts:
            raise line.error(f'"_id" {identity!r} is there twice, first on line {lines[identity]}')
        parts = [_string(line, fields, "text")]
        if with_title and fields.get("title") is not None:
            parts.insert(0, _string(line, fields, "title"))
        text = ". ".join(part for part in parts if part.strip())
        if not with_title and not text:
            raise line.error('"text" is blank, but a query must ask something')
        # Lone surrogates have no encoding.
        texts[identity] = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        lines[identity] = line.number
    if not texts:
        raise InvalidInputError(f"{path}: is empty; it must hold one JSON object a line")
    return texts


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
        # The same grade twice says nothing new.
        known = judgements.setdefault(query, {}).setdefault(document, grade)
        first = lines.setdefault((query, document), line.number)
        if known != grade:
            raise line.error(
                f"document {document!r} is judged {grade} for query {query!r}, but {known} on "
                f"line {first}"
            )
    if not judgements:
        raise InvalidInputError(f"{path}: holds no judgements")
    return judgements


def _notes(collection: Collection) -> tuple[str, ...]:
    queries, judgements = collection.queries.keys(), collection.judgements.keys()
    judged = set(chain.from_iterable(collection.judgements.values()))
    textless = judged - collection.documents.keys()
    fruitless = (judgements & queries) - set(collection.evaluated)
    counts = {
        f"of {len(judged)} judged documents have no text here": textless,
        "judged queries have no text here and are left out": judgements - queries,
        "judged queries have no relevant document and are left out": fruitless,
        "queries have no judgements and are left out": queries - judgements,
    }
    return tuple(f"{len(found)} {problem}" for problem, found in counts.items() if found)
