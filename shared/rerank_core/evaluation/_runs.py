"""First-stage candidates, and runs that hold them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rerank_core._errors import InvalidInputError
from rerank_core.evaluation._collection import Collection
from rerank_core.evaluation._lines import Line, first_line, read_lines

__all__ = ["Candidate", "FirstStage", "read_run"]

_HEADER = ("query-id", "corpus-id", "rank", "score")


class Candidate(NamedTuple):
    """A document that the first stage found, with its score there; higher is better."""

    id: str
    score: float


@dataclass(frozen=True)
class FirstStage:
    """What a first stage found for the queries of a collection.

    Attributes:
        name: Such as ``"bm25"`` or ``"run:bm25"``.
        candidates: For each query id its candidates, best first. A query may have none.
        settings: How they were found, in plain values.
        notes: What was passed over, in sentences.
    """

    name: str
    candidates: Mapping[str, tuple[Candidate, ...]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_run(collection: Collection, run: str, depth: int) -> FirstStage:
    """Read a run: the candidates that some retriever found.

    Two formats are told apart by the first line: one with the header ``query-id``, ``corpus-id``,
    ``rank``, ``score`` and tabs, and TREC's six columns ``query Q0 document rank score tag``.
    Candidates are ordered by score, as trec_eval does; equal scores by rank, then by line.

    A run of a larger set of queries is normal, so queries that do not count are passed over. A
    document without text cannot be reranked, and dropping it would change the first stage: that
    is an error.

    Args:
        collection: What it is a run of.
        run: The name in a file ``run.NAME.tsv`` of the collection's folder, or a path.
        depth: At most this many candidates a query.

    Raises:
        InvalidInputError: If there is no such run, a line is wrong (with its number), names a
            document that has no text, or one twice for a query.
    """
    path = _run_file(collection, run)
    rows: dict[str, list[tuple[float, int, int, str]]] = {}
    lines: dict[tuple[str, str], int] = {}
    passed_over: set[str] = set()
    counted = set(collection.evaluated)
    for line, query, document, rank, score in _rows(path):
        entry = (
            -line.number_of(score, "the score"),
            line.integer(rank, "the rank"),
            line.number,
            document,
        )
        if query not in counted:
            passed_over.add(query)
            continue
        if document not in collection.documents:
            raise line.error(f"document {document!r} has no text in {collection.name}")
        first = lines.setdefault((query, document), line.number)
        if first != line.number:
            raise line.error(
                f"document {document!r} is there twice for query {query!r}, first on line {first}"
            )
        rows.setdefault(query, []).append(entry)
    candidates = {
        query: tuple(
            Candidate(document, -negative)
            for negative, _, _, document in sorted(rows.get(query, []))[:depth]
        )
        for query in collection.evaluated
    }
    notes = []
    if empty := sum(not found for found in candidates.values()):
        notes.append(f"{empty} of {len(counted)} queries have no candidates in {path.name}")
    if passed_over:
        notes.append(f"{len(passed_over)} queries of {path.name} do not count here")
    content = hashlib.blake2b(json.dumps(candidates).encode(), digest_size=16).hexdigest()
    settings = {"kind": "run", "file": path.name, "content": content}
    return FirstStage(f"run:{run}", candidates, settings, tuple(notes))


def _run_file(collection: Collection, run: str) -> Path:
    folder = collection.folder
    shipped = folder / f"run.{run}.tsv" if folder else None
    for path in (shipped, Path(run)):
        if path is not None and path.is_file():
            return path
    runs = sorted(path.name[4:-4] for path in folder.glob("run.*.tsv")) if folder else []
    found = f"its runs are {', '.join(runs)}" if runs else "it has no runs"
    raise InvalidInputError(
        f"collection {collection.name!r} has no run {run!r}, nor is there a file of that name; "
        f"{found}"
    )


def _rows(path: Path) -> Iterator[tuple[Line, str, str, str, str]]:
    if tuple(first_line(path).split("\t")) == _HEADER:
        lines = read_lines(path)
        next(lines)
        for line in lines:
            row = line.text.split("\t")
            if len(row) != 4 or not row[0] or not row[1]:
                raise line.error(
                    f"{len(row)} columns, but there must be query-id, corpus-id, rank and score, "
                    "with tabs between them"
                )
            yield line, row[0], row[1], row[2], row[3]
        return
    for line in read_lines(path):
        row = line.text.split()
        if len(row) != 6:
            raise line.error(
                f"{len(row)} columns, but there must be 6 (query Q0 document rank score tag), or "
                "a first line query-id, corpus-id, rank, score with tabs between them"
            )
        yield line, row[0], row[2], row[3], row[4]
