"""Whole lines or none: standard output and files."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rerank_core.cli._guard import Failure, interrupt_held, on_interrupt

__all__ = ["check_target", "write_lines"]


def check_target(path: Path | None) -> None:
    """Refuse a file that cannot be written, before the work is done that would be lost.

    Args:
        path: The file; None for standard output.

    Raises:
        Failure: If it is a folder, or its folder is missing or may not be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise Failure(f"{path}: is a folder; --output needs a file")
    if not path.parent.is_dir():
        raise Failure(f"{path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path if _is_special(path) else path.resolve().parent, os.W_OK):
        raise Failure(f"{path}: no permission to write there")


def write_lines(lines: Iterable[str], path: Path | None) -> None:
    """Write lines as UTF-8.

    A file appears complete or not at all: it is written under another name in its own folder, and
    then takes the place of the old one. On standard output the first Ctrl-C ends the output after
    a whole line.

    Args:
        lines: Without line ends, and without lone surrogates.
        path: The file; None for standard output.

    Raises:
        OSError: If that fails.
        KeyboardInterrupt: If Ctrl-C was pressed.
    """
    if path is None:
        _to_stdout(lines)
    elif _is_special(path):
        with path.open("wb") as stream:
            _write(stream, lines)
    else:
        with _replacing(path) as stream:
            _write(stream, lines)


def _is_special(path: Path) -> bool:
    """Whether it is a device or a pipe, which must be written to and never replaced."""
    return path.exists() and not path.is_file()


def _to_stdout(lines: Iterable[str]) -> None:
    if sys.stdout is None:
        raise Failure("standard output is closed; use --output FILE")
    try:
        _write(sys.stdout.buffer, lines)
    except (OSError, KeyboardInterrupt):
        # What is still buffered has nowhere to go: the interpreter must not try again at its exit.
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, not a path
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise


def _write(stream: BinaryIO, lines: Iterable[str]) -> None:
    with interrupt_held() as interrupted:
        for line in lines:
            stream.write(line.encode() + b"\n")
            if interrupted():
                break
        stream.flush()


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    target = path.resolve()  # a link stays a link
    draft = target.with_name(f".rerank-{secrets.token_hex(8)}.tmp")
    remove = partial(draft.unlink, missing_ok=True)
    with on_interrupt(remove):
        try:
            with draft.open("xb") as stream:
                if target.exists():
                    shutil.copymode(target, draft)
                yield stream
            draft.replace(target)
        except BaseException:
            remove()
            raise
