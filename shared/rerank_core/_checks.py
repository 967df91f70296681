"""Checks of what users pass in; each error names the argument, what it was and what to do."""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Concatenate, ParamSpec, TypeVar

from rerank_core._errors import ConfigurationError, InvalidInputError, RerankError

__all__ = [
    "check_choice",
    "check_flag",
    "check_name",
    "check_number",
    "check_ordered",
    "check_query",
    "check_texts",
    "check_whole",
    "describe",
    "is_blank",
    "optional",
    "refuse_unknown",
    "suggest",
]

P = ParamSpec("P")
T = TypeVar("T")


_SHOWN_BY_REPR = (str, bytes, int, float, bool, type(None), list, tuple, dict)


def describe(value: object) -> str:
    """Describe a value in a few words for an error message.

    Args:
        value: Anything.

    Returns:
        Its ``repr`` cut to 60 characters, and its type unless the ``repr`` shows it.
    """
    try:
        text = repr(value[:60] if isinstance(value, str | bytes) else value)
    except Exception:  # noqa: BLE001 - nested too deeply, or broken; the error must come through
        text = object.__repr__(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return text if type(value) in _SHOWN_BY_REPR else f"{text} ({type(value).__name__})"


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'nano'?`` for a word that is close to a known one, else nothing.

    Args:
        word: What the user wrote.
        known: What could have been meant.
    """
    import difflib  # only errors need it

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
    if is_blank(query):
        raise InvalidInputError(f"{argument} is blank: {describe(query)}; pass what the user asked")
    return query


# Characters of these categories show nothing: control and format characters, unassigned ones, and
# separators.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Zl", "Zp", "Zs"})
# Nor do these of other categories: fillers, variation selectors, an empty Braille cell.
_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U0001d159"
).union(map(chr, range(0xFE00, 0xFE10)), map(chr, range(0xE0100, 0xE01F0)))
# Format characters that are drawn around the digits or letters after them.
_DRAWN = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2").union(
    "\U000110bd\U000110cd"
)


def is_blank(text: str) -> bool:
    """Return whether a text has no character that can be seen.

    White space cannot, nor can control and format characters such as NUL, a zero-width space or a
    byte order mark.
    """
    # Nearly every text begins with a character that can be seen, most with one of ASCII.
    if "!" <= text[:1] <= "~":
        return False
    # A long text has few distinct characters.
    return all(map(_is_unseen, text[:50])) and all(map(_is_unseen, set(text[50:])))


def _is_unseen(character: str) -> bool:
    if character in _UNSEEN:
        return True
    return unicodedata.category(character) in _UNSEEN_CATEGORIES and character not in _DRAWN


def check_ordered(items: object, argument: str) -> None:
    """Refuse what has no order or would be read as its keys.

    Raises:
        InvalidInputError: If it is a mapping, a set or a data frame.
    """
    kind = type(items).__name__
    if isinstance(items, Mapping):
        fix = "a mapping would be read as its keys; pass list(items.values())"
    elif isinstance(items, set | frozenset):
        fix = "a set has no order; pass a list, the first stage's best first"
    elif hasattr(items, "columns"):
        fix = "a data frame would be read as its columns' names; pass list(frame['text'])"
    else:
        return
    raise InvalidInputError(f"{argument} must be a list, not {kind}: {fix}")


def check_texts(texts: Iterable[object], argument: str = "texts") -> list[str]:
    """Return the texts as a list, having read the iterable once.

    Raises:
        InvalidInputError: If it is a single string, no iterable, has no order, or holds anything
            but strings.
    """
    check_ordered(texts, argument)
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


def check_whole(
    value: object,
    argument: str,
    *,
    least: int = 1,
    error: type[RerankError] = ConfigurationError,
) -> int:
    """Return a whole number that is large enough, as a plain int.

    Args:
        value: What the user gave.
        argument: Its name.
        least: The smallest that will do.
        error: The class to raise.

    Raises:
        RerankError: If it is anything else, a bool included.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise error(f"{argument} must be a whole number of at least {least}, not {describe(value)}")
    return number


def check_number(
    value: object,
    argument: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    error: type[RerankError] = ConfigurationError,
) -> float:
    """Return a finite number within bounds, as a plain float.

    Args:
        value: What the user gave.
        argument: Its name.
        least: The smallest that will do.
        above: It must be larger than this.
        most: The largest that will do.
        error: The class to raise.

    Raises:
        RerankError: If it is anything else, a bool or a string included.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    odd = isinstance(value, bool | str | bytes) or not math.isfinite(number)
    low = (least is not None and number < least) or (above is not None and number <= above)
    if odd or low or (most is not None and number > most):
        if least is not None and most is not None:
            wanted = f"a number from {least:g} to {most:g}"
        elif least is not None:
            wanted = f"a finite number of at least {least:g}"
        else:
            wanted = "a finite number" + ("" if above is None else f" above {above:g}")
        raise error(f"{argument} must be {wanted}, not {describe(value)}")
    return number


def check_choice(value: T, argument: str, choices: Iterable[T]) -> T:
    """Return a value that is one of the choices.

    Raises:
        ConfigurationError: If it is not; the message suggests a close one.
    """
    known = list(choices)
    if value not in known:
        names = [*map(repr, known)]
        wanted = " or ".join(names) if len(names) < 3 else f"one of {', '.join(names)}"
        hint = suggest(value, map(str, known)) if isinstance(value, str) else ""
        raise ConfigurationError(f"{argument} must be {wanted}, not {describe(value)}{hint}")
    return value


def check_name(value: object, argument: str, example: str) -> str:
    """Return a string that is not blank, without white space around it.

    Raises:
        ConfigurationError: If it is anything else.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(
            f"{argument} must be a name such as {example!r}, not {describe(value)}"
        )
    return value.strip()


def optional(
    check: Callable[Concatenate[object, str, P], T],
    value: object,
    argument: str,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T | None:
    """Apply a check to anything but None."""
    return None if value is None else check(value, argument, *args, **kwargs)


def check_flag(value: object, argument: str) -> bool:
    """Return True or False.

    Raises:
        ConfigurationError: If it is anything else.
    """
    if not isinstance(value, bool):
        raise ConfigurationError(f"{argument} must be True or False, not {describe(value)}")
    return value
