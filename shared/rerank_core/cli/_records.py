"""Candidates from JSON Lines or plain lines, and back to JSON Lines with nothing lost."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from rerank_core.validation import describe

__all__ = ["InputFormat", "Record", "read_records"]

SCORE_FIELD = "relevance_score"
_GAP = re.compile(r"[ \t\r\n]*[{:,]?[ \t\r\n]*")


class InputFormat(StrEnum):
    """How candidates are written."""

    AUTO = "auto"
    """JSON Lines if the first line that is not blank starts with ``{``, else plain lines."""
    JSONL = "jsonl"
    LINES = "lines"


@dataclass(frozen=True, slots=True)
class Record:
    """One candidate as it was read.

    Attributes:
        text: What is scored.
        label: Its id, for people.
        prior: Its first-stage score, where one was asked for.
        members: By name, the members of its JSON object exactly as they were written. Numbers
            keep every digit, and strings their escapes, because neither is written anew.
    """

    text: str
    label: str
    prior: float | None
    members: dict[str, str]

    def to_json(self, score: float | None) -> str:
        """Write the record on one line.

        Args:
            score: Its ``relevance_score``, which replaces one that was read. None leaves it out.

        Returns:
            A JSON object with the members in the order they came.
        """
        members = dict(self.members)
        if score is None:
            members.pop(SCORE_FIELD, None)
        else:
            members[SCORE_FIELD] = f'"{SCORE_FIELD}": {score!r}'
        return f"{{{', '.join(members.values())}}}"


class _BadLine(ValueError):
    """A line that holds no candidate; the message says why."""


def read_records(
    lines: Iterable[bytes],
    input_format: InputFormat,
    *,
    with_priors: bool,
    reject: Callable[[int, str], None],
) -> list[Record]:
    """Read every candidate; blank lines are passed over.

    A plain line becomes the record ``{"id": <its line number>, "text": <the line>}``.

    Args:
        lines: UTF-8 with or without a byte order mark, cut at line feeds only.
        input_format: How the lines are to be read.
        with_priors: Whether every candidate must have a first-stage score in its field ``score``;
            if not, the field is only passed through.
        reject: Called with the number, from 1, of a line that holds no candidate, and the reason.
            The line is skipped, unless this raises.
    """
    records: list[Record] = []
    for number, raw in enumerate(lines, start=1):
        try:
            line = _decode(raw)
            if not line.strip():
                continue
            if input_format is InputFormat.AUTO:
                is_json = line.lstrip().startswith("{")
                input_format = InputFormat.JSONL if is_json else InputFormat.LINES
            if input_format is InputFormat.JSONL:
                records.append(_from_json(line, with_priors))
            else:
                records.append(_from_line(line, number, with_priors))
        except _BadLine as error:
            reject(number, str(error))
    return records


def _decode(raw: bytes) -> str:
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise _BadLine(f"not UTF-8: byte 0x{raw[error.start]:02x} at {error.start + 1}") from None
    # Files that were joined end to end have a byte order mark in the middle.
    return line.removesuffix("\n").removesuffix("\r").removeprefix("\ufeff")


def _from_line(line: str, number: int, with_priors: bool) -> Record:
    if with_priors:
        raise _BadLine("a plain line has no score to blend with; use JSON Lines, or --blend rrf")
    members = {"id": f'"id": {number}', "text": f'"text": {json.dumps(line, ensure_ascii=False)}'}
    return Record(line, str(number), None, members)


def _from_json(line: str, with_priors: bool) -> Record:
    fields = _parse(line)
    if not isinstance(fields, dict):
        raise _BadLine(f"must be a JSON object, not {describe(fields)}")
    if "text" not in fields:
        raise _BadLine('the field "text" is missing')
    text = fields["text"]
    if not isinstance(text, str):
        raise _BadLine(f'"text" must be a string, not {describe(text)}')
    members = _members(line)
    label = fields.get("id", "")
    if not isinstance(label, str):
        label = members["id"].partition(":")[2].strip()  # the digits as they were written
    return Record(text, label, _prior(fields) if with_priors else None, members)


def _prior(fields: dict[str, Any]) -> float:
    score = fields.get("score")
    if score is None:
        raise _BadLine('the field "score" is missing; blending needs it, but for --blend rrf')
    if not isinstance(score, float) or not math.isfinite(score):
        raise _BadLine(f'"score" must be a finite number, not {describe(score)}')
    return score


def _parse(line: str) -> Any:
    try:
        # Whole numbers are read as floats too: only their value as a score is wanted, and int()
        # refuses more than 4300 digits.
        return json.loads(
            line, parse_int=float, parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
    except json.JSONDecodeError as error:
        raise _BadLine(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise _BadLine("nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise _BadLine(f"not JSON: {name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _BadLine(f"the field {describe(twice)} is there twice")
    return fields


def _members(line: str) -> dict[str, str]:
    """Cut a valid JSON object into its members, by name, without rewriting any."""
    decode = json.JSONDecoder(parse_int=float).raw_decode
    members: dict[str, str] = {}
    at = _after_gap(line, 0)
    while line[at] != "}":
        name, end = decode(line, at)
        _, end = decode(line, _after_gap(line, end))
        members[name] = line[at:end]
        at = _after_gap(line, end)
    return members


def _after_gap(line: str, at: int) -> int:
    """Pass white space and the brace, colon or comma in it."""
    gap = _GAP.match(line, at)
    return gap.end() if gap else at
