"""Metadata of documents, nodes and records: read with a text, copied, results written into them."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from rerank_core._checks import describe, is_blank
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._types import RankedItem, Span

__all__ = [
    "ScoredText",
    "check_fields",
    "copy_metadata",
    "first_of_each_id",
    "replacement_text",
    "results",
    "scored_text",
    "shift_spans",
]

T = TypeVar("T")

# The most characters that a value which is no string adds to a text.
_VALUE_CHARACTERS = 1000

_CONTAINERS = (dict, list, tuple, set, bytearray, deque)


def check_fields(value: object, argument: str) -> list[str]:
    """Return a list of different metadata keys.

    Raises:
        ConfigurationError: If it is none.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ConfigurationError(
            f"{argument} must be a list of metadata keys, such as ['title'], not {describe(value)}"
        )
    if not value:
        raise ConfigurationError(f"{argument} is empty; leave it out to read no metadata by name")
    fields: list[str] = []
    for position, field in enumerate(value):
        if not isinstance(field, str) or is_blank(field):
            raise ConfigurationError(
                f"{argument}[{position}] must be the name of a metadata key, not {describe(field)}"
            )
        if field in fields:
            raise ConfigurationError(f"{argument} has {field!r} twice; name each key once")
        fields.append(field)
    return fields


class ScoredText(NamedTuple):
    """A text as it is scored, and where a document's own text is in it.

    Attributes:
        text: The text to score.
        start: The number of characters before the document's own text; None if it is not in
            there.
    """

    text: str
    start: int | None

    @property
    def header(self) -> str:
        """The text before the document's own; empty if that is not in there."""
        return self.text[: max(0, self.start or 0)]


def scored_text(
    text: str, metadata: Mapping[str, Any], rank_fields: Sequence[str] | None, text_key: str | None
) -> ScoredText:
    """Return a document's text as it is scored, with the metadata that options name.

    Args:
        text: The document's own text.
        metadata: Its metadata.
        rank_fields: Keys whose values go before the text as ``key: value`` lines, in this order,
            and a blank line after them. A key that is missing, None, blank or has no text is left
            out.
        text_key: Key of the text that is scored in place of the document's own.

    Raises:
        InvalidInputError: If the value of `text_key` is neither a string nor None.
    """
    if not rank_fields and text_key is None:
        return ScoredText(text, 0)
    body = replacement_text(metadata, text_key)
    body = text if body is None else body
    values = {field: _value_text(metadata.get(field)) for field in rank_fields or ()}
    header = "\n".join(f"{field}: {value}" for field, value in values.items() if value)
    if header and not is_blank(body):
        header += "\n\n"
    return ScoredText(header + body, len(header) if body == text else None)


def replacement_text(metadata: Mapping[str, Any], text_key: str | None) -> str | None:
    """Return the text to score in place of a document's own, or None if there is none.

    Raises:
        InvalidInputError: If the value of `text_key` is neither a string nor None.
    """
    text = None if text_key is None else metadata.get(text_key)
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidInputError(
            f"text_key names {text_key!r}, whose value must be a str, not {describe(text)}"
        )
    return None if is_blank(text) else text


def _value_text(value: object) -> str:
    """Return a metadata value as one line, or nothing where it has no text."""
    if value is None:
        return ""
    try:
        text = value if isinstance(value, str) else str(value)[:_VALUE_CHARACTERS]
    except Exception:  # noqa: BLE001 - nested too deeply, or a class of the user's
        return ""
    return "" if is_blank(text) else " ".join(text.split())


def shift_spans(spans: Iterable[Span], start: int, length: int) -> list[Span]:
    """Return the parts of passages that lie in a document's own text, in its characters.

    Args:
        spans: Passages of the text that was scored.
        start: The number of characters in it before the document's own text.
        length: The length of that text.
    """
    moved = (
        span._replace(start=max(0, span.start - start), end=min(length, span.end - start))
        for span in spans
    )
    return [span for span in moved if span.start < span.end]


def results(
    item: RankedItem,
    spans: Sequence[Span],
    *,
    score_key: str | None,
    span_key: str | None,
    trim_key: str | None = None,
) -> dict[str, Any]:
    """Return what a ranked candidate gets written into its metadata, in plain JSON values.

    Args:
        item: The candidate.
        spans: Its relevant passages, best first.
        score_key: Key of the score; None writes none.
        span_key: Key of the passages; None writes none.
        trim_key: Key of what trimmers left, and of the whole text; None writes none.
    """
    written: dict[str, Any] = {}
    if score_key is not None and item.score is not None:
        written[score_key] = item.score
    if span_key is not None and spans:
        written[span_key] = [_plain(span) for span in spans]
    if trim_key is not None and item.kept:
        written[trim_key] = {"spans": [*map(_plain, item.kept)], "original": item.text}
    return written


def _plain(span: Span) -> dict[str, float]:
    return {name: value for name, value in span._asdict().items() if value is not None}


def first_of_each_id(items: Iterable[T], identity: Callable[[T], str | None]) -> list[T]:
    """Return the items without those whose id came before; an item without id always stays."""
    seen: set[str] = set()
    kept = []
    for item in items:
        name = identity(item)
        if name is None or name not in seen:
            kept.append(item)
        if name is not None:
            seen.add(name)
    return kept


def copy_metadata(metadata: Mapping[str, Any], without: Iterable[str]) -> dict[str, Any]:
    """Copy metadata so that no container in the copy is shared with the original.

    Only containers are copied: a leaf may be a lock, a client or an array, which a deep copy
    could not or should not duplicate. A container of a class of its own that refuses to be
    copied is shared. Containers may be nested as deeply as they like, and hold themselves.

    Args:
        metadata: A document's or node's metadata.
        without: Keys that the copy does not get, such as an earlier reranker's score.
    """
    seen: dict[int, Any] = {}
    copied = {key: _copy(value, seen) for key, value in metadata.items()}
    for key in without:
        copied.pop(key, None)
    return copied


def _copy(value: Any, seen: dict[int, Any]) -> Any:
    """Copy a value with a stack of its own: Python's would end at a thousand levels."""
    if not isinstance(value, _CONTAINERS):
        return value
    stack = [_copy_container(value, seen)]
    copied = None
    while stack:
        try:
            inner = stack[-1].send(copied)
        except StopIteration as end:
            stack.pop()
            copied = end.value
        else:
            stack.append(_copy_container(inner, seen))
            copied = None
    return copied


def _copy_container(value: Any, seen: dict[int, Any]) -> Generator[Any, Any, Any]:
    """Yield each container within a container, get its copy, and return that of the whole."""
    if id(value) in seen:
        return seen[id(value)]
    kind = type(value)
    clone: Any = value
    if kind is dict:
        clone = seen[id(value)] = {}
        for key, item in value.items():
            clone[key] = (yield item) if isinstance(item, _CONTAINERS) else item
    elif kind is list or kind is tuple:
        clone = []
        seen[id(value)] = clone if kind is list else value  # a tuple that holds itself is shared
        for item in value:
            clone.append((yield item) if isinstance(item, _CONTAINERS) else item)
        clone = seen[id(value)] = kind(clone) if kind is tuple else clone
    elif kind is set or kind is bytearray:
        clone = seen[id(value)] = kind(value)
    else:  # a Counter, a defaultdict, a named tuple, …: it knows how
        with suppress(Exception):
            clone = copy.deepcopy(value)
        seen[id(value)] = clone
    return clone
