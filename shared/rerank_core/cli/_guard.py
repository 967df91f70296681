"""From exceptions to one line on standard error and an exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from rerank_core.cli._text import printable
from rerank_core.errors import (
    AllScorersFailed,
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    RerankError,
)

__all__ = ["Failure", "guarded", "tell"]

FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
"""Exit codes; the last two are 128 + the signal's number, as a shell reports them."""


class Failure(Exception):
    """A run that cannot go on; the message is the one line that the user sees."""


def tell(message: object) -> None:
    """Write one line to standard error, under the program's name."""
    typer.echo(f"rerank: {printable(str(message))}", err=True)


@contextmanager
def _true_interrupts() -> Iterator[None]:
    """Raise `KeyboardInterrupt` even where compiled code made another error of one."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield  # ignored, or not ours to watch
        return
    interrupted = False

    def note(number: int, frame: FrameType | None) -> object:
        nonlocal interrupted
        interrupted = True
        return handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception as error:
        if interrupted:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def guarded() -> Iterator[None]:
    """Turn what a user can cause into an exit code; anything else is a bug and keeps its traceback.

    Raises:
        SystemExit: With 2 for a wrong argument, setting or installation, 1 for a failed run, 130
            after Ctrl-C, 141 where the reader of the output has gone.
    """
    try:
        with _true_interrupts():
            yield
    except KeyboardInterrupt:
        tell("interrupted")
        code = INTERRUPTED
    except BrokenPipeError:
        code = BROKEN_PIPE
    except (ConfigurationError, InvalidInputError, MissingExtraError) as error:
        tell(error)
        code = USAGE
    except AllScorersFailed as error:
        tell("; ".join([error.message, *map(str, error.exceptions)]))
        code = FAILED
    except (Failure, RerankError) as error:
        tell(error)
        code = FAILED
    except OSError as error:
        name = f"{error.filename}: " if error.filename is not None else ""
        tell(f"{name}{error.strerror or error}")
        code = FAILED
    else:
        return
    raise SystemExit(code)
