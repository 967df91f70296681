"""Candidates from any input, and back to JSON Lines with nothing lost."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from rerank_core._checks import describe
from rerank_core.cli._formats import (
    MOST_CANDIDATES,
    BadEntry,
    Entry,
    InputFormat,
    decode_line,
    read_entries,
    skip_gap,
    split_cells,
    suggest_field,
)
from rerank_core.cli._guard import Failure

__all__ = ["InputFormat", "Record", "read_records"]

_LINE_BREAK = re.compile(r"([\[{])?\r?\n[ \t\r\n]*([\]}])?")


@dataclass(frozen=True, slots=True)
class Record:
    """A candidate as it was read.

    Attributes:
        text: The text to score.
        label: Its id, for people.
        prior: Its first-stage score, where one is needed.
        members: By name, the members of its JSON object as they were written. Numbers keep every
            digit, and strings their escapes, because neither is written anew.
    """

    text: str
    label: str
    prior: float | None
    members: dict[str, str]

    def metadata(self, fields: Iterable[str]) -> dict[str, Any]:
        """Return the values of these members, of those that there are."""
        return {name: _value(self.members[name]) for name in fields if name in self.members}

    def to_json(self, results: Mapping[str, object], keys: Iterable[str]) -> str:
        """Write the record on one line.

        Args:
            results: Members that it gets; they replace those that were read.
            keys: Members that it loses where `results` has none, such as an earlier score.

        Returns:
            A JSON object with the members in the order they came.
        """
        members = dict(self.members)
        for key in keys:
            if key in results:
                members[key] = f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(results[key])}"
            else:
                members.pop(key, None)
        return f"{{{', '.join(members.values())}}}"


def read_records(
    lines: Iterable[bytes],
    input_format: InputFormat,
    *,
    prior_field: str | None,
    reject: Callable[[int, str], None],
    text_field: str = "text",
    name: str = "",
    note: Callable[[str], object] = str,
) -> list[Record]:
    """Read every candidate, and skip blank lines.

    A plain line becomes the record ``{"id": <its line number>, "text": <the line>}``, as does a
    string in a JSON array with its position there.

    Args:
        lines: The input, see `read_entries`.
        input_format: Its format.
        prior_field: The field that must hold every candidate's first-stage score; None if none
            is needed.
        reject: Called with the number, from 1, of a line without a candidate, and the reason. The
            line is skipped, unless this raises.
        text_field: The field or column that holds the text.
        name: The file's name, for messages and for its ending.
        note: Called with what may be amiss though everything was read.

    Raises:
        Failure: If the input as a whole cannot be read.
    """
    fields = _Fields(text_field, prior_field)
    records: list[Record] = []
    plain = input_format is InputFormat.AUTO
    for entry in read_entries(lines, input_format, text_field, name):
        plain &= entry.format is InputFormat.LINES
        try:
            record = _record(entry, fields)
        except BadEntry as error:
            reject(entry.line, f"item {entry.item}: {error}" if entry.item else str(error))
        else:
            records += [record] if record else []
        if len(records) > MOST_CANDIDATES:
            raise Failure(f"{name}: has more than {MOST_CANDIDATES:,} candidates; rank fewer")
    if plain and records:
        _note_doubts([record.text for record in records], text_field, note)
    return records


def _note_doubts(texts: list[str], text_field: str, note: Callable[[str], object]) -> None:
    """Note plain lines that may be meant as something else."""
    if _looks_like_table(texts):
        note("read as plain lines; a table needs --input-format csv or tsv, and a header")
    elif texts[0].strip() == text_field:
        note(f"read as plain lines; if the first, {text_field!r}, is a header: --input-format csv")
    elif all(len(text) > 1 and text[0] == text[-1] == '"' for text in texts):
        note("read as plain lines, quotes included; JSON strings must be in one array")


def _looks_like_table(lines: list[str]) -> bool:
    """Return whether all of several lines split into the same number of cells, at least two."""

    def cells(line: str, delimiter: str) -> int:
        found = split_cells(line, delimiter)
        return 0 if any(cell.startswith(" ") for cell in found) else len(found)  # 0 for prose

    return len(lines) > 1 and any(
        (count := cells(lines[0], delimiter)) > 1
        and all(cells(line, delimiter) == count for line in lines)
        for delimiter in "\t,;"
    )


class _Fields(NamedTuple):
    """The fields that hold the text and, where it is needed, the first-stage score."""

    text: str
    score: str | None


def _record(entry: Entry, fields: _Fields) -> Record | None:
    """Return the candidate of an entry; None for a blank line."""
    content = entry.content
    if isinstance(content, BadEntry):
        raise content
    if isinstance(content, dict):
        return _from_row(content, fields)
    source = content if isinstance(content, str) else decode_line(content)
    if not source.strip():
        return None
    if entry.format is InputFormat.LINES:
        return _from_text(source, entry.line, fields)
    value = _parse(source)
    if isinstance(value, str) and entry.format is InputFormat.JSON:
        return _from_text(value, entry.item, fields)
    return _from_json(source, value, fields)


def _from_text(text: str, number: int, fields: _Fields) -> Record:
    if fields.score:
        raise BadEntry("plain text has no score to blend with; use JSON Lines, or --blend rrf")
    members = {"id": f'"id": {number}', fields.text: _member(fields.text, text)}
    return Record(text, str(number), None, members)


def _from_row(cells: dict[str, str], fields: _Fields) -> Record:
    values: dict[str, Any] = dict(cells)
    if fields.score in cells:
        with suppress(ValueError):
            values[fields.score] = float(cells[fields.score])
    members = {name: _member(name, cell) for name, cell in cells.items()}
    return Record(cells[fields.text], cells.get("id", ""), _prior(values, fields), members)


def _member(name: str, value: str) -> str:
    return f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"


def _from_json(source: str, values: object, fields: _Fields) -> Record:
    if not isinstance(values, dict):
        raise BadEntry(f"must be a JSON object, not {describe(values)}")
    if fields.text not in values:
        raise BadEntry(f'the field "{fields.text}" is missing{_likely_place(fields.text, values)}')
    text = values[fields.text]
    if not isinstance(text, str):
        raise BadEntry(f'"{fields.text}" must be a string, not {describe(text)}')
    members = _members(source)
    label = values.get("id", "")
    if not isinstance(label, str):
        label = members["id"].partition(":")[2].strip()  # the digits as they were written
    return Record(text, label, _prior(values, fields), members)


def _likely_place(text_field: str, values: dict[str, Any]) -> str:
    """Return a hint where the text may be instead."""
    hint = suggest_field(text_field, [name for name in values if isinstance(values[name], str)])
    lists = [name for name in values if isinstance(values[name], list)]
    if lists and not hint:
        return f"; if the candidates are in {lists[0]!r}, pass that array alone"
    return hint


def _prior(values: dict[str, Any], fields: _Fields) -> float | None:
    if fields.score is None:
        return None
    score = values.get(fields.score)
    if score is None:
        raise BadEntry(
            f'the field "{fields.score}" is missing; this --blend needs it, and rrf does not'
        )
    if not isinstance(score, float) or not math.isfinite(score):
        raise BadEntry(f'"{fields.score}" must be a finite number, not {describe(score)}')
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
    """Cut a valid JSON object into its members, by name, each as it was written, on one line."""
    decode = json.JSONDecoder(parse_int=float).raw_decode
    members: dict[str, str] = {}
    position = skip_gap(source, 0)
    while source[position] != "}":
        name, end = decode(source, position)
        _, end = decode(source, skip_gap(source, end))
        # JSON breaks lines only between values.
        members[name] = _LINE_BREAK.sub(_join, source[position:end])
        position = skip_gap(source, end)
    return members


def _value(member: str) -> Any:
    """Parse the value of a member as it was written."""
    decode = json.JSONDecoder(parse_int=_whole).raw_decode
    _, end = decode(member)
    value, _ = decode(member, skip_gap(member, end))
    return value


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < 1000 else digits  # int() refuses very many


def _join(line_break: re.Match[str]) -> str:
    return (line_break[1] or "") + (line_break[2] or "") or " "
