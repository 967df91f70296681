"""Wrong options, exceptions and Ctrl-C: one line on standard error, and an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand

from rerank_core._checks import suggest
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
    "Command",
    "Failure",
    "guarded",
    "interrupt_held",
    "interrupt_raised",
    "on_interrupt",
    "to_stderr",
]

FAILED, USAGE, BROKEN_PIPE = 1, 2, 141
"""Exit codes; the last is 128 and the number of SIGPIPE, as a shell reports it."""

_COUNT = ("--top-n", "--depth")
_OTHER_NAMES = {
    **dict.fromkeys(("k", "top-k", "topk", "topn", "top", "limit", "count", "max-results"), _COUNT),
    **dict.fromkeys(("m", "model", "model-name", "reranker", "ranker"), ("--scorer",)),
    **dict.fromkeys(("threshold", "score-threshold", "cutoff"), ("--min-score",)),
    **dict.fromkeys(("field", "column", "text-key", "text-column", "content"), ("--text-field",)),
}
"""Options by what other programs call them; those that the command has are suggested."""


class Command(TyperCommand):
    """A command that suggests an option for an unknown one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            Exception: If they are wrong, with a suggestion for an unknown option.
        """
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            unknown = getattr(error, "option_name", None)
            if unknown and hasattr(error, "possibilities"):
                known = [option for parameter in self.params for option in parameter.opts]
                others = _OTHER_NAMES.get(unknown.lstrip("-").replace("_", "-").lower(), ())
                meant = [option for option in others if option in known]
                hint = (
                    f"; did you mean {' or '.join(map(repr, meant))}?"
                    if meant
                    else suggest(unknown, known)
                )
                error.possibilities = None
                error.message = f"No such option: {unknown}{hint}"  # type: ignore[attr-defined]
            raise


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
def guarded() -> Iterator[None]:
    """Turn errors that a user can cause into an exit code. Others are bugs and keep the traceback.

    Raises:
        SystemExit: With 2 for a wrong argument, setting or installation, 1 for a failed run, 130
            after Ctrl-C, 141 where the reader of the output has gone.
    """
    installed = interrupts.install(ends_process=False)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        code = _report_error(error)
        if code is None:
            raise
        raise SystemExit(code) from None
    finally:
        if installed:
            interrupts.uninstall()


def _report_error(error: BaseException) -> int | None:
    """Report an error on standard error, and return the exit code; None for a bug."""
    if interrupts.pressed or isinstance(error, KeyboardInterrupt):
        to_stderr("interrupted")
        return INTERRUPTED
    match error:
        case BrokenPipeError():
            return BROKEN_PIPE
        case ConfigurationError() | InvalidInputError() | MissingExtraError():
            to_stderr(error)
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
