"""Every system against the first stage and against every other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from rerank_core.evaluation._report import (
    FIRST_STAGE,
    MEAN,
    CollectionReport,
    Comparison,
    SystemReport,
)
from rerank_core.evaluation._statistics import difference, holm, queries_needed
from rerank_core.evaluation._verdict import judge

__all__ = ["EvalProgress", "compare", "means"]

EvalProgress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def means(
    reports: Sequence[CollectionReport], metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return each system's mean over the collections, of each metric."""

    def over(systems: Sequence[SystemReport]) -> dict[str, float]:
        return {
            metric: float(np.mean([system.values[metric] for system in systems]))
            for metric in metrics
        }

    found = {FIRST_STAGE: over([report.first_stage for report in reports])}
    for at, system in enumerate(reports[0].systems):
        found[system.name] = over([report.systems[at] for report in reports])
    return found


def compare(
    reports: Sequence[CollectionReport],
    metric: str,
    *,
    resamples: int,
    seed: int,
    progress: EvalProgress | None,
) -> list[Comparison]:
    """Compare all with all, on each collection and, where there are several, on their mean.

    Args:
        reports: What was found on each collection; all hold the same systems.
        metric: What decides.
        resamples: Of the bootstrap and the randomisation test.
        seed: Of their random numbers.
        progress: Called with (what, comparisons done, comparisons in all).
    """
    places = [(report.name, [report]) for report in reports]
    if len(reports) > 1:
        places.append((MEAN, list(reports)))
    rows = []
    for place, group in places:
        # Each system's values for the queries of each collection, the first stage's first.
        systems = [
            (FIRST_STAGE, [report.first_stage.per_query for report in group]),
            *(
                (system.name, [report.systems[at].per_query for report in group])
                for at, system in enumerate(group[0].systems)
            ),
        ]
        for (other, old), (name, new) in combinations(systems, 2):
            strata = [
                np.array([b[query] - a[query] for query in a])
                for a, b in zip(old, new, strict=True)
            ]
            rows.append((place, name, other, strata))
    found = []
    for done, row in enumerate(rows):
        if progress is not None:
            progress("comparing", done, len(rows))
        found.append(difference(row[3], resamples=resamples, seed=seed))
    if progress is not None:
        progress("comparing", len(rows), len(rows))
    comparisons = []
    corrected = holm([each.p for each in found])
    for (place, name, other, strata), each, p in zip(rows, found, corrected, strict=True):
        needed = queries_needed(strata, comparisons=len(rows))
        verdict, sentence = judge(
            each,
            p,
            metric=metric,
            queries=sum(map(len, strata)),
            needed=needed,
            comparisons=len(rows),
            baseline=None if other == FIRST_STAGE else other,
        )
        comparisons.append(
            Comparison(
                place,
                name,
                other,
                each.mean,
                each.low,
                each.high,
                each.p,
                p,
                verdict,
                needed if verdict == "cannot tell" else None,
                sentence,
            )
        )
    return comparisons
