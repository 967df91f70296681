"""Counters of tokens, by name or from whatever counts or encodes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sized
from functools import cache, partial
from inspect import signature
from typing import Any, SupportsIndex, TypeAlias

from rerank_core._checks import describe, suggest
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._planning import encodable

__all__ = ["NAMED_COUNTERS", "CounterLike", "count_with", "make_counter"]

CounterLike: TypeAlias = str | Callable[[str], Any] | object
"""A counter of tokens, or the name of one: see `Budget`."""

_BUILT_IN = "nano"
_ENCODINGS = ("o200k_base", "cl100k_base", "p50k_base", "r50k_base")  # of tiktoken
NAMED_COUNTERS = (_BUILT_IN, *_ENCODINGS)


def make_counter(counter: CounterLike, argument: str = "counter") -> Callable[[str], int]:
    """Return a function from a text to its number of tokens.

    Raises:
        ConfigurationError: If it is neither a known name nor something that counts or encodes, or
            an encoding's name, and tiktoken is not installed or cannot fetch it.
    """
    if isinstance(counter, str):
        return _named(counter, argument)
    for name in ("get_num_tokens", "encode_ordinary", "encode"):
        method = getattr(counter, name, None)
        if callable(method):
            return partial(count_with, _plain(method))
    if callable(counter):
        return partial(count_with, counter)
    raise ConfigurationError(
        f"{argument} must be a name such as {_BUILT_IN!r} or {_ENCODINGS[0]!r}, a tokenizer, a "
        f"model with get_num_tokens, or a function, not {describe(counter)}"
    )


def count_with(function: Callable[[str], Any], text: str) -> int:
    """Return the number of tokens that a function counts, or of those that it returns.

    Raises:
        InvalidInputError: If it returns neither a whole number nor tokens.
    """
    counted = function(encodable(text))
    tokens = getattr(counted, "ids", counted)  # of the tokenizers package
    if isinstance(tokens, Sized) and not isinstance(tokens, str):
        return len(tokens)
    if not isinstance(tokens, SupportsIndex) or (number := operator.index(tokens)) < 0:
        raise InvalidInputError(
            f"the counter must return a number of tokens, or the tokens, not {describe(counted)}"
        )
    return number


def _plain(method: Callable[..., Any]) -> Callable[[str], Any]:
    """Return an encoding method that adds no special tokens."""
    try:
        takes = signature(method).parameters
    except (TypeError, ValueError):  # some compiled functions have none
        return method
    return partial(method, add_special_tokens=False) if "add_special_tokens" in takes else method


@cache
def _named(name: str, argument: str) -> Callable[[str], int]:
    if name == _BUILT_IN:
        return partial(count_with, _nano)
    if name not in _ENCODINGS:
        raise ConfigurationError(
            f"{argument}: there is no counter {describe(name)}{suggest(name, NAMED_COUNTERS)}; "
            f"known are {', '.join(NAMED_COUNTERS)}"
        )
    try:
        import tiktoken

        encoding = tiktoken.get_encoding(name)
    except ImportError as error:
        raise ConfigurationError(
            f"{argument} {name!r} needs tiktoken: pip install tiktoken"
        ) from error
    except Exception as error:  # whatever its download raises
        raise ConfigurationError(
            f"{argument} {name!r}: tiktoken cannot fetch the encoding; see TIKTOKEN_CACHE_DIR in "
            f"its documentation, or use {_BUILT_IN!r}"
        ) from error
    return partial(count_with, encoding.encode_ordinary)


def _nano(text: str) -> list[int]:
    """Return the tokens of the embedded model, about as many as those of an LLM."""
    from rerank_core._local.files import embedded_tokenizer

    return embedded_tokenizer().encode(text, add_special_tokens=False).ids
