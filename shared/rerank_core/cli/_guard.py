"""From exceptions to one line on standard error and an exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
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

__all__ = ["Command", "Failure", "guarded", "tell"]

FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
"""Exit codes; the last two are 128 + the signal's number, as a shell reports them."""

_COUNT = ("--top-n", "--depth")
_OTHER_NAMES = {
    **dict.fromkeys(("k", "top-k", "topk", "topn", "top", "limit", "count", "max-results"), _COUNT),
    **dict.fromkeys(("m", "model", "model-name", "reranker", "ranker"), ("--scorer",)),
    **dict.fromkeys(("threshold", "score-threshold", "cutoff"), ("--min-score",)),
    **dict.fromkeys(("field", "column", "text-key", "text-column", "content"), ("--text-field",)),
}
"""What other programs call our options: without dashes in front, and the first that fits."""


class Command(TyperCommand):
    """A command that answers an unknown option with the one that was likely meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            Exception: What typer raises for them.
        """
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            unknown = getattr(error, "option_name", None)
            if unknown and hasattr(error, "possibilities"):
                known = [option for parameter in self.params for option in parameter.opts]
                others = _OTHER_NAMES.get(unknown.lstrip("-").replace("_", "-").lower(), ())
                meant = next((option for option in others if option in known), unknown)
                error.possibilities = None
                error.message = f"No such option: {unknown}{suggest(meant, known)}"  # type: ignore[attr-defined]
            raise


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
