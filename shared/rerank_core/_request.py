"""`Request`: a validated call, and the way from its scoring to its ranking."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan
from numbers import Real

from rerank_core._blend import BlendLike, make_blend
from rerank_core._checks import (
    check_number,
    check_ordered,
    check_query,
    check_texts,
    check_whole,
    describe,
    optional,
)
from rerank_core._errors import InvalidInputError
from rerank_core._loading import ScorerLike, shared_scorer
from rerank_core._scorer import Scorer
from rerank_core._trimming import Passage, TrimContext, TrimLike, make_trimmers
from rerank_core._trimming.tokens import CounterLike
from rerank_core._types import RankedItem, Ranking, Scale, Scoring, unique

__all__ = ["Request"]


class Request:
    """A validated call, and the way from its scoring to its ranking."""

    def __init__(
        self,
        query: str,
        candidates: Iterable[str],
        *,
        scorer: ScorerLike = "nano",
        depth: int | None = None,
        top_n: int | None = None,
        min_score: float | None = None,
        blend: BlendLike | None = None,
        prior: Iterable[float | None] | None = None,
        max_tokens: int | None = None,
        count_tokens: CounterLike | None = None,
        trim: Iterable[TrimLike] | TrimLike | None = None,
        passages: Sequence[Passage] | None = None,
    ) -> None:
        self.query = check_query(query)
        self.depth = optional(check_whole, depth, "depth", error=InvalidInputError)
        self.top_n = optional(check_whole, top_n, "top_n", error=InvalidInputError)
        self.min_score = optional(check_number, min_score, "min_score", error=InvalidInputError)
        self.trimmers = make_trimmers(trim, max_tokens, count_tokens)
        self.texts = check_texts(candidates, "candidates")
        self.priors = _check_priors(prior, len(self.texts))
        self.blend = None if blend is None else make_blend(blend)
        if self.blend is not None:
            self.blend.check(self.priors[: self.depth])
        self.scorer = scorer if isinstance(scorer, Scorer) else shared_scorer(scorer)
        self._passages = passages

    def context(self, started: float) -> TrimContext:
        """Return the query, the scorer, the passages and when work on it began, for trimmers."""
        passages = [*map(Passage, self.texts)] if self._passages is None else self._passages
        return TrimContext(self.query, self.scorer, passages, started)

    @property
    def to_score(self) -> list[str]:
        """The candidates that are scored; the others follow them."""
        return self.texts[: self.depth]

    def rank(self, scoring: Scoring) -> Ranking:
        """Order the candidates, without those below the threshold, and cut them to `top_n`.

        If there are trimmers, all stay: `top_n` is for them.
        """
        unread = len(self.texts) - len(scoring.scores)
        scores = list(scoring.scores)
        scored = any(score is not None for score in scores)
        if self.blend is not None:
            scores = self.blend.apply(scores, self.priors[: self.depth])
        scores += [None] * unread
        spans = (*(scoring.spans or ((),) * len(scoring.scores)), *((),) * unread)
        items = [
            RankedItem(index, score, prior, passages, text)
            for index, (score, prior, passages, text) in enumerate(
                zip(scores, self.priors, spans, self._own_texts, strict=True)
            )
        ]
        # A sort is stable, so equal scores keep first-stage order, and so do unscored items
        # but where a secondary score orders them.
        second = (*(scoring.secondary or (None,) * len(scoring.scores)), *(None,) * unread)

        def place(item: RankedItem) -> tuple[bool, bool, float]:
            score = second[item.index] if item.score is None else item.score
            return item.score is None, score is None, -(score or 0.0)

        items.sort(key=place)
        best_score = items[0].score if items else None
        # Without a score, the model may be missing, or still be loading: it is not asked.
        scale = scoring.scale or (self.scorer.scale if scored else Scale.LOGIT)
        degraded = scoring.degraded
        least = self.min_score
        if least is not None and scoring.scale and not self.blend:
            asked = self.scorer.scale
            if asked is not scale:  # a stand-in's score, which the threshold is not about
                degraded = f"{degraded}; min_score was not applied: it is a {asked}, not a {scale}"
                least = None
        if least is not None:
            # A cascade's strong stage reads the best, so what is unread is worse than what it read,
            # unless something failed.
            whole = scored and scoring.degraded is None

            def stays(item: RankedItem) -> bool:
                if item.score is None:
                    return not whole or second[item.index] is None
                return item.score >= least

            items = [item for item in items if stays(item)]
        return Ranking(
            items=tuple(items if self.trimmers else items[: self.top_n]),
            scorer=self.scorer.name,
            scale=self.blend.scale if self.blend else scale,
            usage=scoring.usage,
            degraded=degraded,
            causes=unique(scoring.causes),
            best_score=best_score,
            nothing_probability=scoring.nothing_probability,
        )

    @property
    def _own_texts(self) -> Sequence[str]:
        if self._passages is None:
            return self.texts
        return [passage.text for passage in self._passages]


def _check_priors(prior: Iterable[float | None] | None, count: int) -> list[float | None]:
    if prior is None:
        return [None] * count
    if isinstance(prior, str | bytes) or not isinstance(prior, Iterable):
        raise InvalidInputError(f"prior must be a list of numbers, not {describe(prior)}")
    check_ordered(prior, "prior")
    # NaN is how data frames write that a number is missing.
    priors = [
        None
        if isinstance(value, Real) and isnan(value)
        else optional(check_number, value, f"prior[{i}]", error=InvalidInputError)
        for i, value in enumerate(prior)
    ]
    if len(priors) != count:
        raise InvalidInputError(
            f"prior must hold one score for each of the {count} candidates, not {len(priors)}"
        )
    return priors
