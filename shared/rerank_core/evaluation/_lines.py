"""Lines of UTF-8 files; every error names the file and the line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rerank_core._checks import describe
from rerank_core._errors import InvalidInputError
from rerank_core._files import bounded_lines

__all__ = ["Line", "read_lines", "read_objects", "read_table"]


class Line(NamedTuple):
    """One line of a file.

    Attributes:
        path: The file.
        number: The line's number, from 1.
        text: The line, without its end.
    """

    path: Path
    number: int
    text: str = ""

    def error(self, problem: str) -> InvalidInputError:
        """Return an error that names the file and the line."""
        return InvalidInputError(f"{self.path}:{self.number}: {problem}")

    def integer(self, value: str, name: str) -> int:
        """Read a whole number from a field of that name.

        Raises:
            InvalidInputError: If the field holds anything else.
        """
        with suppress(ValueError):
            return int(value)
        raise self.error(f"{name} must be a whole number, not {describe(value)}")

    def real(self, value: str, name: str) -> float:
        """Read a finite number from a field of that name.

        Raises:
            InvalidInputError: If the field holds anything else.
        """
        with suppress(ValueError):
            if math.isfinite(number := float(value)):
                return number
        raise self.error(f"{name} must be a finite number, not {describe(value)}")


def read_lines(path: Path) -> Iterator[Line]:
    """Read the lines of a UTF-8 file that are not blank.

    Args:
        path: The file; a byte order mark at its start is skipped.

    Raises:
        InvalidInputError: If the file cannot be read, or a line is not UTF-8.
    """
    line = Line(path, 0)
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(bounded_lines(stream, str(path)), start=1):
                line = Line(path, number)
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text.strip():
                    yield line._replace(text=text)
    except UnicodeDecodeError as error:
        place = f"byte 0x{error.object[error.start]:02x} at {error.start + 1}"
        raise line.error(f"not UTF-8: {place}") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror or error}") from error


def read_objects(path: Path) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Read JSON Lines that each hold an object.

    Raises:
        InvalidInputError: If the file cannot be read, or a line holds something else.
    """
    for line in read_lines(path):
        try:
            value = json.loads(line.text)
        except json.JSONDecodeError as error:
            raise line.error(f"not JSON: {error.msg} at column {error.colno}") from None
        except (RecursionError, ValueError) as error:  # nested too deeply, a huge number
            raise line.error(f"not JSON: {error}") from None
        if not isinstance(value, dict):
            raise line.error(f"must be a JSON object, not {describe(value)}")
        yield line, value


def read_table(
    path: Path, header: tuple[str, ...], trec: tuple[str, ...]
) -> Iterator[tuple[Line, list[str]]]:
    """Read a table in BEIR's or in TREC's format, told apart by the first line.

    Args:
        path: The file.
        header: Names of the columns. BEIR's format has them as its first line, and tabs.
        trec: Names of the columns of TREC's format, which has no header; all of `header` and more.

    Returns:
        Each line with its fields, in the order of `header`.

    Raises:
        InvalidInputError: If the file cannot be read, or a line does not have these columns.
    """
    first = next(read_lines(path), None)
    beir = first is not None and tuple(first.text.split("\t")) == header
    columns = header if beir else trec
    expected = f"{', '.join(header)}, with tabs between them"
    if not beir:
        expected = f"{len(trec)} ({' '.join(trec)}), or a first line {expected}"
    for line in islice(read_lines(path), int(beir), None):
        fields = line.text.split("\t" if beir else None)
        if len(fields) != len(columns) or not all(fields[:2]):
            raise line.error(f"{len(fields)} columns, but there must be {expected}")
        named = dict(zip(columns, fields, strict=True))
        yield line, [named[column] for column in header]
