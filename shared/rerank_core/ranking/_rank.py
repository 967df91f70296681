"""`rerank` and `arerank`: every decision is shared, only the wait for the scorer differs."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterable
from typing import SupportsIndex

from rerank_core.errors import InvalidInputError
from rerank_core.observing import observe
from rerank_core.ranking._blend import Blend
from rerank_core.scorer import Progress, Scorer
from rerank_core.types import RankedItem, Ranking, Scoring
from rerank_core.validation import (
    check_budget,
    check_finite,
    check_positive,
    check_query,
    check_texts,
    describe,
)

__all__ = ["arerank", "rerank"]


def rerank(
    query: str,
    candidates: Iterable[str],
    scorer: Scorer,
    *,
    top_n: int | None = None,
    min_score: float | None = None,
    blend: Blend | None = None,
    prior: Iterable[float | None] | None = None,
    max_tokens: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Score the candidates for the query, order them, and keep the best.

    Scored candidates come first, by descending score; ties keep first-stage order. Candidates
    that were not scored follow, in first-stage order, and no threshold drops them. Then the
    ranking is cut to `top_n`, and after that to its longest beginning that fits `max_tokens`.

    Args:
        query: What the user asked; not blank.
        candidates: Texts in first-stage order. Read once, so a generator will do.
        scorer: What scores them.
        top_n: At most this many stay. None keeps all.
        min_score: Scored candidates below it are dropped. It is on the scale of the ranking:
            the scorer's, or the blend's where there is one.
        blend: Mix the scores with the first stage.
        prior: First-stage score of each candidate, in the order of `candidates`.
        max_tokens: At most this many tokens of text stay, by `count_tokens`.
        count_tokens: Counts the tokens of a text as the LLM will.
        progress: Called between batches with (pairs done, pairs in all).

    Returns:
        The candidates that stayed, best first, with what it cost.

    Raises:
        InvalidInputError: If an argument is wrong; the message names it.
        ConfigurationError: If there is `max_tokens` without `count_tokens`.
        ScorerError: If the scorer fails.
    """
    request = _Request(
        query, candidates, scorer, top_n, min_score, blend, prior, max_tokens, count_tokens
    )
    with observe(scorer, len(request.texts)) as finish:
        return finish(request.rank(scorer.score(request.query, request.texts, progress=progress)))


async def arerank(
    query: str,
    candidates: Iterable[str],
    scorer: Scorer,
    *,
    top_n: int | None = None,
    min_score: float | None = None,
    blend: Blend | None = None,
    prior: Iterable[float | None] | None = None,
    max_tokens: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Like `rerank`, without blocking the event loop while the scorer works."""
    request = _Request(
        query, candidates, scorer, top_n, min_score, blend, prior, max_tokens, count_tokens
    )
    with observe(scorer, len(request.texts)) as finish:
        scoring = await scorer.ascore(request.query, request.texts, progress=progress)
        # Counting tokens can take long, and so can a scorer's look at its model's files.
        return finish(await asyncio.to_thread(request.rank, scoring))


class _Request:
    """One validated call, and the way from its scoring to its ranking."""

    def __init__(
        self,
        query: str,
        candidates: Iterable[str],
        scorer: Scorer,
        top_n: int | None,
        min_score: float | None,
        blend: Blend | None,
        prior: Iterable[float | None] | None,
        max_tokens: int | None,
        count_tokens: Callable[[str], int] | None,
    ) -> None:
        if not isinstance(scorer, Scorer):
            raise InvalidInputError(
                f"scorer must be a Scorer, not {describe(scorer)}; "
                'load_scorer("nano") makes one from a name'
            )
        if blend is not None and not isinstance(blend, Blend):
            raise InvalidInputError(f"blend must be a Blend, not {describe(blend)}")
        check_budget(max_tokens, count_tokens)
        self.query = check_query(query)
        self.scorer = scorer
        self.blend = blend
        self.top_n = check_positive(top_n, "top_n")
        self.min_score = check_finite(min_score, "min_score")
        self.max_tokens = check_positive(max_tokens, "max_tokens")
        self.count_tokens = count_tokens
        self.texts = check_texts(candidates, "candidates")
        self.priors = _check_priors(prior, len(self.texts))
        if blend is not None:
            blend.check(self.priors)

    def rank(self, scoring: Scoring) -> Ranking:
        scores = list(scoring.scores)
        if self.blend is not None:
            scores = self.blend.apply(scores, self.priors)
        spans = scoring.spans or (None,) * len(scores)
        items = [
            RankedItem(index, score, prior, span, text)
            for index, (score, prior, span, text) in enumerate(
                zip(scores, self.priors, spans, self.texts, strict=True)
            )
        ]
        # A sort is stable, so equal scores keep first-stage order, and so do unscored items
        # but where a secondary score orders them.
        second = scoring.secondary or (None,) * len(scores)

        def place(item: RankedItem) -> tuple[bool, bool, float]:
            score = second[item.index] if item.score is None else item.score
            return item.score is None, score is None, -(score or 0.0)

        items.sort(key=place)
        if self.min_score is not None:
            least = self.min_score
            items = [item for item in items if item.score is None or item.score >= least]
        return Ranking(
            items=tuple(self._fitting(items[: self.top_n])),
            scorer=self.scorer.name,
            scale=self.blend.scale if self.blend else scoring.scale or self.scorer.scale,
            usage=scoring.usage,
            degraded=scoring.degraded,
        )

    def _fitting(self, items: list[RankedItem]) -> list[RankedItem]:
        if self.max_tokens is None or self.count_tokens is None:
            return items
        room = self.max_tokens
        for kept, item in enumerate(items):
            counted = self.count_tokens(item.text)
            if not isinstance(counted, SupportsIndex) or (taken := operator.index(counted)) < 0:
                raise InvalidInputError(
                    f"count_tokens must return a number of tokens, not {describe(counted)}"
                )
            room -= taken
            if room < 0:
                return items[:kept]
        return items


def _check_priors(prior: Iterable[float | None] | None, count: int) -> list[float | None]:
    if prior is None:
        return [None] * count
    priors = [check_finite(value, f"prior[{i}]") for i, value in enumerate(prior)]
    if len(priors) != count:
        raise InvalidInputError(
            f"prior must hold one score for each of the {count} candidates, not {len(priors)}"
        )
    return priors
