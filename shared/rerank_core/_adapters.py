"""Options that both framework adapters share.

Built on pydantic, which comes with either framework; no framework is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, model_validator

from rerank_core._blend import Blend, make_blend
from rerank_core._checks import (
    check_budget,
    check_flag,
    check_number,
    check_ordered,
    check_whole,
    describe,
    is_blank,
    optional,
    refuse_unknown,
)
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._loading import load_scorer
from rerank_core._scorer import Scorer
from rerank_core._types import Span

__all__ = [
    "AdapterOptions",
    "MetadataKey",
    "ScoredText",
    "check_items",
    "replacement_text",
    "scored_text",
    "shift_spans",
]

T = TypeVar("T")

# The most characters that a value which is no string adds to a text.
_VALUE_CHARACTERS = 1000

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


def _check_fields(value: object, argument: str) -> list[str]:
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
    rank_fields: Annotated[Sequence[str] | None, _named(_check_fields, "rank_fields")] = None
    text_key: Annotated[str | None, MetadataKey("text_key")] = None
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
        read = dict.fromkeys(self.rank_fields or (), "rank_fields")
        if self.text_key is not None:
            read[self.text_key] = "text_key"
        for key, option in read.items():
            if key in options:
                raise ConfigurationError(
                    f"{option} reads {key!r}, which {options[key]} writes; "
                    "what a reranker wrote is never scored"
                )
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


class ScoredText(NamedTuple):
    """A text as it is scored, and where a document's own text is in it.

    Attributes:
        text: What is scored.
        start: The number of characters before the document's own text; None if it is not in
            there.
    """

    text: str
    start: int | None


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


def check_items(items: Iterable[object], kind: type[T], argument: str) -> list[T]:
    """Return the items as a list, having read the iterable once.

    Raises:
        InvalidInputError: If it is no iterable, has no order, or holds anything but `kind`.
    """
    check_ordered(items, argument)
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
