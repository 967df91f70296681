"""Human judgements (qrels) in BEIR's and in TREC's format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from rerank_core._errors import InvalidInputError
from rerank_core.evaluation._lines import Line, first_line, read_lines

__all__ = ["Judgements", "read_judgements"]

Judgements: TypeAlias = Mapping[str, Mapping[str, int]]
"""For each query id the grade of each judged document id."""

_HEADER = ("query-id", "corpus-id", "score")


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements.

    Two formats are told apart by the first line: BEIR's has the header ``query-id``,
    ``corpus-id``, ``score`` and tabs; TREC's has four columns, ``query iteration document grade``,
    and no header. Grades are whole numbers; 0 and less are judged not relevant.

    Args:
        path: The file.

    Raises:
        InvalidInputError: If a line is wrong, with its number; if a document is judged twice for
            a query, with two grades. The same grade twice says nothing new and is passed over.
    """
    judgements: dict[str, dict[str, int]] = {}
    places: dict[tuple[str, str], int] = {}
    for line, query, document, value in _rows(path):
        grade = line.integer(value, "the grade")
        grades = judgements.setdefault(query, {})
        if grades.setdefault(document, grade) != grade:
            raise line.error(
                f"document {document!r} is judged {grade} for query {query!r}, but "
                f"{grades[document]} on line {places[query, document]}"
            )
        places.setdefault((query, document), line.number)
    if not judgements:
        raise InvalidInputError(f"{path}: holds no judgements")
    return judgements


def _rows(path: Path) -> Iterator[tuple[Line, str, str, str]]:
    if tuple(first_line(path).split("\t")) == _HEADER:
        lines = read_lines(path)
        next(lines)
        for line in lines:
            row = line.text.split("\t")
            if len(row) != 3 or not row[0] or not row[1]:
                raise line.error(
                    f"{len(row)} columns, but there must be query-id, corpus-id and score, "
                    "with tabs between them"
                )
            yield line, row[0], row[1], row[2]
        return
    for line in read_lines(path):
        row = line.text.split()
        if len(row) != 4:
            raise line.error(
                f"{len(row)} columns, but there must be 4 (query iteration document grade), or a "
                "first line query-id, corpus-id, score with tabs between them"
            )
        yield line, row[0], row[2], row[3]
