"""Lines of a file, and errors that say which one is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rerank_core._checks import describe
from rerank_core._errors import InvalidInputError

__all__ = ["Line", "first_line", "read_lines", "read_objects"]


class Line:
    """One line and where it stands.

    Attributes:
        path: Its file.
        number: Its number, from 1.
        text: The line, without its end.
    """

    __slots__ = ("number", "path", "text")

    def __init__(self, path: Path, number: int, text: str) -> None:
        self.path = path
        self.number = number
        self.text = text

    def error(self, problem: str) -> InvalidInputError:
        """Make an error that names the file and the line."""
        return InvalidInputError(f"{self.path}:{self.number}: {problem}")

    def integer(self, value: str, what: str) -> int:
        """Read a whole number.

        Raises:
            InvalidInputError: If it is none.
        """
        try:
            return int(value)
        except ValueError:
            raise self.error(f"{what} must be a whole number, not {describe(value)}") from None

    def number_of(self, value: str, what: str) -> float:
        """Read a finite number.

        Raises:
            InvalidInputError: If it is none.
        """
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not abs(number) < float("inf"):
            raise self.error(f"{what} must be a finite number, not {describe(value)}")
        return number


def read_lines(path: Path) -> Iterator[Line]:
    """Read the lines of a UTF-8 file that are not blank.

    Args:
        path: The file; a byte order mark at its start is passed over.

    Raises:
        InvalidInputError: If the file cannot be read, or a line is not UTF-8.
    """
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                yield from _decoded(path, number, raw)
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror or error}") from error


def first_line(path: Path) -> str:
    """Return the first line that is not blank, or an empty string."""
    line = next(read_lines(path), None)
    return line.text if line else ""


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


def _decoded(path: Path, number: int, raw: bytes) -> Iterator[Line]:
    line = Line(path, number, "")
    try:
        line.text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        place = f"byte 0x{raw[error.start]:02x} at {error.start + 1}"
        raise line.error(f"not UTF-8: {place}") from None
    if line.text.strip():
        yield line
