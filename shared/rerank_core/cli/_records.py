"""Candidates from any input, and back to JSON Lines with nothing lost."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rerank_core._checks import describe
from rerank_core.cli._formats import (
    BadEntry,
    Cells,
    Entry,
    InputFormat,
    decode_line,
    looks_like_table,
    read_entries,
    skip_gap,
    suggest_field,
)

__all__ = ["InputFormat", "Record", "read_records"]

SCORE_FIELD = "relevance_score"
_LINE_BREAK = re.compile(r"([\[{])?\r?\n[ \t\r\n]*([\]}])?")


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


def read_records(
    lines: Iterable[bytes],
    input_format: InputFormat,
    *,
    with_priors: bool,
    reject: Callable[[int, str], None],
    text_field: str = "text",
    name: str = "",
    note: Callable[[str], object] = str,
) -> list[Record]:
    """Read every candidate; blank lines are passed over.

    A plain line becomes the record ``{"id": <its line number>, "text": <the line>}``, as does a
    string in a JSON array with its place there.

    Args:
        lines: The input, see `read_entries`.
        input_format: How it is to be read.
        with_priors: Whether every candidate must have a first-stage score in its field ``score``;
            if not, the field is only passed through.
        reject: Called with the number, from 1, of a line that holds no candidate, and the reason.
            The line is skipped, unless this raises.
        text_field: The field or column that holds the text.
        name: The file's name, for messages and for its ending.
        note: Called with what may be amiss though everything was read.

    Raises:
        Failure: If the input as a whole cannot be read.
    """
    records: list[Record] = []
    plain = input_format is InputFormat.AUTO
    for entry in read_entries(lines, input_format, text_field, name):
        try:
            record = _record(entry, text_field, with_priors)
        except BadEntry as error:
            reject(entry.line, f"item {entry.item}: {error}" if entry.item else str(error))
        else:
            records += [record] if record else []
            plain &= entry.format is InputFormat.LINES
    if plain and looks_like_table([record.text for record in records]):
        note("read as plain lines; a table needs --input-format csv or tsv, and a header")
    return records


def _record(entry: Entry, text_field: str, with_priors: bool) -> Record | None:
    """Return the candidate in an entry; None for a blank line."""
    content = entry.content
    if isinstance(content, Cells):
        return _from_row(content, text_field, with_priors)
    text = content if isinstance(content, str) else decode_line(content)
    if not text.strip():
        return None
    if entry.format is InputFormat.LINES:
        return _from_text(text, entry.line, text_field, with_priors)
    value = _parse(text)
    if isinstance(value, str) and entry.format is InputFormat.JSON:
        return _from_text(value, entry.item, text_field, with_priors)
    return _from_json(text, value, text_field, with_priors)


def _from_text(text: str, number: int, text_field: str, with_priors: bool) -> Record:
    if with_priors:
        raise BadEntry("plain text has no score to blend with; use JSON Lines, or --blend rrf")
    members = {"id": f'"id": {number}', text_field: _member(text_field, text)}
    return Record(text, str(number), None, members)


def _from_row(row: Cells, text_field: str, with_priors: bool) -> Record:
    if len(row.values) != len(row.names):
        raise BadEntry(f"has {len(row.values)} fields, and the header {len(row.names)}")
    fields: dict[str, Any] = dict(zip(row.names, row.values, strict=True))
    members = {name: _member(name, value) for name, value in fields.items()}
    prior = None
    if with_priors:
        with suppress(KeyError, ValueError):
            fields["score"] = float(fields["score"])
        prior = _prior(fields)
    return Record(fields[text_field], fields.get("id", ""), prior, members)


def _member(name: str, value: str) -> str:
    name, value = (json.dumps(text, ensure_ascii=False) for text in (name, value))
    return f"{name}: {value}"


def _from_json(source: str, fields: object, text_field: str, with_priors: bool) -> Record:
    if not isinstance(fields, dict):
        raise BadEntry(f"must be a JSON object, not {describe(fields)}")
    if text_field not in fields:
        raise BadEntry(f'the field "{text_field}" is missing{_likely(text_field, fields)}')
    text = fields[text_field]
    if not isinstance(text, str):
        raise BadEntry(f'"{text_field}" must be a string, not {describe(text)}')
    members = _members(source)
    label = fields.get("id", "")
    if not isinstance(label, str):
        label = members["id"].partition(":")[2].strip()  # the digits as they were written
    return Record(text, label, _prior(fields) if with_priors else None, members)


def _likely(text_field: str, fields: dict[str, Any]) -> str:
    """Say where the text may be instead."""
    there = suggest_field(text_field, [name for name in fields if isinstance(fields[name], str)])
    lists = [name for name in fields if isinstance(fields[name], list)]
    if lists and not there:
        return f"; if the candidates are in {lists[0]!r}, pass that array alone"
    return there


def _prior(fields: dict[str, Any]) -> float:
    score = fields.get("score")
    if score is None:
        raise BadEntry('the field "score" is missing; blending needs it, but for --blend rrf')
    if not isinstance(score, float) or not math.isfinite(score):
        raise BadEntry(f'"score" must be a finite number, not {describe(score)}')
    return score


def _parse(line: str) -> Any:
    try:
        # Whole numbers are read as floats too: only their value as a score is wanted, and int()
        # refuses more than 4300 digits.
        return json.loads(
            line, parse_int=float, parse_constant=_refuse_constant, object_pairs_hook=_unique
        )
    except json.JSONDecodeError as error:
        raise BadEntry(f"not JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise BadEntry("nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise BadEntry(f"not JSON: {name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise BadEntry(f"the field {describe(name)} is there twice")
        fields[name] = value
    return fields


def _members(source: str) -> dict[str, str]:
    """Cut a valid JSON object into its members, by name, without rewriting any but for lines."""
    decode = json.JSONDecoder(parse_int=float).raw_decode
    members: dict[str, str] = {}
    position = skip_gap(source, 0)
    while source[position] != "}":
        name, end = decode(source, position)
        _, end = decode(source, skip_gap(source, end))
        members[name] = _on_one_line(source[position:end])
        position = skip_gap(source, end)
    return members


def _on_one_line(member: str) -> str:
    """Join the lines of JSON, which breaks lines between values only."""
    return _LINE_BREAK.sub(lambda found: (found[1] or "") + (found[2] or "") or " ", member)
