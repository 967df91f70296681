"""The nouns: what goes into a scorer and a ranking, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import NamedTuple, overload

from rerank_core.errors import NonFiniteScoreError

__all__ = ["RankedItem", "Ranking", "Scale", "Scoring", "Span", "Usage"]


class Scale(StrEnum):
    """What a score means.

    Only `PROBABILITY` may be read as "the chance that this text is relevant", and nothing is on
    that scale until it was calibrated on labelled data.
    """

    LOGIT = "logit"
    """Any real number; only differences within one query mean something."""
    UNIT = "unit"
    """Between 0 and 1 and monotone in relevance, but not a probability."""
    PROBABILITY = "probability"
    """A calibrated probability of relevance."""


class Span(NamedTuple):
    """A half-open range of characters ``text[start:end]``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a scoring cost. Usages add up with ``+``.

    Attributes:
        pairs: (query, text) pairs that a model read; duplicates are read once.
        tokens: Tokens those pairs hold, special tokens included; 0 where the scorer cannot know.
        padding: Padding tokens computed beside them.
        truncated: Texts that were cut to the model's maximum length.
        requests: Requests sent to a remote service, failed attempts included; those that a
            `Deadline` cut are not known.
        billed_units: Units the service billed, by its own name for them, such as
            ``{"search_units": 1.0}``.
        seconds: Wall-clock seconds spent scoring.
        cache_hits: Texts whose score came from a cache.
        saved: Pairs that the strong scorer of a cascade did not have to read.
        cost: What services charged for all of it, in the currency of their `Prices`; 0 where
            none was asked, None where one was whose prices are not known. A sum with an unknown
            part is unknown. Requests that failed or were cut count as not charged.
    """

    pairs: int = 0
    tokens: int = 0
    padding: int = 0
    truncated: int = 0
    requests: int = 0
    billed_units: Mapping[str, float] = field(default_factory=dict, hash=False)
    seconds: float = 0.0
    cache_hits: int = 0
    saved: int = 0
    cost: float | None = 0.0

    def __add__(self, other: Usage) -> Usage:
        units = dict(self.billed_units)
        for unit, amount in other.billed_units.items():
            units[unit] = units.get(unit, 0.0) + amount
        sums = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name not in ("billed_units", "cost")
        }
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Usage(**sums, billed_units=units, cost=cost)


@dataclass(frozen=True, slots=True)
class Scoring:
    """The scores of some texts for one query, in the order the texts came.

    Attributes:
        scores: One plain float per text, or None where the text was not scored.
        usage: What it cost.
        degraded: Why the scoring is less than was asked for, in a sentence; None if it is whole.
        spans: Per text the character offsets of its best passage, where known.
        secondary: Per text a score on another scale, which orders the texts without a score
            among themselves; without it they keep first-stage order.
        scale: What the scores mean, where that is not what the scorer's `scale` says, because
            another scorer stood in.

    Raises:
        NonFiniteScoreError: If a score is NaN or infinite.
        ValueError: If `spans` or `secondary` do not hold one entry per score.
    """

    scores: tuple[float | None, ...]
    usage: Usage = field(default_factory=Usage)
    degraded: str | None = None
    spans: tuple[Span | None, ...] | None = None
    secondary: tuple[float | None, ...] | None = None
    scale: Scale | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", _plain(self.scores))
        if self.secondary is not None:
            object.__setattr__(self, "secondary", _plain(self.secondary))
        for name, entries in (("spans", self.spans), ("secondary scores", self.secondary)):
            if entries is not None and len(entries) != len(self.scores):
                raise ValueError(f"{len(entries)} {name} for {len(self.scores)} scores")


def _plain(scores: Sequence[float | None]) -> tuple[float | None, ...]:
    # float() also turns numpy scalars into plain floats, so none can leak from a scorer.
    plain = tuple(None if score is None else float(score) for score in scores)
    for position, score in enumerate(plain):
        if score is not None and not math.isfinite(score):
            raise NonFiniteScoreError(f"the score of text {position} is {score}")
    return plain


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One candidate in its new place.

    Attributes:
        index: Its position among the candidates, from 0.
        score: Its score on the ranking's scale; None if it was not scored.
        prior: Its first-stage score, where one was given.
        span: Character offsets of its best passage, where the scorer knows them.
        text: The candidate itself.
    """

    index: int
    score: float | None
    prior: float | None
    span: Span | None
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[RankedItem]):
    """Candidates in their new order, trimmed; a sequence of `RankedItem`.

    Attributes:
        items: The candidates that stayed, best first.
        scorer: Name of the scorer.
        scale: What the scores mean. A blended score is relative to its own list: compare it
            within one ranking only.
        usage: What the scoring cost.
        degraded: Why the ranking is less than was asked for; None if it is whole.
    """

    items: tuple[RankedItem, ...]
    scorer: str
    scale: Scale
    usage: Usage = field(default_factory=Usage)
    degraded: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[RankedItem]:
        return iter(self.items)

    @overload
    def __getitem__(self, key: int) -> RankedItem: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[RankedItem, ...]: ...
    def __getitem__(self, key: int | slice) -> RankedItem | tuple[RankedItem, ...]:
        return self.items[key]
