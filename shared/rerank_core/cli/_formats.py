"""Input of any format and encoding, cut into numbered entries."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import chain
from pathlib import PurePath
from typing import Literal, NamedTuple

from rerank_core._checks import suggest
from rerank_core.cli._guard import Failure

__all__ = [
    "BadEntry",
    "Cells",
    "Entry",
    "InputFormat",
    "decode_line",
    "looks_like_table",
    "read_entries",
    "skip_gap",
    "suggest_field",
]

_GZIP = b"\x1f\x8b"
# The longer marks first: that of UTF-32 begins as that of UTF-16 does.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_TEXT_FIELDS = (
    "text",
    "page_content",
    "content",
    "body",
    "passage",
    "chunk",
    "document",
    "snippet",
)
"""What other programs call the text of a candidate; the likeliest first."""

_NUL = "has NUL characters: it is no text, or UTF-16 without a byte order mark"
_GAP = re.compile(r"[ \t\r\n]*[{\[:,]?[ \t\r\n]*")
_SPACE = re.compile(r"[ \t\r\n]*")
_BEGINS_ARRAY = re.compile(r'\[\s*([{"]|$)')


class InputFormat(StrEnum):
    """How candidates are written."""

    AUTO = "auto"
    """What the content shows, and the ending of the file's name where the content does not."""
    JSONL = "jsonl"
    JSON = "json"
    """An array, or values one after another, over any number of lines."""
    CSV = "csv"
    TSV = "tsv"
    LINES = "lines"


_ENDINGS = {
    ".jsonl": InputFormat.JSONL,
    ".ndjson": InputFormat.JSONL,
    ".json": InputFormat.JSON,
    ".csv": InputFormat.CSV,
    ".tsv": InputFormat.TSV,
    ".tab": InputFormat.TSV,
}
_DELIMITERS = {InputFormat.CSV: ",;\t", InputFormat.TSV: "\t", InputFormat.AUTO: "\t,;"}


class BadEntry(ValueError):
    """An entry that holds no candidate; the message says why."""


class Cells(NamedTuple):
    """A row of a table, with the names of its columns."""

    names: Sequence[str]
    values: Sequence[str]


class Entry(NamedTuple):
    """What may hold one candidate.

    Attributes:
        line: The number of its first line, from 1.
        format: How it is written: JSONL, JSON, CSV or LINES.
        content: A line, a JSON value, or a row.
        item: The number of a value in a JSON document, from 1.
    """

    line: int
    format: InputFormat
    content: bytes | str | Cells
    item: int = 0


def suggest_field(missing: str, names: Iterable[str]) -> str:
    """Return ``; use --text-field NAME`` where a field that is there is likely meant, else nothing.

    Args:
        missing: The field that is not there.
        names: The fields that are.
    """
    names = list(names)
    likely = next((name for name in _TEXT_FIELDS if name in names), None)
    if likely:
        return f"; use --text-field {likely}"
    return suggest(missing, names)


def decode_line(raw: bytes) -> str:
    """Decode a line, without its end and without a byte order mark.

    Raises:
        BadEntry: If it is not UTF-8, or no text at all.
    """
    try:
        line = raw.decode()
    except UnicodeDecodeError as error:
        raise BadEntry(f"not UTF-8: byte 0x{raw[error.start]:02x} at {error.start + 1}") from None
    if "\0" in line:
        raise BadEntry(_NUL)
    # Files that were joined end to end have a byte order mark in the middle.
    return line.removesuffix("\n").removesuffix("\r").removeprefix("\ufeff")


def skip_gap(text: str, position: int, gap: re.Pattern[str] = _GAP) -> int:
    """Return the position behind white space and the brace, bracket, colon or comma in it."""
    found = gap.match(text, position)
    return found.end() if found else position


def read_entries(
    lines: Iterable[bytes], input_format: InputFormat, text_field: str, name: str
) -> Iterator[Entry]:
    """Cut input into entries. JSON Lines and plain lines are not waited for: each comes at once.

    Args:
        lines: Cut at line feeds only: UTF-8, UTF-16 or UTF-32 with a byte order mark, or any of
            them compressed by gzip.
        input_format: How they are to be read.
        text_field: The field or column of the text, by which a header is recognised.
        name: The file's name, for messages and for its ending.

    Raises:
        Failure: If the input as a whole cannot be read for what it is.
    """
    lines = _as_utf8(iter(lines), name)
    seen: list[bytes] = []
    chosen = input_format
    if input_format is InputFormat.AUTO:
        chosen = _choose(lines, seen, text_field, name)
    lines = chain(seen, lines)
    if chosen in (InputFormat.JSON, InputFormat.CSV, InputFormat.TSV):
        content = b"".join(lines)
        try:
            text = _as_text(content, name)
            if chosen is InputFormat.JSON:
                yield from _values(text, name)
            else:
                yield from _rows(text, chosen, text_field, name)
            return
        except Failure as error:
            if input_format is not InputFormat.AUTO:
                raise
            if not content.lstrip().startswith(b"{"):
                raise Failure(f"{error}; --input-format lines takes each line as a text") from None
        lines, chosen = io.BytesIO(content), InputFormat.JSONL  # of which the first line is broken
    for number, raw in enumerate(lines, start=1):
        yield Entry(number, chosen, raw)


def _as_utf8(lines: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Decompress and re-encode, if the first bytes ask for it."""
    first = next(lines, b"")
    if first.startswith(_GZIP):
        try:
            content = gzip.decompress(b"".join([first, *lines]))
        except (OSError, EOFError, zlib.error) as error:
            raise Failure(f"{name}: is gzip, but cut off or damaged: {error}") from None
        lines = io.BytesIO(content)
        first = next(lines, b"")
    for mark, encoding in _MARKS.items():
        if first.startswith(mark):
            content = b"".join([first, *lines])
            try:
                return io.BytesIO(content.decode(encoding).encode())
            except UnicodeDecodeError:  # no line of it is UTF-8 either
                return io.BytesIO(content)
    return chain([first], lines)


def _choose(lines: Iterator[bytes], seen: list[bytes], text_field: str, name: str) -> InputFormat:
    """Choose the format by the first line that is not blank, which ends up in `seen`."""
    for raw in lines:
        seen.append(raw)
        try:
            line = decode_line(raw).strip()
        except BadEntry:
            continue
        if line:
            break
    else:
        return InputFormat.LINES
    if line.startswith("{"):
        return InputFormat.JSON if _error_in_json(line) == len(line) else InputFormat.JSONL
    if _BEGINS_ARRAY.match(line) or (line.startswith("[") and _error_in_json(line) is None):
        return InputFormat.JSON
    for delimiter in _DELIMITERS[InputFormat.AUTO]:
        names = _split(line, delimiter)
        if len(names) > 1 and not {text_field, *_TEXT_FIELDS}.isdisjoint(names):
            return InputFormat.TSV if delimiter == "\t" else InputFormat.CSV
    suffixes = PurePath(name.lower().removesuffix(".gz")).suffixes
    return _ENDINGS.get(suffixes[-1] if suffixes else "", InputFormat.LINES)


def _error_in_json(line: str) -> int | None:
    """Return where a line stops being JSON: at its end if only cut off, and None if nowhere."""
    try:
        json.loads(line, parse_int=float)
    except json.JSONDecodeError as error:
        return error.pos
    except RecursionError:
        return 0
    return None


def _as_text(content: bytes, name: str) -> str:
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise Failure(f"{name}:{line}: not UTF-8: byte 0x{byte:02x}; convert the file") from None
    if "\0" in text:
        raise Failure(f"{name}: {_NUL}")
    return text


def _values(text: str, name: str) -> Iterator[Entry]:
    """Cut a JSON document: the items of each array, and each value that is not in one."""
    decode = json.JSONDecoder(parse_int=float).raw_decode
    spans = []
    try:
        start = skip_gap(text, 0, _SPACE)
        while start < len(text):
            _, end = decode(text, start)
            if text[start] == "[":
                start = skip_gap(text, start)
                while text[start] != "]":
                    _, after = decode(text, start)
                    spans.append((start, after))
                    start = skip_gap(text, after)
            else:
                spans.append((start, end))
            start = skip_gap(text, end, _SPACE)
    except json.JSONDecodeError as error:
        raise Failure(
            f"{name}:{error.lineno}: not JSON: {error.msg} at column {error.colno}"
        ) from None
    except RecursionError:
        raise Failure(f"{name}: nested too deeply") from None
    line, before = 1, 0
    for item, (start, end) in enumerate(spans, start=1):
        line += text.count("\n", before, start)
        before = start
        yield Entry(line, InputFormat.JSON, text[start:end], item)


def _rows(text: str, chosen: InputFormat, text_field: str, name: str) -> Iterator[Entry]:
    """Cut a table with a header into rows."""
    csv.field_size_limit(2**31 - 1)  # the default refuses texts of more than 131,072 characters
    first = next((line for line in text.splitlines() if line.strip()), "")
    splits = {delimiter: _split(first, delimiter) for delimiter in _DELIMITERS[chosen]}
    delimiter = max(splits, key=lambda key: (text_field in splits[key], len(splits[key])))
    try:
        rows = _parse_table(text, delimiter, csv.QUOTE_MINIMAL, name)
    except Failure:
        if delimiter != "\t":
            raise
        rows = _parse_table(text, delimiter, csv.QUOTE_NONE, name)  # as many programs write TSV
    if not rows:
        return
    line, names = rows.pop(0)
    if text_field not in names:
        there = ", ".join(map(repr, names))
        raise Failure(
            f"{name}:{line}: the header has no column {text_field!r}, only {there}"
            f"{suggest_field(text_field, names)}"
        )
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise Failure(f"{name}:{line}: the header has the column {twice!r} twice")
    for line, values in rows:
        yield Entry(line, InputFormat.CSV, Cells(names, values))


def _parse_table(
    text: str, delimiter: str, quoting: Literal[0, 3], name: str
) -> list[tuple[int, list[str]]]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True
    )
    rows, line = [], 1
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):  # not a blank line
                rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise Failure(f"{name}:{line}: not a table: {error}") from None
    return rows


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def looks_like_table(lines: Sequence[str]) -> bool:
    """Return whether all of several lines split into the same number of cells, at least two."""

    def cells(line: str, delimiter: str) -> int:
        found = _split(line, delimiter)
        return 0 if any(cell.startswith(" ") for cell in found) else len(found)  # 0: it is prose

    for delimiter in _DELIMITERS[InputFormat.AUTO] if len(lines) > 1 else "":
        count = cells(lines[0], delimiter)
        if count > 1 and all(cells(line, delimiter) == count for line in lines):
            return True
    return False
