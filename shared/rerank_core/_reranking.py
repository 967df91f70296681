"""`rerank` and `arerank`: every decision is shared, only the wait for the scorer differs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from inspect import signature
from math import isnan
from numbers import Real
from typing import Any, Never

from rerank_core._background import calls
from rerank_core._blend import BlendLike, make_blend
from rerank_core._checks import (
    check_number,
    check_ordered,
    check_query,
    check_texts,
    check_whole,
    describe,
    optional,
    refuse_unknown,
)
from rerank_core._errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
)
from rerank_core._loading import ScorerLike, shared_scorer
from rerank_core._scorer import Scorer
from rerank_core._telemetry import observe_ranking
from rerank_core._trimming import (
    Passage,
    TrimContext,
    TrimLike,
    atrim_ranking,
    make_trimmers,
    trim_ranking,
)
from rerank_core._trimming.tokens import CounterLike
from rerank_core._types import Progress, RankedItem, Ranking, Scale, Scoring, unique

__all__ = ["arerank", "arerank_passages", "rerank", "rerank_passages", "rerank_rows"]

# These are not the fault of one row, so that it makes no sense to go on.
_OF_ALL_ROWS = (AuthenticationError, ConfigurationError, MissingExtraError)


def rerank(
    query: str,
    candidates: Iterable[str],
    scorer: ScorerLike = "nano",
    *,
    depth: int | None = None,
    top_n: int | None = None,
    min_score: float | None = None,
    blend: BlendLike | None = None,
    prior: Iterable[float | None] | None = None,
    max_tokens: int | None = None,
    count_tokens: CounterLike | None = None,
    trim: Iterable[TrimLike] | TrimLike | None = None,
    progress: Progress | None = None,
    **unknown: Never,
) -> Ranking:
    """Score the candidates for the query, order them, and keep the best.

    Scored candidates come first, by descending score; ties keep first-stage order. Candidates
    that were not scored follow, in first-stage order, and a threshold drops only those of them
    that a `Cascade` left to its cheap stage. Then trimmers that drop candidates work, the ranking
    is cut to `top_n`, and those that shorten and arrange texts follow.

    Args:
        query: What the user asked; not blank.
        candidates: Texts in first-stage order; no mapping and no set, which has no order. Read
            once, so a generator will do.
        scorer: What scores them: a `Scorer`, or a name or configuration as for `load_scorer`;
            what is made from one is kept for the next call with the same. Default: ``"nano"``,
            the embedded model.
        depth: Only so many of the first candidates are scored; the rest follow unscored. The
            lever for speed and cost, often called ``top_k``. None scores all.
        top_n: At most this many stay. None keeps all.
        min_score: Scored candidates below it are dropped, and with them those that a `Cascade`
            left to its cheap stage, unless the scoring is degraded. It is on the scale of the
            ranking: the scorer's, or the blend's where there is one. Where a stand-in of a
            `Fallback` scored on another scale, it is not applied, and ``degraded`` says so.
        blend: Mix the scores with the first stage: a `Blend`, ``"METHOD"`` or
            ``"METHOD:WEIGHT"`` such as ``"rrf:0.3"``, or a mapping of `Blend`'s arguments.
        prior: First-stage score of each candidate, in the order of `candidates`; None or NaN where
            there is none, which the blend ``"rrf"`` can do without.
        max_tokens: Short for ``trim=[Budget(max_tokens, count_tokens)]``: at most this many tokens
            of text stay.
        count_tokens: Counter of these tokens, as for `Budget`. Default: None, which is ``"nano"``.
        trim: Trimmers: `Excerpt`, `Budget`, `Distinct`, `Adaptive`, `Arrange` or your own; or
            names such as ``"excerpt"`` and ``"budget=2000"``, or mappings. They work in the order
            above, however they are listed. What is left of a text is in `RankedItem.excerpt`.
        progress: Called between batches with (pairs done, pairs in all).
        **unknown: Refused, with the argument that was probably meant.

    Returns:
        The candidates that stayed, best first, with what it cost.

    Raises:
        InvalidInputError: If an argument is wrong or unknown; the message names it.
        ConfigurationError: If the scorer, the blend or a trimmer cannot be made.
        ScorerError: If the scorer fails.

    Example:
        ```python
        from rerank_core import rerank

        texts = ["Yeast makes dough rise.", "Use json.dump to write JSON to a file."]
        ranking = rerank("How do I write JSON to a file?", texts)
        assert ranking[0].index == 1
        print(ranking)
        ```

        ```text
        nano (logit: any real number, not a probability)
        rank   was  change      score  text
           1     2      ↑1    25.0482  Use json.dump to write JSON to a file.
           2     1      ↓1     3.3856  Yeast makes dough rise.
        ```
    """
    request = _Request(
        query,
        candidates,
        scorer=scorer,
        depth=depth,
        top_n=top_n,
        min_score=min_score,
        blend=blend,
        prior=prior,
        max_tokens=max_tokens,
        count_tokens=count_tokens,
        trim=trim,
        unknown=unknown,
    )
    return _run(request, progress)


async def arerank(
    query: str,
    candidates: Iterable[str],
    scorer: ScorerLike = "nano",
    *,
    depth: int | None = None,
    top_n: int | None = None,
    min_score: float | None = None,
    blend: BlendLike | None = None,
    prior: Iterable[float | None] | None = None,
    max_tokens: int | None = None,
    count_tokens: CounterLike | None = None,
    trim: Iterable[TrimLike] | TrimLike | None = None,
    progress: Progress | None = None,
    **unknown: Never,
) -> Ranking:
    """Like `rerank`, without blocking the event loop while the scorer works.

    Example:
        ```python
        import asyncio

        from rerank_core import arerank

        ranking = asyncio.run(arerank("How do plants eat?", ["Plants use light.", "Cats purr."]))
        assert ranking[0].index == 0
        ```
    """
    request = _Request(
        query,
        candidates,
        scorer=scorer,
        depth=depth,
        top_n=top_n,
        min_score=min_score,
        blend=blend,
        prior=prior,
        max_tokens=max_tokens,
        count_tokens=count_tokens,
        trim=trim,
        unknown=unknown,
    )
    return await _arun(request, progress)


def rerank_passages(
    query: str,
    candidates: Iterable[str],
    passages: Sequence[Passage] | None,
    progress: Progress | None = None,
    **options: Any,
) -> Ranking:
    """Like `rerank`, but trim and return the texts of the passages, if there are any."""
    return _run(_Request(query, candidates, passages=passages, **options), progress)


async def arerank_passages(
    query: str, candidates: Iterable[str], passages: Sequence[Passage] | None, **options: Any
) -> Ranking:
    """Like `rerank_passages`, without blocking the event loop while the scorer works."""
    return await _arun(_Request(query, candidates, passages=passages, **options), None)


def rerank_rows(
    queries: Sequence[Any],
    candidates: Sequence[Any],
    scorer: Scorer,
    priors: Sequence[Iterable[float | None] | None],
    *,
    at_once: int,
    **options: Any,
) -> list[Ranking | Exception]:
    """Like `rerank` for many queries, with the error of a row in its place.

    Args:
        queries: The queries.
        candidates: For each query its candidates.
        scorer: The scorer. A local model scores the rows together.
        priors: For each query the first-stage scores, or None.
        at_once: The most rows that a remote scorer works on at once.
        **options: Other arguments of `rerank`.

    Raises:
        ConfigurationError: If the scorer or an option cannot work, for whatever row.
        MissingExtraError: If a package is not installed.
        AuthenticationError: If a service refuses the key.
    """
    rows: list[_Request | Exception] = []
    for query, texts, prior in zip(queries, candidates, priors, strict=True):
        try:
            rows.append(_Request(query, texts, scorer=scorer, prior=prior, **options))
        except InvalidInputError as error:
            rows.append(error)
    asked = [row for row in rows if isinstance(row, _Request)]
    if scorer.remote:
        rankings = iter(calls.run(_rank_at_once(asked, at_once)))
    else:
        rankings = iter(_rank_together(asked, scorer))
    return [row if isinstance(row, Exception) else next(rankings) for row in rows]


async def _rank_at_once(requests: Sequence[_Request], at_once: int) -> list[Ranking | Exception]:
    free = asyncio.Semaphore(at_once)

    async def rank(request: _Request) -> Ranking | Exception:
        async with free:
            try:
                return await _arun(request, None)
            except _OF_ALL_ROWS:
                raise
            except Exception as error:  # noqa: BLE001 - a user's own scorer raises what it likes
                return error

    tasks = [asyncio.create_task(rank(request)) for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _rank_together(requests: Sequence[_Request], scorer: Scorer) -> list[Ranking | Exception]:
    scorings: list[Scoring | None] = [None] * len(requests)
    if len(requests) > 1:
        try:
            scorings[:] = scorer.score_many(
                [request.query for request in requests], [request.to_score for request in requests]
            )
        except _OF_ALL_ROWS:
            raise
        except Exception:  # noqa: BLE001, S110 - each is scored on its own, to find which it is
            pass
    rankings: list[Ranking | Exception] = []
    for request, scoring in zip(requests, scorings, strict=True):
        try:
            rankings.append(_run(request, None, scoring))
        except _OF_ALL_ROWS:
            raise
        except Exception as error:  # noqa: BLE001 - a user's own scorer raises what it likes
            rankings.append(error)
    return rankings


def _run(request: _Request, progress: Progress | None, scoring: Scoring | None = None) -> Ranking:
    request.started = time.monotonic()
    with observe_ranking(request.scorer.name, len(request.texts)) as finish:
        if scoring is None:
            scoring = request.scorer.score(request.query, request.to_score, progress=progress)
        ranking = request.rank(scoring)
        if request.trimmers:
            ranking = trim_ranking(ranking, request.trimmers, request.top_n, request.context)
        return finish(ranking)


async def _arun(request: _Request, progress: Progress | None) -> Ranking:
    request.started = time.monotonic()
    with observe_ranking(request.scorer.name, len(request.texts)) as finish:
        scoring = await request.scorer.ascore(request.query, request.to_score, progress=progress)
        ranking = request.rank(scoring)
        if request.trimmers:
            trimmers, top_n = request.trimmers, request.top_n
            ranking = await atrim_ranking(ranking, trimmers, top_n, request.context)
        return finish(ranking)


class _Request:
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
        unknown: Mapping[str, Any] | None = None,
        passages: Sequence[Passage] | None = None,
    ) -> None:
        if unknown:
            refuse_unknown(unknown, signature(rerank).parameters)
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
        self.started = time.monotonic()  # a row of many may begin later

    @property
    def context(self) -> TrimContext:
        """The query, the scorer and the passages, for trimmers."""
        passages = [*map(Passage, self.texts)] if self._passages is None else self._passages
        return TrimContext(self.query, self.scorer, passages, self.started)

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
