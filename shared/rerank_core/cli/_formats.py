"""Input of any format and encoding, cut into numbered entries."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from itertools import chain
from pathlib import PurePath
from typing import Literal, NamedTuple

from rerank_core._checks import suggest
from rerank_core._files import bounded_lines
from rerank_core.cli._guard import Failure

__all__ = [
    "MOST_CANDIDATES",
    "BadEntry",
    "Entry",
    "InputFormat",
    "decode_line",
    "read_entries",
    "skip_gap",
    "split_cells",
    "suggest_field",
]


MOST_CANDIDATES = 1_000_000
"""The most candidates of an input; input without an end must not fill the memory."""

_MOST_BYTES = 1 << 29


class InputFormat(StrEnum):
    """The format of the input."""

    AUTO = "auto"
    """The format that the content shows, else that of the ending of the file's name."""
    JSONL = "jsonl"
    JSON = "json"
    """Arrays, or values one after another, over any number of lines."""
    CSV = "csv"
    TSV = "tsv"
    LINES = "lines"


_ENDINGS = {f".{known}": known for known in InputFormat}
_ENDINGS |= {".ndjson": InputFormat.JSONL, ".tab": InputFormat.TSV}
# The longer marks first: that of UTF-32 begins as that of UTF-16 does.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_GZIP = b"\x1f\x8b"
_NUL = "has NUL characters: it is not text, or it is UTF-16 without a byte order mark"
_TEXT_FIELDS = [
    "text",
    "page_content",
    "content",
    "body",
    "passage",
    "chunk",
    "document",
    "snippet",
]
"""Names that other programs give the text of a candidate, the likeliest first."""

_SPACE = re.compile(r"[ \t\r\n]*")
_GAP = re.compile(r"[ \t\r\n]*[{\[:,]?[ \t\r\n]*")
_BEGINS_ARRAY = re.compile(r'\[\s*([{"]|$)')


class BadEntry(ValueError):
    """An entry without a candidate; the message says why."""


class Entry(NamedTuple):
    """A piece of the input that should hold one candidate.

    Attributes:
        line: The number of its first line, from 1.
        format: Its format: JSONL, JSON, CSV or LINES.
        content: A line, a JSON value, the cells of a row by column, or what is wrong with the row.
        item: The number of a value in a JSON document, from 1.
    """

    line: int
    format: InputFormat
    content: bytes | str | dict[str, str] | BadEntry
    item: int = 0


def suggest_field(missing: str, names: Sequence[str]) -> str:
    """Return ``; use --text-field NAME`` where one of the names is likely meant, else nothing."""
    likely = next((name for name in _TEXT_FIELDS if name in names), None)
    return f"; use --text-field {likely}" if likely else suggest(missing, names)


def decode_line(raw: bytes) -> str:
    """Decode a line, without its end and without a byte order mark.

    Raises:
        BadEntry: If it is not UTF-8, or not text.
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
    """Cut the input into entries, those of JSON Lines and plain lines as soon as they arrive.

    Args:
        lines: Split at line feeds only: UTF-8, UTF-16 or UTF-32 with a byte order mark, or any of
            them compressed by gzip. At most 512 MiB.
        input_format: The format.
        text_field: The field or column of the text, which tells a header.
        name: The file's name, for messages and for its ending.

    Raises:
        Failure: If the input as a whole cannot be read as what it is.
    """
    lines = _as_utf8(iter(lines), name)
    begin: list[bytes] = []
    chosen = input_format
    if input_format is InputFormat.AUTO:
        chosen = _choose(lines, begin, text_field, name)
    lines = chain(begin, lines)
    if chosen in (InputFormat.JSON, InputFormat.CSV, InputFormat.TSV):
        content = b"".join(lines)
        try:
            text = _as_text(content, name)
            if chosen is InputFormat.JSON:
                yield from _values(text, name)
            else:
                delimiters = ",;\t" if chosen is InputFormat.CSV else "\t"
                yield from _rows(text, delimiters, text_field, name)
            return
        except Failure as error:
            if input_format is not InputFormat.AUTO:
                raise
            if not content.lstrip().startswith(b"{"):
                raise Failure(f"{error}; --input-format lines takes each line as a text") from None
        lines, chosen = io.BytesIO(content), InputFormat.JSONL  # whose first line is broken
    for number, raw in enumerate(lines, start=1):
        yield Entry(number, chosen, raw)


def _as_utf8(lines: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Decompress and re-encode the input, if its first bytes ask for it."""
    lines = _bounded(lines, name)
    first = next(lines, b"")
    if first.startswith(_GZIP):
        lines = _bounded(_decompress(b"".join([first, *lines]), name), name)
        first = next(lines, b"")
    for mark, encoding in _MARKS.items():
        if first.startswith(mark):
            content = b"".join([first, *lines])
            with suppress(UnicodeDecodeError):  # if it is not, no line of it is UTF-8 either
                content = content.decode(encoding).encode()
            return io.BytesIO(content)
    return chain([first], lines)


def _bounded(lines: Iterator[bytes], name: str) -> Iterator[bytes]:
    size = 0
    for line in lines:
        size += len(line)
        if size > _MOST_BYTES:
            raise Failure(f"{name}: is larger than {_MOST_BYTES:,} bytes; rank fewer candidates")
        yield line


def _decompress(content: bytes, name: str) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            yield from bounded_lines(stream, name)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Failure(f"{name}: is gzip, but cut off or damaged: {error}") from None


def _choose(lines: Iterator[bytes], begin: list[bytes], text_field: str, name: str) -> InputFormat:
    """Choose the format by the first line that is not blank, and add the lines read to `begin`."""
    line = ""
    while not line:
        raw = next(lines, None)
        if raw is None:
            return InputFormat.LINES
        begin.append(raw)
        try:
            line = decode_line(raw).strip()
        except BadEntry:
            continue
    if line.startswith("{"):
        return InputFormat.JSON if _error_in_json(line) == len(line) else InputFormat.JSONL
    if _BEGINS_ARRAY.match(line) or (line.startswith("[") and _error_in_json(line) is None):
        return InputFormat.JSON
    for delimiter in "\t,;":
        names = split_cells(line, delimiter)
        if len(names) > 1 and not {text_field, *_TEXT_FIELDS}.isdisjoint(names):
            return InputFormat.TSV if delimiter == "\t" else InputFormat.CSV
    ending = PurePath(name.lower().removesuffix(".gz")).suffix
    return _ENDINGS.get(ending, InputFormat.LINES)


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
    """Cut a JSON document into the items of each array, and the values that are not in one."""
    decode = json.JSONDecoder(parse_int=float).raw_decode
    spans = []
    try:
        start = skip_gap(text, 0, _SPACE)
        while start < len(text):
            _, end = decode(text, start)
            if text[start] == "[":
                start = skip_gap(text, start)
                while text[start] != "]":
                    _, item_end = decode(text, start)
                    spans.append((start, item_end))
                    start = skip_gap(text, item_end)
            else:
                spans.append((start, end))
            start = skip_gap(text, end, _SPACE)
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error.msg} at column {error.colno}"
        raise Failure(f"{name}:{error.lineno}: {reason}") from None
    except RecursionError:
        raise Failure(f"{name}: nested too deeply") from None
    line, before = 1, 0
    for item, (start, end) in enumerate(spans, start=1):
        line += text.count("\n", before, start)
        before = start
        yield Entry(line, InputFormat.JSON, text[start:end], item)


def _rows(text: str, delimiters: str, text_field: str, name: str) -> Iterator[Entry]:
    """Cut a table with a header into rows."""
    csv.field_size_limit(2**31 - 1)  # the default refuses texts of more than 131,072 characters
    first = next((line for line in text.splitlines() if line.strip()), "")
    splits = {delimiter: split_cells(first, delimiter) for delimiter in delimiters}
    delimiter = max(splits, key=lambda key: (text_field in splits[key], len(splits[key])))
    try:
        rows = _parse_table(text, delimiter, csv.QUOTE_MINIMAL, name)
    except Failure:
        if delimiter != "\t":
            raise
        rows = _parse_table(text, delimiter, csv.QUOTE_NONE, name)  # as many programs write TSV
    line, names = next(rows, (1, []))
    if names and text_field not in names:
        shown = [*map(repr, names[:20]), *(["…"] if len(names) > 20 else [])]
        raise Failure(
            f"{name}:{line}: the header has no column {text_field!r}, only "
            f"{', '.join(shown)}{suggest_field(text_field, names)}"
        )
    twice = next((column for column, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise Failure(f"{name}:{line}: the header has the column {twice!r} twice")
    for line, cells in rows:
        wrong = BadEntry(f"has {len(cells)} fields, and the header {len(names)}")
        content = dict(zip(names, cells, strict=True)) if len(cells) == len(names) else wrong
        yield Entry(line, InputFormat.CSV, content)


def _parse_table(
    text: str, delimiter: str, quoting: Literal[0, 3], name: str
) -> Iterator[tuple[int, list[str]]]:
    """Return the rows that are not blank, with the numbers of their first lines."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    rows, line = [], 1
    try:
        for row in reader:
            if len(row) > 1 or any(cell.strip() for cell in row):
                rows.append((line, row))
            if len(rows) > MOST_CANDIDATES + 1:  # the header is one of them
                break
            line = reader.line_num + 1
    except csv.Error as error:
        raise Failure(f"{name}:{line}: not a table: {error}") from None
    return iter(rows)


def split_cells(line: str, delimiter: str) -> list[str]:
    """Split a line of a table; nothing where it is not one."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
