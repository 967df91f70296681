"""Options that both framework adapters share.

Built on pydantic, which comes with either framework; no framework is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, model_validator

from rerank_core._blend import Blend, make_blend
from rerank_core._checks import (
    check_flag,
    check_number,
    check_ordered,
    check_whole,
    describe,
    optional,
    refuse_unknown,
)
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._loading import load_scorer
from rerank_core._metadata import check_fields
from rerank_core._profile import Profile
from rerank_core._scorer import Scorer
from rerank_core._trimming import Trimmer, make_trimmers
from rerank_core._trimming.tokens import CounterLike, make_counter
from rerank_core._types import Ranking

__all__ = [
    "AdapterOptions",
    "MetadataKey",
    "check_items",
    "ranking_facts",
]

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
    "trim",
)


def _check_key(value: object, argument: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(
            f"{argument} must be None or the name of a metadata key, not {describe(value)}"
        )
    return value


def _check_counter(value: CounterLike | None) -> CounterLike | None:
    if value is not None:
        make_counter(value, "count_tokens")
    return value


def _write_scorer(scorer: Scorer) -> dict[str, Any]:
    return dict(scorer.to_config())


def _write_blend(blend: Blend | None) -> dict[str, Any] | None:
    return None if blend is None else asdict(blend)


def _write_counter(count_tokens: CounterLike | None) -> str | None:
    if count_tokens is not None and not isinstance(count_tokens, str):
        raise ConfigurationError(
            "count_tokens is no name and cannot be written; give a name such as 'nano', or leave "
            "it and max_tokens out, and set them again after loading"
        )
    return count_tokens


def _write_trimmers(trim: Sequence[Trimmer]) -> list[dict[str, Any]]:
    return [trimmer.to_config() for trimmer in trim]


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
        CounterLike | None,
        PlainValidator(_check_counter),
        PlainSerializer(_write_counter),
    ] = None
    trim: Annotated[
        Sequence[Trimmer | Mapping[str, Any] | str],
        PlainValidator(make_trimmers),
        PlainSerializer(_write_trimmers),
    ] = ()
    score_key: Annotated[str | None, MetadataKey("score_key")] = "relevance_score"
    span_key: Annotated[str | None, MetadataKey("span_key")] = None
    trim_key: Annotated[str | None, MetadataKey("trim_key")] = "trimmed"
    rank_fields: Annotated[Sequence[str] | None, _named(check_fields, "rank_fields")] = None
    text_key: Annotated[str | None, MetadataKey("text_key")] = None
    distinct_ids: Annotated[bool, PlainValidator(partial(check_flag, argument="distinct_ids"))] = (
        False
    )

    @classmethod
    def from_profile(cls, path: str | Path, **overrides: Any) -> Self:
        """Make an instance with the scorer, depth, blend, threshold and trimmers of a profile.

        Args:
            path: File that ``rerank tune`` or `rerank_core.Profile.write` wrote.
            **overrides: Arguments of the class; they replace those of the profile.

        Raises:
            ConfigurationError: If the file is no profile, or a value in it is wrong.
            pydantic.ValidationError: If an argument is unknown or wrong; the message names it.
            OSError: If the file cannot be read.
        """
        return cls(**{**Profile.read(path).options, **overrides})

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            names = cls.model_fields
            refuse_unknown((name for name in data if name not in names), names)
        return data

    @model_validator(mode="after")
    def _check_together(self) -> Self:
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
        return {option: key for option, key in self._keys().items() if key is not None}

    def _keys(self) -> dict[str, str | None]:
        """Return the keys that `results` writes under."""
        return {
            "score_key": self.score_key,
            "span_key": self.span_key,
            "trim_key": self.trim_key if self._trims else None,
        }

    @property
    def _trims(self) -> bool:
        return bool(self.trim) or self.max_tokens is not None

    def _for_rerank(self) -> dict[str, Any]:
        """Return the options that are arguments of `rerank`."""
        return {name: getattr(self, name) for name in _FOR_RERANK}

    def _check_writable(self) -> None:
        """Raise what writing the options would, unwrapped by pydantic.

        Raises:
            ConfigurationError: If the scorer, `count_tokens` or a trimmer cannot be written.
        """
        options = self._for_rerank()
        _write_scorer(options["scorer"])
        _write_counter(options["count_tokens"])
        _write_trimmers(options["trim"])


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


def ranking_facts(ranking: Ranking) -> dict[str, Any]:
    """Return the facts of a ranking for a framework's trace, all but its texts."""
    usage = ranking.usage
    return {
        "scorer": ranking.scorer,
        "scale": ranking.scale.value,
        "degraded": ranking.degraded,
        "causes": [*ranking.causes],
        "usage": {field.name: getattr(usage, field.name) for field in fields(usage)},
        "tokens_before": ranking.tokens_before,
        "tokens_after": ranking.tokens_after,
        "nothing_relevant": ranking.nothing_relevant,
        "nothing_probability": ranking.nothing_probability,
    }
