"""Outputs of a bulk job: files of whole parts, and rows that failed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core._errors import InvalidInputError, MissingExtraError
from rerank_core._files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["json_lines", "trec_lines", "write_lines", "write_table"]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file that appears complete or not at all."""
    with replacing(path) as stream:
        stream.writelines(line.encode() + b"\n" for line in lines)


def write_table(path: Path, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
    """Write Parquet to a file that appears complete or not at all.

    Args:
        path: The file.
        rows: An Arrow table; or rows of JSON, whose fields differ from row to row, so that only
            the id, the query, and each candidate's id and text are written.

    Raises:
        MissingExtraError: If pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("ray", "Writing Parquet") from error
    if not isinstance(rows, pa.Table):
        schema = pa.schema(
            {
                "id": pa.string(),
                "query": pa.string(),
                "candidates": pa.list_(pa.struct({"id": pa.string(), "text": pa.string()})),
                "relevance_scores": pa.list_(pa.float64()),
                "positions": pa.list_(pa.int64()),
                "degraded": pa.string(),
            }
        )
        rows = pa.Table.from_pylist([*rows], schema)
    with replacing(path) as stream:
        pq.write_table(rows, stream)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Write each row on a line; what JSON has no word for, such as a date, as a string."""
    for row in rows:
        line = json.dumps(row, ensure_ascii=False, default=str)
        try:
            line.encode()
        except UnicodeEncodeError:  # a lone surrogate, which only an escape can stand for
            line = json.dumps(row, default=str)
        yield line


def trec_lines(query: str, candidates: Sequence[str], scores: Sequence[Any], tag: str) -> list[str]:
    """Write a ranking as lines of a TREC run.

    Candidates without a score get one below all others, since programs that read runs sort them
    by score.

    Raises:
        InvalidInputError: If an id is empty, has a space, or is there twice.
    """
    for name in (query, *candidates):
        if name.split() != [name]:
            raise InvalidInputError(f"id {name!r} cannot be in a TREC run: empty, or with a space")
    if twice := next((name for name, times in Counter(candidates).items() if times > 1), None):
        raise InvalidInputError(f"candidate {twice!r} cannot be in a TREC run twice")
    least = min((score for score in scores if score is not None), default=0.0)
    lines = []
    for rank, (name, score) in enumerate(zip(candidates, scores, strict=True), start=1):
        shown = least - rank if score is None else score
        lines.append(f"{query} Q0 {name} {rank} {shown!r} {tag}")
    return lines
