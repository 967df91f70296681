"""What the framework adapters share: their options, as values and as JSON, and safe copies.

An adapter is a class with one attribute per name in `OPTIONS`. No framework is imported here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TypeVar

from rerank_core.errors import ConfigurationError, InvalidInputError
from rerank_core.loading import load_scorer
from rerank_core.ranking import Blend
from rerank_core.validation import check_finite, check_positive, describe

__all__ = [
    "DEFAULT_TOP_N",
    "OPTIONS",
    "check_items",
    "check_option",
    "copy_metadata",
    "options",
    "write_option",
]

DEFAULT_TOP_N = 5
"""How many candidates an adapter keeps unless told otherwise."""

OPTIONS = ("scorer", "top_n", "min_score", "blend", "max_tokens", "count_tokens")
"""The adapters' options that are arguments of `rerank`."""

T = TypeVar("T")


def check_option(name: str, value: Any) -> Any:
    """Return an adapter's option in the form `rerank` takes it.

    Args:
        name: The option: one of `OPTIONS`, or the name of a metadata key.
        value: What the user gave, or what `write_option` wrote.

    Raises:
        ConfigurationError: If the scorer or the blend cannot be made.
        InvalidInputError: If the value does not fit the option.
    """
    match name:
        case "scorer":
            return load_scorer(value)
        case "blend":
            return _load_blend(value)
        case "top_n" | "max_tokens":
            return check_positive(value, name)
        case "min_score":
            return check_finite(value, name)
        case "count_tokens":
            if value is not None and not callable(value):
                raise InvalidInputError(
                    f"{name} must be a function from a text to its number of tokens, "
                    f"not {describe(value)}"
                )
            return value
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidInputError(
            f"{name} must be None or the name of a metadata key, not {describe(value)}"
        )
    return value


def write_option(name: str, value: Any) -> Any:
    """Return an adapter's option in plain JSON values; `check_option` is the way back.

    Raises:
        ConfigurationError: If the value is a function, or a scorer that cannot be described.
    """
    match name:
        case "scorer":
            return dict(value.to_config())
        case "blend":
            return value and asdict(value)
        case "count_tokens" if value is not None:
            raise ConfigurationError(
                "count_tokens is a function and cannot be written; leave it and max_tokens out, "
                "and set them again after loading"
            )
    return value


def options(adapter: object) -> dict[str, Any]:
    """Return an adapter's `OPTIONS` as keyword arguments of `rerank`."""
    return {name: getattr(adapter, name) for name in OPTIONS}


def check_items(items: Iterable[object], kind: type[T], argument: str) -> list[T]:
    """Return the items as a list, having read the iterable once.

    Raises:
        InvalidInputError: If it is no iterable, or holds anything but `kind`.
    """
    if isinstance(items, str | bytes | kind) or not isinstance(items, Iterable):
        raise InvalidInputError(
            f"{argument} must be a list of {kind.__name__}, not {type(items).__name__}"
        )
    checked: list[T] = []
    for position, item in enumerate(items):
        if not isinstance(item, kind):
            raise InvalidInputError(
                f"{argument}[{position}] must be a {kind.__name__}, not {describe(item)}"
            )
        checked.append(item)
    return checked


def copy_metadata(metadata: Mapping[str, Any], without: str | None) -> dict[str, Any]:
    """Copy metadata so that no container in the copy is shared with the original.

    Only containers are copied: a leaf may be a lock, a client or an array, which a deep copy
    could not or should not duplicate. A container of a class of its own that refuses to be
    copied is shared.

    Args:
        metadata: A document's or node's metadata.
        without: A key that the copy does not get, such as an earlier reranker's score.
    """
    seen: dict[int, Any] = {}
    return {key: _copy(value, seen) for key, value in metadata.items() if key != without}


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


def _load_blend(spec: Blend | Mapping[str, Any] | str | None) -> Blend | None:
    if spec is None or isinstance(spec, Blend):
        return spec
    if not isinstance(spec, str | Mapping):
        raise ConfigurationError(
            f"blend must be None, a Blend, its method or a mapping, not {describe(spec)}"
        )
    fields: Mapping[str, Any] = {"method": spec} if isinstance(spec, str) else spec
    try:
        return Blend(**fields)
    except TypeError as error:
        raise ConfigurationError(f"blend cannot be made from {describe(spec)}: {error}") from error
