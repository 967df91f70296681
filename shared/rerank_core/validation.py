"""Checks of what users pass in; each error names the argument, what it was and what to do."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Iterable
from typing import SupportsIndex

from rerank_core.errors import ConfigurationError, InvalidInputError

__all__ = [
    "check_budget",
    "check_finite",
    "check_flag",
    "check_positive",
    "check_query",
    "check_texts",
    "describe",
    "refuse_unknown",
    "suggest",
]


def describe(value: object) -> str:
    """Say what a value is, short enough for an error message.

    Args:
        value: Anything.

    Returns:
        Its ``repr`` cut to 60 characters, and its type.
    """
    text = repr(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return f"{text} ({type(value).__name__})"


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'nano'?`` for a word that is close to a known one, else nothing.

    Args:
        word: What the user wrote.
        known: What could have been meant.
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


# Names that other libraries and tutorials have for the arguments of this one.
_MEANT = {
    "top_k": "top_n (how many are kept) or depth (how many are scored)",
    "k": "top_n (how many are kept) or depth (how many are scored)",
    "limit": "top_n",
    "n": "top_n",
    "model": "scorer",
    "model_name": "scorer",
    "reranker": "scorer",
    "documents": "candidates",
    "docs": "candidates",
    "texts": "candidates",
    "threshold": "min_score",
    "similarity_cutoff": "min_score",
}


def refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse unknown arguments, and name what was probably meant.

    Args:
        names: The unknown ones.
        known: All that there are.

    Raises:
        InvalidInputError: If there is an unknown one.
    """
    there = list(known)
    for name in names:
        meant = _MEANT.get(name, "")
        if meant.partition(" ")[0] in there:
            raise InvalidInputError(f"there is no argument {name!r}; did you mean {meant}?")
        raise InvalidInputError(f"there is no argument {name!r}{suggest(name, there)}")


def check_query(query: object, argument: str = "query") -> str:
    """Return the query if it is a string that is not blank.

    Raises:
        InvalidInputError: If it is not.
    """
    if not isinstance(query, str):
        raise InvalidInputError(f"{argument} must be a str, not {describe(query)}")
    if not query.strip():
        raise InvalidInputError(f"{argument} is blank: {query!r}; pass what the user asked")
    return query


def check_texts(texts: Iterable[object], argument: str = "texts") -> list[str]:
    """Return the texts as a list, having read the iterable once.

    Raises:
        InvalidInputError: If it is a single string, no iterable, or holds anything but strings.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InvalidInputError(f"{argument} must be a list of str, not {describe(texts)}")
    checked: list[str] = []
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(
                f"{argument}[{position}] must be a str, not {describe(text)}; "
                "pass the text of the document"
            )
        checked.append(text)
    return checked


def check_positive(value: SupportsIndex | None, argument: str) -> int | None:
    """Return an integer of at least 1, or None for None.

    Raises:
        InvalidInputError: If it is anything else, a bool included.
    """
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise InvalidInputError(
            f"{argument} must be None (no limit) or a whole number of at least 1, "
            f"not {describe(value)}"
        )
    return number


def check_finite(value: float | None, argument: str) -> float | None:
    """Return a finite float, or None for None.

    Raises:
        InvalidInputError: If it is NaN, infinite or no number.
    """
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool | str) or not math.isfinite(number):
        raise InvalidInputError(f"{argument} must be a finite number, not {describe(value)}")
    return number


def check_flag(value: object, argument: str) -> bool:
    """Return True or False.

    Raises:
        ConfigurationError: If it is anything else.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{argument} must be True or False, not {describe(value)}")
    return value


def check_budget(max_tokens: int | None, count_tokens: Callable[[str], int] | None) -> None:
    """Refuse a token budget that nothing counts.

    Raises:
        ConfigurationError: If there is `max_tokens` without `count_tokens`.
    """
    if max_tokens is not None and count_tokens is None:
        raise ConfigurationError(
            "max_tokens needs count_tokens, a function that counts the tokens of a text "
            "as your LLM does"
        )
