"""Metadata of documents, nodes and records: copies, results written into them, repeated ids."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from rerank_core._types import Span

__all__ = ["copy_metadata", "first_of_each_id", "results"]

T = TypeVar("T")


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


def copy_metadata(metadata: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    """Copy metadata so that no container in the copy is shared with the original.

    Only containers are copied: a leaf may be a lock, a client or an array, which a deep copy
    could not or should not duplicate. A container of a class of its own that refuses to be
    copied is shared.

    Args:
        metadata: A document's or node's metadata.
        without: Keys that the copy does not get, such as an earlier reranker's score.
    """
    seen: dict[int, Any] = {}
    return {key: _copy(value, seen) for key, value in metadata.items() if key not in without}


def _copy(value: Any, seen: dict[int, Any]) -> Any:
    if id(value) in seen:  # metadata may hold itself
        return seen[id(value)]
    kind = type(value)
    clone: Any = value
    if kind is dict:
        clone = seen[id(value)] = {}
        clone.update({key: _copy(item, seen) for key, item in value.items()})
    elif kind is list:
        clone = seen[id(value)] = []
        clone.extend(_copy(item, seen) for item in value)
    elif kind is tuple:
        clone = tuple(_copy(item, seen) for item in value)
    elif kind is set or kind is bytearray:
        clone = kind(value)
    elif isinstance(value, dict | list | set):  # a Counter, a defaultdict, …: it knows how
        with suppress(Exception):
            clone = copy.deepcopy(value)
    return clone
