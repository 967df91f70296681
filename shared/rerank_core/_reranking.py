"""`rerank` and `arerank`: every decision is shared, only the wait for the scorer differs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from inspect import signature
from typing import Any, Never

from rerank_core._background import calls
from rerank_core._blend import BlendLike
from rerank_core._checks import refuse_unknown
from rerank_core._errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
)
from rerank_core._loading import ScorerLike
from rerank_core._request import Request
from rerank_core._scorer import Scorer
from rerank_core._telemetry import observe_ranking
from rerank_core._trimming import Passage, TrimLike, atrim_ranking, trim_ranking
from rerank_core._trimming.tokens import CounterLike
from rerank_core._types import Progress, Ranking, Scoring

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
    if unknown:
        refuse_unknown(unknown, signature(rerank).parameters)
    request = Request(
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
    if unknown:
        refuse_unknown(unknown, signature(rerank).parameters)
    request = Request(
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
    return _run(Request(query, candidates, passages=passages, **options), progress)


async def arerank_passages(
    query: str, candidates: Iterable[str], passages: Sequence[Passage] | None, **options: Any
) -> Ranking:
    """Like `rerank_passages`, without blocking the event loop while the scorer works."""
    return await _arun(Request(query, candidates, passages=passages, **options), None)


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
    rows: list[Request | Exception] = []
    for query, texts, prior in zip(queries, candidates, priors, strict=True):
        try:
            rows.append(Request(query, texts, scorer=scorer, prior=prior, **options))
        except InvalidInputError as error:
            rows.append(error)
    asked = [row for row in rows if isinstance(row, Request)]
    if scorer.remote:
        rankings = iter(calls.run(_rank_at_once(asked, at_once)))
    else:
        rankings = iter(_rank_together(asked, scorer))
    return [row if isinstance(row, Exception) else next(rankings) for row in rows]


async def _rank_at_once(requests: Sequence[Request], at_once: int) -> list[Ranking | Exception]:
    free = asyncio.Semaphore(at_once)

    async def rank(request: Request) -> Ranking | Exception:
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


def _rank_together(requests: Sequence[Request], scorer: Scorer) -> list[Ranking | Exception]:
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


def _run(request: Request, progress: Progress | None, scoring: Scoring | None = None) -> Ranking:
    started = time.monotonic()
    with observe_ranking(request.scorer.name, len(request.texts)) as finish:
        if scoring is None:
            scoring = request.scorer.score(request.query, request.to_score, progress=progress)
        ranking = request.rank(scoring)
        if request.trimmers:
            ranking = trim_ranking(
                ranking, request.trimmers, request.top_n, request.context(started)
            )
        return finish(ranking)


async def _arun(request: Request, progress: Progress | None) -> Ranking:
    started = time.monotonic()
    with observe_ranking(request.scorer.name, len(request.texts)) as finish:
        scoring = await request.scorer.ascore(request.query, request.to_score, progress=progress)
        ranking = request.rank(scoring)
        if request.trimmers:
            trimmers, top_n = request.trimmers, request.top_n
            ranking = await atrim_ranking(ranking, trimmers, top_n, request.context(started))
        return finish(ranking)
