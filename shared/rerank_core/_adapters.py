"""Options that both framework adapters share, and copies of metadata.

Built on pydantic, which comes with either framework; no framework is imported here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, model_validator

from rerank_core._checks import (
    check_budget,
    check_flag,
    check_number,
    check_whole,
    describe,
    optional,
    refuse_unknown,
)
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._loading import load_scorer
from rerank_core._ordering import Blend, make_blend
from rerank_core._scorer import Scorer
from rerank_core._types import RankedItem, Span

__all__ = ["AdapterOptions", "MetadataKey", "check_items", "copy_metadata", "first_of_each_id"]

T = TypeVar("T")

# The arguments of `rerank` among the options.
_FOR_RERANK = (
    "scorer",
    "depth",
    "top_n",
    "min_score",
    "blend",
    "max_tokens",
    "count_tokens",
)


def _check_key(value: object, argument: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(
            f"{argument} must be None or the name of a metadata key, not {describe(value)}"
        )
    return value


def _check_counter(value: object) -> Any:
    if value is not None and not callable(value):
        raise ConfigurationError(
            "count_tokens must be a function from a text to its number of tokens, "
            f"not {describe(value)}"
        )
    return value


def _write_scorer(scorer: Scorer) -> dict[str, Any]:
    return dict(scorer.to_config())


def _write_blend(blend: Blend | None) -> dict[str, Any] | None:
    return None if blend is None else asdict(blend)


def _write_counter(count_tokens: Callable[[str], int] | None) -> None:
    if count_tokens is not None:
        raise ConfigurationError(
            "count_tokens is a function and cannot be written; leave it and max_tokens out, "
            "and set them again after loading"
        )


def _named(check: Callable[..., Any], name: str) -> PlainValidator:
    """Return the validator of an option that may be None."""
    return PlainValidator(lambda value: optional(check, value, name))


def MetadataKey(name: str) -> PlainValidator:  # noqa: N802 - used like a type
    """Return the validator of an option that names a metadata key."""
    return _named(_check_key, name)


class AdapterOptions(BaseModel):
    """Options of both adapters; each adapter's own docstring describes them."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        validate_default=True,
        validate_assignment=True,
        # A refused argument may hold a key.
        hide_input_in_errors=True,
    )

    scorer: Annotated[
        Scorer | Mapping[str, Any] | str,
        PlainValidator(load_scorer),
        PlainSerializer(_write_scorer),
    ] = "nano"
    depth: Annotated[int | None, _named(check_whole, "depth")] = None
    top_n: Annotated[int | None, _named(check_whole, "top_n")] = 5
    min_score: Annotated[float | None, _named(check_number, "min_score")] = None
    blend: Annotated[
        Blend | Mapping[str, Any] | str | None,
        PlainValidator(make_blend),
        PlainSerializer(_write_blend),
    ] = None
    max_tokens: Annotated[int | None, _named(check_whole, "max_tokens")] = None
    count_tokens: Annotated[
        Callable[[str], int] | None,
        PlainValidator(_check_counter),
        PlainSerializer(_write_counter),
    ] = None
    score_key: Annotated[str | None, MetadataKey("score_key")] = "relevance_score"
    span_key: Annotated[str | None, MetadataKey("span_key")] = None
    distinct_ids: Annotated[bool, PlainValidator(partial(check_flag, argument="distinct_ids"))] = (
        False
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            names = cls.model_fields
            refuse_unknown((name for name in data if name not in names), names)
        return data

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        check_budget(self.max_tokens, self.count_tokens)
        options: dict[str, str] = {}
        for option, key in self._written_keys.items():
            if key in options:
                raise ConfigurationError(
                    f"{option} and {options[key]} are both {key!r}; give each a key of its own"
                )
            options[key] = option
        return self

    @property
    def _written_keys(self) -> dict[str, str]:
        """The metadata keys that results are written under, by the option that sets them."""
        keys = {"score_key": self.score_key, "span_key": self.span_key}
        return {option: key for option, key in keys.items() if key is not None}

    def _for_rerank(self) -> dict[str, Any]:
        """Return the options that are arguments of `rerank`."""
        return {name: getattr(self, name) for name in _FOR_RERANK}

    def _check_writable(self) -> None:
        """Raise what writing the options would, unwrapped by pydantic.

        Raises:
            ConfigurationError: If the scorer cannot be written, or there is `count_tokens`.
        """
        _write_scorer(self._for_rerank()["scorer"])
        _write_counter(self.count_tokens)

    def _written(self, item: RankedItem, spans: Sequence[Span]) -> dict[str, Any]:
        """Return the metadata that a ranked item gets.

        Args:
            item: The item.
            spans: Its passages, in the text of the document or node.
        """
        written: dict[str, Any] = {}
        if self.score_key is not None and item.score is not None:
            written[self.score_key] = item.score
        if self.span_key is not None and spans:
            written[self.span_key] = [
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
