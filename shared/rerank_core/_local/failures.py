"""Failures of libraries that run foreign models, as errors of this library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import _GeneratorContextManager, contextmanager

from rerank_core._display import printable
from rerank_core._errors import ConfigurationError, RerankError, ScorerError

__all__ = ["failures_as", "loading", "tokenizing"]

_LENGTH = 300


@contextmanager
def failures_as(make: Callable[[BaseException], RerankError]) -> Iterator[None]:
    """Raise another error in place of what a library raises, which is chained.

    A panic of a library in Rust counts, though it is no `Exception`: a regular expression of a
    tokenizer that backtracks too much panics, for instance. Our own errors pass, and so does what
    ends a program.

    Args:
        make: Returns the error to raise.
    """
    try:
        yield
    except RerankError:
        raise
    except BaseException as error:
        # Each library has a class of its own for its panics, and exports none of them.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise make(error) from error
        raise


def loading(message: str, advice: str = "") -> _GeneratorContextManager[None]:
    """Raise `ConfigurationError` in place of what a library raises while a model is loaded.

    Args:
        message: Beginning of the message: which file or model could not be loaded.
        advice: End of the message: what to do.
    """

    def make(error: BaseException) -> RerankError:
        said = str(error).rstrip(".")
        kind = "" if said and isinstance(error, OSError) else f"{type(error).__name__} "
        reason = printable(f"{kind}{said}"[:_LENGTH])
        return ConfigurationError(f"{message}: {reason}" + (f"; {advice}" if advice else ""))

    return failures_as(make)


def tokenizing() -> _GeneratorContextManager[None]:
    """Raise `ScorerError` in place of what a tokenizer raises."""
    return failures_as(
        lambda error: ScorerError(
            f"the model's tokenizer failed: {type(error).__name__}",
            provider="tokenizers",
            hint="Check the model's tokenizer.json",
        )
    )
