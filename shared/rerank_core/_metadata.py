"""Metadata of documents, nodes and records: copies, results written into them, repeated ids."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from rerank_core._types import Span

__all__ = ["copy_metadata", "first_of_each_id", "results"]

T = TypeVar("T")

_CONTAINERS = (dict, list, tuple, set, bytearray, deque)


def results(
    score: float | None, spans: Sequence[Span], *, score_key: str | None, span_key: str | None
) -> dict[str, Any]:
    """Return what a ranked candidate gets written into its metadata, in plain JSON values.

    Args:
        score: Its score, or None if it was not scored.
        spans: Its passages, best first.
        score_key: Key of the score; None writes none.
        span_key: Key of the passages; None writes none.
    """
    written: dict[str, Any] = {}
    if score_key is not None and score is not None:
        written[score_key] = score
    if span_key is not None and spans:
        written[span_key] = [
            {name: value for name, value in span._asdict().items() if value is not None}
            for span in spans
        ]
    return written


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
