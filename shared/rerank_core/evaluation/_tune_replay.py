"""Rankings of many configurations from known scores, computed for all queries at once.

`rerank` decides for one query at a time; here the same decisions are taken on arrays, which are
(queries, candidates) with NaN where there is nothing. The tests compare the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from math import ceil, isnan
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rerank_core._blend import Blend
from rerank_core._usage import Usage
from rerank_core.evaluation._metrics import measure
from rerank_core.evaluation._scoring import Scored, Task

__all__ = ["Flags", "Floats", "Places", "Scores", "TaskReplay"]

Flags: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]
Places: TypeAlias = npt.NDArray[np.intp]


class Scores(NamedTuple):
    """Scores of each query's first candidates, and what it takes to get them.

    Attributes:
        values: The scores.
        secondary: What orders candidates without a score, below those with one.
        seconds: Time of each query.
        cost: Price of each query; NaN where it is not known.
    """

    values: Floats
    secondary: Floats
    seconds: Floats
    cost: Floats


class TaskReplay:
    """Orders and measures one task.

    Args:
        task: The task.
        metric: Name of the metric, as `check_metrics` returns it.
    """

    def __init__(self, task: Task, metric: str) -> None:
        self._task = task
        self._metric = metric
        found = [task.first_stage.candidates.get(query, ()) for query in task.used]
        self._shape = (len(found), max(1, *map(len, found)))
        self._priors = self._array([candidate.score for candidate in each] for each in found)
        self._ids = [[candidate.id for candidate in each] for each in found]
        match = re.fullmatch(r"nDCG@(\d+)", metric)
        self._ndcg = self._make_ndcg(int(match[1])) if match else None

    @property
    def nothing(self) -> Scores:
        """The scores of nothing, which leave the first stage as it is."""
        empty, none = np.full(self._shape, np.nan), np.zeros(self._shape[0])
        return Scores(empty, empty, none, none)

    def read(self, scored: Scored, depth: int) -> Scores:
        """Return what scoring the first `depth` candidates gives and takes.

        If more were scored, time is in proportion to the candidates. So is a price, unless the
        service bills requests or search units, of which there are whole ones only.
        """
        values, secondary = np.full((2, *self._shape), np.nan)
        seconds, cost = np.zeros((2, self._shape[0]))
        for at, query in enumerate(self._task.used):
            if scoring := scored.scorings.get(query):
                count = min(depth, len(scoring.scores))
                values[at, :count] = scoring.scores[:count]  # None becomes NaN
                if scoring.secondary:
                    secondary[at, :count] = scoring.secondary[:count]
                share = count / len(scoring.scores)
                seconds[at] = scoring.usage.seconds * share
                cost[at] = _cost(scoring.usage, share)
        return Scores(values, secondary, seconds, cost)

    def cascade(self, cheap: Scores, strong: Scores, keep: int) -> Scores:
        """Return the scores of a `Cascade` of two scorers, with the time and price of the first."""
        kept = np.zeros(self._shape, dtype=bool)
        np.put_along_axis(kept, _order(cheap)[:, :keep], values=True, axis=1)
        values = np.where(kept, strong.values, np.nan)
        return cheap._replace(values=values, secondary=cheap.values)

    def values(
        self,
        scores: Scores,
        blend: Blend | None = None,
        kept: Places | None = None,
    ) -> Floats:
        """Return the metric of each query, if its candidates had these scores.

        Args:
            scores: The scores.
            blend: Blend with the first stage.
            kept: How many of the first candidates of each query stay. Default: all.
        """
        if blend is not None:
            scores = scores._replace(values=self._blended(scores.values, blend))
        order = _order(scores)
        if kept is None:
            kept = np.full(self._shape[0], self._shape[1])
        if self._ndcg is not None:
            return self._ndcg(order, kept)
        rows = zip(self._task.used, self._ids, order.tolist(), kept, strict=True)
        orders = {
            query: [ids[place] for place in places[:count] if place < len(ids)]
            for query, ids, places, count in rows
        }
        found = measure([self._metric], self._task.collection.judgements, orders)[self._metric]
        return np.array([found[query] for query in self._task.used])

    def _blended(self, scores: Floats, blend: Blend) -> Floats:
        """Blend as `Blend.apply` does, which would be slow for the default blends of `tune`."""
        if blend.method == "rrf":
            second = 1 / (blend.k + _ranks(scores))
            first = 1 / (blend.k + 1 + np.arange(self._shape[1], dtype=float))
            mixed: Floats = (1 - blend.weight) * second + blend.weight * first
            return mixed
        return self._array(
            blend.apply([None if isnan(score) else score for score in row], priors)
            for row, priors in zip(scores.tolist(), self._priors.tolist(), strict=True)
        )

    def _make_ndcg(self, cutoff: int) -> Callable[[Places, Places], Floats]:
        """Return nDCG as trec_eval has it, which ir-measures would take seconds for."""
        judged = [self._task.collection.judgements[query] for query in self._task.used]
        gains = np.nan_to_num(
            self._array(
                [max(grades.get(document, 0), 0) for document in ids]
                for grades, ids in zip(judged, self._ids, strict=True)
            )
        )
        discounts = 1 / np.log2(np.arange(2, cutoff + 2))
        ideal = [
            np.dot(best, discounts[: len(best)])
            for grades in judged
            for best in [sorted((max(g, 0) for g in grades.values()), reverse=True)[:cutoff]]
        ]

        def ndcg(order: Places, kept: Places) -> Floats:
            top = np.take_along_axis(gains, order[:, :cutoff], axis=1)
            top *= np.arange(top.shape[1]) < kept[:, None]
            value: Floats = (top @ discounts[: top.shape[1]]) / ideal
            return value

        return ndcg

    def _array(self, rows: Iterable[Sequence[float | None]]) -> Floats:
        """Return rows of different lengths as one array."""
        array = np.full(self._shape, np.nan)
        for at, row in enumerate(rows):
            array[at, : len(row)] = row  # None becomes NaN
        return array


def _order(scores: Scores) -> Places:
    """Order candidates as `rerank` does: by score, then by secondary score, then as they were."""
    keys = np.where(np.isnan(scores.values), np.inf, -scores.values)
    if np.isnan(scores.secondary).all():
        return np.argsort(keys, axis=1, kind="stable")
    unscored = np.isinf(keys)
    keys[unscored] = -scores.secondary[unscored]  # NaN comes last
    order: Places = np.lexsort((keys, unscored))
    return order


def _ranks(scores: Floats) -> Floats:
    """Return the rank of each score in its row, from 1; equal scores share the best."""
    order = np.argsort(-scores, axis=1, kind="stable")  # NaN comes last
    ordered = np.take_along_axis(scores, order, axis=1)
    places = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    new = np.ones(scores.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    firsts = np.maximum.accumulate(np.where(new, places, 0), axis=1)
    ranks = np.empty(scores.shape)
    np.put_along_axis(ranks, order, firsts + 1.0, axis=1)
    ranks[np.isnan(scores)] = np.nan
    return ranks


def _cost(usage: Usage, share: float) -> float:
    """Return the price of scoring a share of the texts."""
    if usage.cost is None:
        return np.nan
    units = usage.billed_units.get("search_units")
    if units:
        return usage.cost * ceil(units * share) / units
    by_tokens = usage.tokens or any("tokens" in unit for unit in usage.billed_units)
    return usage.cost * (share if by_tokens else 1)
