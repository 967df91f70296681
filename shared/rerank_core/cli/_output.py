"""Standard output and files in whole lines or not at all, and progress bars."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rich.console import Console, RenderableType
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table
from rich.text import Text

from rerank_core._display import printable
from rerank_core._files import replacing
from rerank_core.cli._guard import Failure, interrupt_held, on_interrupt
from rerank_core.cli._interrupts import interrupts
from rerank_core.cli._streams import stdout_is_closed

__all__ = [
    "check_target",
    "output_console",
    "progress_bar",
    "rendered",
    "stdout_is_terminal",
    "two_columns",
    "write_lines",
]


def check_target(path: Path | None) -> None:
    """Refuse a file that cannot be written, before the work that would be lost is done.

    Args:
        path: The file; None for standard output.

    Raises:
        OSError: If it is behind a symbolic link to itself, or its name is too long.
        Failure: If it is closed or a folder, or its folder is missing or may not be written.
    """
    if path is None:
        if stdout_is_closed():
            raise Failure("standard output is closed; open it, or name a file to write")
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()
    folder = path.resolve().parent
    if path.is_dir():
        raise Failure(f"{path}: is a folder; name a file")
    if not folder.is_dir():
        raise Failure(f"{path}: the folder {folder} does not exist; make it first")
    if not os.access(path if path.exists() and not path.is_file() else folder, os.W_OK):
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
        OSError: If writing fails.
        KeyboardInterrupt: If Ctrl-C was pressed, and does not end the process.
    """
    if path is None:
        _to_stdout(lines)
    else:
        try:
            with replacing(path, on_interrupt) as stream:
                _write(stream, lines)
        except OSError as error:
            error.filename = str(path)  # not that of the draft beside it
            raise


def _to_stdout(lines: Iterable[str]) -> None:
    try:
        _write(sys.stdout.buffer, lines)
    except (OSError, KeyboardInterrupt):
        # What is still buffered has nowhere to go, and must not be tried again at the exit.
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


def stdout_is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def output_console(width: int | None = None) -> Console:
    """Return the console that lays out what goes to standard output.

    Args:
        width: The width where standard output is not a terminal. Default: rich's.
    """
    terminal = stdout_is_terminal()
    return Console(force_terminal=terminal, width=None if terminal else width)


def rendered(console: Console, *parts: RenderableType) -> list[str]:
    """Return what a console would print, as lines without trailing space."""
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return [line.rstrip() for line in capture.get().rstrip().split("\n")]


def two_columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lay names and values out in two columns, as lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(printable(value)))
    return rendered(output_console(), table)


@contextmanager
def progress_bar(
    task: str, total: int | None = None, *, wanted: bool = True
) -> Iterator[Callable[[str, int, int], None]]:
    """Show on a terminal how far the work has come, and erase it afterwards.

    Args:
        task: What is done first.
        total: How much there is of it, if known.
        wanted: Show nothing if false.

    Yields:
        A function to call with what is being done, how much of it is done, and the total.
    """
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield lambda _task, _done, _total: None
        return
    console = Console(stderr=True)
    parts = (*Progress.get_default_columns(), MofNCompleteColumn())
    bar = Progress(*parts, console=console, transient=True)
    with on_interrupt(partial(_erase, console)), bar:
        shown = bar.add_task(task, total=total)
        current = task

        def show(task: str, done: int, total: int) -> None:
            nonlocal current
            if task != current:  # other work has another clock
                bar.reset(shown, description=printable(task), total=total)
                current = task
            bar.update(shown, completed=done, total=total)

        yield show


def _erase(console: Console) -> None:
    """Take a progress bar away, and show the cursor again, without waiting for its locks."""
    console.quiet = True  # a thread of its own draws it
    interrupts.write("\r\x1b[2K\x1b[?25h")
