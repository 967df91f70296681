"""Comparisons of every system with the first stage and with every other system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

import numpy as np

from rerank_core.evaluation._report import (
    FIRST_STAGE,
    MEAN,
    CollectionReport,
    Comparison,
    SystemReport,
    Verdict,
)
from rerank_core.evaluation._scoring import EvalProgress, watched
from rerank_core.evaluation._statistics import (
    FEWEST,
    LEVEL,
    WORTHWHILE,
    Difference,
    difference,
    holm,
    queries_needed,
)

__all__ = ["compare", "judge", "means"]

# Verdicts and their words by the sign of the difference; None if there are too few queries.
_AGAINST_FIRST_STAGE: Mapping[int | None, tuple[Verdict, str]] = {
    1: ("helps", "helps"),
    0: ("no gain", "reranking does not help here"),
    -1: ("hurts", "reranking does not help here, it hurts"),
    None: ("cannot tell", "cannot tell"),
}
_AGAINST_OTHER: Mapping[int | None, tuple[Verdict, str]] = {
    1: ("better", "better than {}"),
    0: ("no difference", "no difference from {}"),
    -1: ("worse", "worse than {}"),
    None: ("cannot tell", "cannot tell whether it is better or worse than {}"),
}


def means(
    reports: Sequence[CollectionReport], metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return the mean of each metric over the collections, for each system."""
    return {
        name: {metric: fmean(system.values[metric] for system in group) for metric in metrics}
        for name, group in _by_system(reports)
    }


def compare(
    reports: Sequence[CollectionReport],
    metric: str,
    *,
    resamples: int,
    seed: int,
    progress: EvalProgress | None,
) -> list[Comparison]:
    """Compare all systems on each collection and, if there are several, on their mean.

    Args:
        reports: Results on each collection; all have the same systems.
        metric: Name of the first metric.
        resamples: Number of resamples of the bootstrap and the randomisation test.
        seed: Seed of the random numbers.
        progress: Called with (label of the work, comparisons done, comparisons in all).
    """
    places = [(report.name, [report]) for report in reports]
    if len(reports) > 1:
        places.append((MEAN, list(reports)))
    rows = [
        (
            place,
            system,
            baseline,
            [
                np.array([b.per_query[query] - a.per_query[query] for query in a.per_query])
                for a, b in zip(before, after, strict=True)
            ],
        )
        for place, group in places
        for (baseline, before), (system, after) in combinations(_by_system(group), 2)
    ]
    found = [
        difference(strata, resamples=resamples, seed=seed)
        for *_, strata in watched(rows, "comparing", progress)
    ]
    comparisons = []
    corrected = holm([each.p for each in found])
    for (place, system, baseline, strata), each, p in zip(rows, found, corrected, strict=True):
        needed = queries_needed(strata, comparisons=len(rows))
        verdict, sentence = judge(
            each,
            p,
            metric=metric,
            queries=sum(map(len, strata)),
            needed=needed,
            comparisons=len(rows),
            baseline=None if baseline == FIRST_STAGE else baseline,
        )
        comparisons.append(
            Comparison(
                collection=place,
                system=system,
                baseline=baseline,
                difference=each.mean,
                low=each.low,
                high=each.high,
                p=each.p,
                p_corrected=p,
                verdict=verdict,
                queries_needed=needed if verdict == "cannot tell" else None,
                sentence=sentence,
            )
        )
    return comparisons


def judge(
    found: Difference,
    corrected: float,
    *,
    metric: str,
    queries: int,
    needed: int | None,
    comparisons: int,
    baseline: str | None,
) -> tuple[Verdict, str]:
    """Judge whether a system is better or worse than its baseline; see `Comparison.verdict`.

    Args:
        found: The difference.
        corrected: Its p value after correction.
        metric: Name of the metric.
        queries: Number of queries.
        needed: Estimate by `queries_needed`.
        comparisons: Number of comparisons that the p value was corrected for.
        baseline: Name of the other system; None for the first stage.

    Returns:
        The verdict, and a sentence for people.
    """
    sign = (found.mean > 0) - (found.mean < 0)
    size = f"{abs(found.mean):.4f}" if abs(found.mean) >= 5e-5 else f"{abs(found.mean):.1e}"
    change = f"{metric} {('stays the same', f'is {size} higher', f'is {size} lower')[sign]}"
    outcome: int | None
    if sign and corrected < LEVEL:
        outcome, claim = sign, change
    elif queries >= FEWEST and found.within(WORTHWHILE):
        outcome, claim = 0, f"{change}, and its interval lies within {WORTHWHILE} of zero"
    else:
        figure = f", about {needed:,} are needed" if needed else ""
        outcome, claim = None, f"too few queries{figure}; {change}, which may be chance"
    verdict, words = (_AGAINST_OTHER if baseline else _AGAINST_FIRST_STAGE)[outcome]
    facts = [f"p = {found.p:.2g}", f"{queries:,} {'query' if queries == 1 else 'queries'}"]
    if found.low is not None:
        facts.insert(0, f"95% interval {found.low:+.4f} to {found.high:+.4f}")
    if comparisons > 1:
        facts.insert(-1, f"{corrected:.2g} after correction for {comparisons} comparisons")
    return verdict, f"{words.format(baseline)}: {claim} ({', '.join(facts)})"


def _by_system(reports: Sequence[CollectionReport]) -> list[tuple[str, list[SystemReport]]]:
    """Return the reports on each collection by system, starting with the first stage."""
    systems = zip(*(report.systems for report in reports), strict=True)
    return [
        (FIRST_STAGE, [report.first_stage for report in reports]),
        *((group[0].name, list(group)) for group in systems),
    ]
