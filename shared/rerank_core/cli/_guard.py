"""Exceptions and Ctrl-C: one line on standard error, and an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from rerank_core._display import printable
from rerank_core._errors import (
    AllScorersFailed,
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    RerankError,
)
from rerank_core.cli._interrupts import INTERRUPTED, interrupts

__all__ = [
    "Failure",
    "guarded",
    "interrupt_held",
    "interrupt_raised",
    "on_interrupt",
    "to_stderr",
]

FAILED, USAGE, BROKEN_PIPE = 1, 2, 141
"""Exit codes; the last is 128 and the number of SIGPIPE, as a shell reports it."""


class Failure(Exception):
    """Raised when a run cannot go on; the message is the line that the user sees."""


def to_stderr(message: object) -> None:
    """Write one line to standard error, under the program's name."""
    typer.echo(f"rerank: {printable(str(message))}", err=True)


@contextmanager
def on_interrupt(cleanup: Callable[[], object]) -> Iterator[None]:
    """Call a function if Ctrl-C ends the process within the block.

    Args:
        cleanup: The function. It must not wait for a lock, which the main thread may hold.
    """
    interrupts.cleanups.append(cleanup)
    try:
        yield
    finally:
        interrupts.cleanups.remove(cleanup)


@contextmanager
def interrupt_held() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back until the block ends. A second one interrupts at once.

    Yields:
        A function that returns whether Ctrl-C was pressed.
    """
    interrupts.held = True
    try:
        yield lambda: interrupts.pressed
    finally:
        interrupts.held = False
    if interrupts.pressed:
        interrupts.act()


@contextmanager
def interrupt_raised() -> Iterator[Callable[[], None]]:
    """Raise `KeyboardInterrupt` at the first Ctrl-C, for a block that cleans up as it unwinds.

    Yields:
        A function that raises `KeyboardInterrupt` again where it got lost.
    """

    def check() -> None:
        if interrupts.pressed:
            raise KeyboardInterrupt

    interrupts.raising = True
    try:
        yield check
    finally:
        interrupts.raising = False
        if interrupts.pressed:
            interrupts.act()


@contextmanager
def guarded(reword: Callable[[str], str] = str) -> Iterator[None]:
    """Turn errors that a user can cause into an exit code. Others are bugs and keep the traceback.

    Args:
        reword: Puts the message of a wrong argument or setting in the user's terms.

    Raises:
        SystemExit: With 2 for a wrong argument, setting or installation, 1 for a failed run, 130
            after Ctrl-C, 141 where the reader of the output has gone.
    """
    installed = interrupts.install(ends_process=False)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        code = _report_error(error, reword)
        if code is None:
            raise
        raise SystemExit(code) from None
    finally:
        if installed:
            interrupts.uninstall()


def _report_error(error: BaseException, reword: Callable[[str], str]) -> int | None:
    """Report an error on standard error, and return the exit code; None for a bug."""
    if interrupts.pressed or isinstance(error, KeyboardInterrupt):
        to_stderr("interrupted")
        return INTERRUPTED
    match error:
        case BrokenPipeError():
            return BROKEN_PIPE
        case ConfigurationError() | InvalidInputError() | MissingExtraError():
            to_stderr(reword(str(error)))
            return USAGE
        case AllScorersFailed():
            to_stderr("; ".join([error.message, *map(str, error.exceptions)]))
        case Failure() | RerankError():
            to_stderr(error)
        case OSError():
            name = f"{error.filename}: " if error.filename is not None else ""
            to_stderr(f"{name}{error.strerror or error}")
        case MemoryError():
            to_stderr("out of memory")
        case _:
            return None
    return FAILED
