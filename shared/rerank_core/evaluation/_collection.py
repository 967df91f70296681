"""A test collection: documents, queries and human judgements, in BEIR's layout."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rerank_core._checks import describe
from rerank_core._errors import InvalidInputError
from rerank_core.evaluation._judgements import Judgements, read_judgements
from rerank_core.evaluation._lines import read_objects

__all__ = ["Collection", "read_collection"]


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
        digest = hashlib.blake2b(digest_size=16)
        for texts in (self.documents, self.queries):
            for identity in sorted(texts):
                for part in (identity.encode(), texts[identity].encode()):
                    digest.update(len(part).to_bytes(8, "big") + part)
            digest.update(b"\xff" * 8)
        return digest.hexdigest()


def read_collection(
    folder: str | Path, *, qrels: str | None = None, name: str | None = None
) -> Collection:
    """Read a collection in BEIR's layout (https://github.com/beir-cellar/beir).

    The folder holds ``corpus.jsonl`` (``_id``, ``text``, perhaps ``title``), ``queries.jsonl``
    (``_id``, ``text``) and judgements. A document's text is its title, a full stop, a blank and
    its text; without a title the text alone. Lone surrogates become U+FFFD.

    Judged documents without text are normal, since a pool is often judged on a larger corpus;
    judged queries without text cannot be evaluated. Both are counted in `Collection.notes`.

    Args:
        folder: The folder.
        qrels: The file of judgements, a path from the folder. Default: ``qrels.tsv``, else
            ``qrels/test.tsv``.
        name: What to call it. Default: the folder's name.

    Raises:
        InvalidInputError: If a file is missing or a line is wrong, with its number; if an id is
            there twice; if no query can be evaluated.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InvalidInputError(
            f"{root}: no such folder; a collection is a folder with corpus.jsonl, queries.jsonl "
            "and qrels.tsv"
        )
    judged = _qrels_file(root, qrels)
    documents = _read_texts(root / "corpus.jsonl", with_title=True)
    queries = _read_texts(root / "queries.jsonl", with_title=False)
    judgements = read_judgements(judged)
    collection = Collection(
        name or root.resolve().name,
        documents,
        queries,
        judgements,
        tuple(_notes(documents, queries, judgements)),
        root,
    )
    if not collection.evaluated:
        raise InvalidInputError(
            f"{judged}: no query of {root / 'queries.jsonl'} has a judgement of at least 1; "
            "do the files belong together?"
        )
    return collection


def _qrels_file(root: Path, chosen: str | None) -> Path:
    names = ("qrels.tsv", "qrels/test.tsv") if chosen is None else (chosen,)
    for name in names:
        if (root / name).is_file():
            return root / name
    there = sorted(
        path.relative_to(root).as_posix()
        for pattern in ("qrels*.tsv", "qrels*.txt", "qrels/*.tsv")
        for path in root.glob(pattern)
    )
    found = f"there is {', '.join(there)}" if there else "and nothing that looks like judgements"
    raise InvalidInputError(f"{root}: no {' or '.join(names)}; {found}")


def _read_texts(path: Path, *, with_title: bool) -> dict[str, str]:
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, fields in read_objects(path):
        identity = fields.get("_id")
        if not isinstance(identity, str) or not identity.strip():
            found = describe(identity) if "_id" in fields else "missing"
            raise line.error(f'"_id" must be a string that is not blank; it is {found}')
        if identity in texts:
            raise line.error(f'"_id" {identity!r} is there twice, first on line {lines[identity]}')
        parts = []
        for name in ("title", "text") if with_title else ("text",):
            part = fields.get(name, "" if name == "title" else None)
            if part is None and name == "title":
                part = ""
            if not isinstance(part, str):
                found = describe(part) if name in fields else "missing"
                raise line.error(f'"{name}" must be a string; it is {found}')
            parts.append(part)
        text = _encodable(". ".join(part for part in parts if part.strip()))
        if not with_title and not text:
            raise line.error('"text" is blank, but a query must ask something')
        texts[identity], lines[identity] = text, line.number
    if not texts:
        raise InvalidInputError(f"{path}: is empty; it must hold one JSON object a line")
    return texts


def _encodable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _notes(
    documents: Mapping[str, str], queries: Mapping[str, str], judgements: Judgements
) -> Iterable[str]:
    judged = {document for grades in judgements.values() for document in grades}
    without_text = len(judged - documents.keys())
    if without_text:
        yield f"{without_text} of {len(judged)} judged documents have no text here"
    unknown = len(judgements.keys() - queries.keys())
    if unknown:
        yield f"{unknown} judged queries have no text here and are left out"
    fruitless = sum(
        query in queries and not any(grade > 0 for grade in grades.values())
        for query, grades in judgements.items()
    )
    if fruitless:
        yield f"{fruitless} judged queries have no relevant document and are left out"
    unjudged = len(queries.keys() - judgements.keys())
    if unjudged:
        yield f"{unjudged} queries have no judgements and are left out"
