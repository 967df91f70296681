"""The tokens that trimming saves, and the answers that it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np

from rerank_core._blend import Blend
from rerank_core._scorer import Scorer
from rerank_core._trimming import Trimmer
from rerank_core._types import RankedItem, Ranking
from rerank_core._usage import Usage
from rerank_core.evaluation._report import Trimming
from rerank_core.evaluation._scoring import EvalProgress, Evaluator, watched
from rerank_core.evaluation._statistics import difference

__all__ = ["is_answered", "measure_trimming"]


def measure_trimming(
    evaluator: Evaluator,
    scorers: Mapping[str, Scorer],
    depth: int,
    *,
    blend: Blend | None,
    trim: Sequence[Trimmer],
    top_n: int | None,
    resamples: int,
    seed: int,
    progress: EvalProgress | None,
) -> Trimming | None:
    """Trim the ranking of every query that has candidates.

    Args:
        evaluator: The evaluator of the collection.
        scorers: Scorer of each query that has candidates.
        depth: Number of candidates to rerank.
        blend: Blend with the first stage.
        trim: The trimmers.
        top_n: Most candidates that stay.
        resamples: Number of resamples for the interval.
        seed: Seed of its random numbers.
        progress: Called with (label of the work, queries done, queries in all).

    Returns:
        What trimming left; None if no query has candidates.
    """
    if not scorers:
        return None
    collection = evaluator.task.collection
    wholes: dict[str, Ranking] = {}
    trimmed: dict[str, Ranking] = {}
    degraded: Counter[str] = Counter()
    label = f"{collection.name}: trimming {next(iter(scorers.values())).name} @{depth}"
    for query in watched([*scorers], label, progress):
        scorer = scorers[query]
        wholes[query] = evaluator.rank(query, scorer, depth, blend=blend, top_n=top_n)
        trimmed[query] = evaluator.rank(query, scorer, depth, blend=blend, top_n=top_n, trim=trim)
        degraded.update({*trimmed[query].causes} - {*wholes[query].causes})

    def named(query: str, rankings: Mapping[str, Ranking]) -> list[tuple[str, RankedItem]]:
        found = evaluator.task.first_stage.candidates.get(query, ())
        return [(found[item.index].id, item) for item in rankings.get(query, ())]

    def relevant(query: str, rankings: Mapping[str, Ranking]) -> int:
        grades = collection.judgements[query]
        return sum(grades.get(name, 0) > 0 for name, _ in named(query, rankings))

    def answered(query: str, rankings: Mapping[str, Ranking]) -> bool:
        places = collection.answers[query]
        return any(is_answered(i, places.get(name, ())) for name, i in named(query, rankings))

    shares = [
        relevant(query, trimmed) / count for query in wholes if (count := relevant(query, wholes))
    ]
    asked = [query for query in evaluator.task.used if query in collection.answers]
    answerable = [query for query in asked if answered(query, wholes)]
    after = {query: answered(query, trimmed) for query in asked}
    kept = np.array([float(after[query]) for query in answerable])
    spread = difference([kept], resamples=resamples, seed=seed) if answerable else None
    tokens_before = _mean(ranking.tokens_before for ranking in trimmed.values())
    tokens_after = _mean(ranking.tokens_after for ranking in trimmed.values())
    return Trimming(
        candidates_before=fmean(len(ranking) for ranking in wholes.values()),
        candidates_after=fmean(len(ranking) for ranking in trimmed.values()),
        tokens_before=tokens_before,
        tokens_after=tokens_after,
        saved=None
        if not tokens_before or tokens_after is None
        else 1 - tokens_after / tokens_before,
        empty=sum(not ranking for ranking in trimmed.values()),
        relevant_kept=fmean(shares) if shares else None,
        answered_before=len(answerable) / len(asked) if asked else None,
        answered_after=fmean(after.values()) if asked else None,
        answers_kept=spread.mean if spread else None,
        low=spread.low if spread else None,
        high=spread.high if spread else None,
        answered=after,
        usage=sum((ranking.usage for ranking in trimmed.values()), Usage()),
        degraded=dict(degraded) or None,
    )


def _mean(counts: Iterable[int | None]) -> float | None:
    """Return the mean; None if a count is missing."""
    known = [*counts]
    present = [count for count in known if count is not None]
    return fmean(present) if len(present) == len(known) else None


def is_answered(item: RankedItem, answers: Sequence[tuple[int, int]]) -> bool:
    """Return whether a whole answer is left of a candidate."""
    kept = item.kept or ((0, len(item.text), None),)
    return any(s <= start and end <= e for start, end in answers for s, e, _ in kept)
