"""Scores, rankings and what belongs to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, overload

from rerank_core._display import html_table, text_table
from rerank_core._errors import MissingExtraError, NonFiniteScoreError
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BUDGET",
    "CIRCUIT_OPEN",
    "DEADLINE",
    "OTHER",
    "STOPPED",
    "Progress",
    "RankedItem",
    "Ranking",
    "Scale",
    "Scoring",
    "Span",
    "StopScoring",
    "Usage",
    "unique",
]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (pairs done, pairs in all) as a scoring goes on; what it raises stops the scoring.

It may be called from another thread. If it raises `StopScoring`, what has been scored is kept.
"""

# The causes of a degraded scoring that are not the name of an error.
DEADLINE, STOPPED, CIRCUIT_OPEN, OTHER = "deadline", "stopped", "circuit_open", "other"
# That of a degraded ranking, whose token budget is less than its best sentence takes.
BUDGET = "budget"


class StopScoring(Exception):
    """Raised by a progress callback to end a scoring early and keep what has been scored.

    The scorer then leaves the other texts unscored, and says so in ``degraded``.

    Example:
        ```python
        from rerank_core import StopScoring, rerank


        def stop(done, total):
            raise StopScoring


        ranking = rerank("How do plants eat?", ["Cats purr.", "Plants use light."], progress=stop)
        assert ranking.causes == ("stopped",)
        assert [item.index for item in ranking] == [0, 1]  # first-stage order
        ```
    """


class Scale(StrEnum):
    """The meaning of a score.

    Only `PROBABILITY` may be read as "the chance that this text is relevant", and nothing is on
    that scale until it was calibrated on labelled data.

    Example:
        ```python
        from rerank_core import Scale, load_scorer

        assert load_scorer("nano").scale is Scale.LOGIT
        assert str(Scale.UNIT) == "unit"
        ```
    """

    LOGIT = "logit"
    """Any real number; only differences within one query mean something."""
    UNIT = "unit"
    """Between 0 and 1 and monotone in relevance, but not a probability."""
    PROBABILITY = "probability"
    """A calibrated probability of relevance."""

    @property
    def meaning(self) -> str:
        """A description in a few words."""
        return _MEANING[self]


_MEANING = {
    Scale.LOGIT: "logit: any real number, not a probability",
    Scale.UNIT: "0 to 1, not a probability",
    Scale.PROBABILITY: "calibrated probability",
}


class Span(NamedTuple):
    """A passage of a text: the half-open range of characters ``text[start:end]``.

    Attributes:
        start: Its first character.
        end: The character after its last.
        score: Its own score, on the scale of the text's score; None where it is not known.

    Example:
        ```python
        from rerank_core import Span

        text = "Cats purr. Plants turn light into sugar."
        span = Span(11, 40, score=0.9)
        assert text[span.start : span.end] == "Plants turn light into sugar."
        ```
    """

    start: int
    end: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Scoring:
    """The scores of some texts for one query, in the order the texts came.

    Attributes:
        scores: One plain float per text, or None where the text was not scored.
        usage: What it cost.
        degraded: Why the scoring is less than was asked for, in a sentence for people; None if
            it is whole.
        spans: Per text its relevant passages, best first, where the scorer knows them.
        secondary: Per text a score on another scale, which orders the texts without a score
            among themselves; without it they keep first-stage order.
        scale: What the scores mean, where that is not what the scorer's `scale` says, because
            another scorer stood in.
        causes: Why the scoring is degraded, in codes for programs, without repetition: the class
            names of the errors that scorers raised, such as ``"RateLimitError"``;
            ``"deadline"``, the time of a `Deadline` was up; ``"stopped"``, a progress callback
            ended the scoring; ``"circuit_open"``, a `Fallback` did not ask a scorer that keeps
            failing; ``"other"``, where a scorer gives no code. Empty if it is whole.
        nothing_probability: Probability that none of the texts is relevant, where a `Calibrated`
            knows it.

    Raises:
        NonFiniteScoreError: If a score is NaN or infinite.
        ValueError: If `spans` or `secondary` do not hold one entry per score, or there are causes
            without `degraded`.

    Example:
        ```python
        from rerank_core import Scoring, load_scorer

        scoring = load_scorer("nano").score("How do plants eat?", ["Plants use light.", ""])
        assert isinstance(scoring, Scoring)
        assert scoring.scores[1] is None  # a blank text is not scored
        assert scoring.usage.pairs == 1
        ```
    """

    scores: tuple[float | None, ...]
    usage: Usage = field(default_factory=Usage)
    degraded: str | None = None
    spans: tuple[tuple[Span, ...], ...] | None = None
    secondary: tuple[float | None, ...] | None = None
    scale: Scale | None = None
    causes: tuple[str, ...] = ()
    nothing_probability: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", _plain(self.scores))
        if self.secondary is not None:
            object.__setattr__(self, "secondary", _plain(self.secondary))
        if self.degraded is not None and not self.causes:
            object.__setattr__(self, "causes", (OTHER,))
        if self.causes and self.degraded is None:
            raise ValueError(f"a scoring with causes {self.causes} needs a sentence in degraded")
        for name, entries in (("spans", self.spans), ("secondary scores", self.secondary)):
            if entries is not None and len(entries) != len(self.scores):
                raise ValueError(f"{len(entries)} {name} for {len(self.scores)} scores")


def unique(causes: Iterable[str]) -> tuple[str, ...]:
    """Return causes without repetition, in the order in which they first came."""
    return tuple(dict.fromkeys(causes))


def _plain(scores: Sequence[float | None]) -> tuple[float | None, ...]:
    # float() also turns numpy scalars into plain floats, so none can leak from a scorer.
    plain = [None if score is None else float(score) for score in scores]
    for position, score in enumerate(plain):
        if score is not None and not math.isfinite(score):
            raise NonFiniteScoreError(f"the score of text {position} is {score}")
    return tuple(plain)


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One candidate in its new place.

    Attributes:
        index: Its position among the candidates, from 0.
        score: Its score on the ranking's scale; None if it was not scored.
        prior: Its first-stage score, where one was given.
        spans: Its relevant passages, best first; empty where the scorer does not know them.
        text: The candidate itself.
        kept: The passages that trimmers left of the text, in its order; empty where it is whole.
        mark: Text between them in `excerpt`.

    Example:
        ```python
        from rerank_core import rerank

        best = rerank("How do plants eat?", ["Cats purr.", "Plants use light."])[0]
        assert (best.index, best.text) == (1, "Plants use light.")
        ```
    """

    index: int
    score: float | None
    prior: float | None
    spans: tuple[Span, ...]
    text: str = field(repr=False)
    kept: tuple[Span, ...] = ()
    mark: str = " … "

    @property
    def excerpt(self) -> str:
        """The text that trimmers left, for the LLM; all of it where they cut nothing."""
        if not self.kept:
            return self.text
        return self.mark.join(self.text[span.start : span.end] for span in self.kept)

    @property
    def span(self) -> Span | None:
        """The best of the spans, or None."""
        return self.spans[0] if self.spans else None


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[RankedItem]):
    """Candidates in their new order, trimmed; a sequence of `RankedItem`.

    ``print`` and notebooks show it as a table.

    Attributes:
        items: The candidates that stayed, best first.
        scorer: Name of the scorer.
        scale: What the scores mean; `Scale.LOGIT` where there is none. A blended score is relative
            to its own list: compare it within one ranking only.
        usage: What the scoring cost.
        degraded: Why the ranking is less than was asked for, in a sentence for people; None if it
            is whole.
        causes: Why, in codes for programs: those of `Scoring`, the class name of the error that a
            trimmer raised, and ``"budget"``, not even the best sentence fits the budget.
        tokens_before: Tokens of the texts that would have stayed without trimmers, by the counter
            of the `Budget`, or of ``"nano"``; None without trimmers, or if the counter
            fails.
        tokens_after: Tokens of what stayed of them; None in the same cases.
        nothing_relevant: The evidence that no candidate is relevant, in a sentence; None if there
            is none, or no `Adaptive` with ``least`` or ``nothing`` was asked.
        best_score: The best score of all candidates, those that were dropped included; None if
            none was scored. It tells how far an empty ranking is from a threshold.
        nothing_probability: Probability that no candidate is relevant, where a `Calibrated` knows
            it.

    Example:
        ```python
        from rerank_core import rerank

        ranking = rerank("How do plants eat?", ["Cats purr.", "Plants use light."], top_n=1)
        print(ranking)
        assert [item.text for item in ranking] == ["Plants use light."]
        ```

        ```text
        nano (logit: any real number, not a probability)
        rank   was  change      score  text
           1     2      ↑1    18.3061  Plants use light.
        ```
    """

    items: tuple[RankedItem, ...]
    scorer: str
    scale: Scale
    usage: Usage = field(default_factory=Usage)
    degraded: str | None = None
    causes: tuple[str, ...] = ()
    best_score: float | None = None
    tokens_before: int | None = None
    tokens_after: int | None = None
    nothing_relevant: str | None = None
    nothing_probability: float | None = None

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

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with one row per item, best first.

        Returns:
            The columns ``rank`` and ``was`` (new and first-stage place, from 1), ``score``,
            ``prior`` (both NaN where there is none) and ``text``; the index is `RankedItem.index`.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("pandas", "Ranking.to_pandas") from error
        index = pd.Index([item.index for item in self], dtype="int64")
        rows = {
            "rank": range(1, len(self) + 1),
            "was": pd.array([item.index + 1 for item in self], dtype="int64"),
            "score": pd.array([item.score for item in self], dtype="float64"),
            "prior": pd.array([item.prior for item in self], dtype="float64"),
            # A series stays as it is: an array would become Arrow's strings, without surrogates.
            "text": pd.Series([item.text for item in self], index=index, dtype=object),
        }
        return pd.DataFrame(rows, index=index)

    def __str__(self) -> str:
        return text_table(self._heading(), self)

    def _repr_html_(self) -> str:
        return html_table(self._heading(), self)

    def _heading(self) -> str:
        degraded = f"; degraded: {self.degraded}" if self.degraded else ""
        return f"{self.scorer} ({self.scale.meaning}){degraded}"
