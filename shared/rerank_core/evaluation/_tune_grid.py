"""The configurations that `tune` chooses from, and their figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from rerank_core._blend import Blend
from rerank_core._combinators.calibrated import Calibrated
from rerank_core._combinators.cascade import Cascade
from rerank_core._scorer import Scorer
from rerank_core.evaluation._report import FIRST_STAGE
from rerank_core.evaluation._scoring import Evaluator
from rerank_core.evaluation._tune_replay import Flags, Floats, Places, Scores, TaskReplay
from rerank_core.evaluation._tune_report import TuneRow

__all__ = ["Configuration", "Grid", "kept_scorer"]

TOLERANCE = 0.001
"""Loss of the metric at which a cheaper or faster configuration is still preferred."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A way to rerank.

    Attributes:
        name: Name to show.
        labels: Names of the scorers in it.
        scorer: The scorer; None for the first stage.
        depth: Number of candidates that are reranked.
        blend: Blend with the first stage.
    """

    name: str
    labels: frozenset[str]
    scorer: Scorer | None
    depth: int
    blend: Blend | None = None


class _Source(NamedTuple):
    """A scorer or a cascade at a depth, and its scores before and after calibration."""

    name: str
    labels: frozenset[str]
    scorer: Scorer
    raw: Scores
    scores: Scores


def kept_scorer(scorer: Scorer) -> Scorer:
    """Return the scorer whose scores are kept: of a `Calibrated`, the inner one.

    Its probabilities may depend on the whole list, and are made from its scores for each depth.
    """
    return kept_scorer(scorer.scorer) if isinstance(scorer, Calibrated) else scorer


class Grid:
    """All configurations, the first stage first, with their figures.

    Args:
        evaluator: Scores the task.
        metric: Name of the metric.
        scorers: Scorers by name.
        blends: Blends to try.
        keeps: Numbers of candidates that the first scorer of a cascade passes on.

    Attributes:
        all: The configurations.
        values: Metric of each configuration for each query.
        p95: 95th percentile of the time of a query, in milliseconds, for each configuration.
        cost: Price of 1,000 queries for each configuration; NaN where it is not known.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        metric: str,
        scorers: Mapping[str, Scorer],
        blends: Sequence[Blend | None],
        keeps: Sequence[int],
    ) -> None:
        self._evaluator = evaluator
        self._scorers = scorers
        self._keeps = keeps
        self._replay = TaskReplay(evaluator.task, metric)
        for scorer in scorers.values():
            if isinstance(scorer, Calibrated):
                scorer.load()  # refuses the calibration of another scorer
        nothing = self._replay.nothing
        self.all = [Configuration(FIRST_STAGE, frozenset(), None, 0)]
        self._scores = [nothing]
        values = [self._replay.values(nothing)]
        for depth in evaluator.task.depths:
            for source, blend in product(self._sources(depth), blends):
                suffix = "" if blend is None else f" + {blend.method}:{blend.weight:g}"
                name = f"{source.name}{suffix} @{depth}"
                self.all.append(Configuration(name, source.labels, source.scorer, depth, blend))
                values.append(self._replay.values(source.scores, blend))
                self._scores.append(source.scores)
        self._alone = np.array([len(each.labels) < 2 and not each.blend for each in self.all])
        self.values = np.array(values)
        self.p95 = np.percentile([scores.seconds for scores in self._scores], 95, axis=1) * 1000
        self.cost = np.mean([scores.cost for scores in self._scores], axis=1) * 1000

    def _sources(self, depth: int) -> Iterator[_Source]:
        """Return each scorer and each cascade at a depth."""
        single, whole = [], []
        for label, scorer in self._scorers.items():
            kept = kept_scorer(scorer)
            scored = (self._evaluator.score if kept.listwise else self._evaluator.score_for)(
                kept, depth
            )
            cut = partial(self._replay.read, scored)
            raw = cut(depth)
            source = _Source(label, frozenset([label]), scorer, raw, _calibrated(scorer, raw))
            single.append(source)
            if not kept.listwise and self._evaluator.is_complete(scored):
                whole.append((source, cut))
        yield from single
        for (cheap, _), (strong, cut) in permutations(whole, 2):
            if _effort(cheap.scores) < _effort(strong.scores):
                for keep in self._keeps:
                    if keep < depth:
                        yield self._cascade(cheap, strong, cut(keep), keep)

    def _cascade(self, cheap: _Source, strong: _Source, kept: Scores, keep: int) -> _Source:
        """Return a cascade; `kept` has what it takes to read so many texts."""
        raw = self._replay.cascade(cheap.scores, strong.raw, keep)
        raw = raw._replace(seconds=raw.seconds + kept.seconds, cost=raw.cost + kept.cost)
        return _Source(
            f"cascade({cheap.name}:{keep}, {strong.name})",
            cheap.labels | strong.labels,
            Cascade([(cheap.scorer, keep), strong.scorer]),
            raw,
            _calibrated(strong.scorer, raw),
        )

    def allowed(self, max_latency: float | None, max_cost: float | None) -> Flags:
        """Return which configurations are within limits; the first stage always is.

        Args:
            max_latency: Limit of the 95th percentile in milliseconds.
            max_cost: Limit of the price of 1,000 queries.
        """
        allowed = np.ones(len(self.all), dtype=bool)
        if max_latency is not None:
            allowed &= self.p95 <= max_latency
        if max_cost is not None:
            allowed &= self.cost <= max_cost  # false where it is not known
        allowed[0] = True
        return allowed

    def choose(self, allowed: Flags, queries: Places) -> int:
        """Return the configuration with the highest mean for some queries.

        A blend or a cascade has to be better than the best scorer alone by one standard error,
        and a cheaper or faster configuration that is nearly as good is preferred.
        """
        values = self.values[:, queries]
        means = np.where(allowed, values.mean(axis=1), -np.inf)
        best = np.argmax(np.where(self._alone, means, -np.inf))
        errors = np.std(values - values[best], axis=1) / np.sqrt(len(queries))
        means -= errors
        near = np.flatnonzero(means >= means.max() - TOLERANCE)
        cost = np.nan_to_num(self.cost[near], nan=np.inf)
        chosen: int = near[np.lexsort((-means[near], self.p95[near], cost))[0]].item()
        return chosen

    def thresholds(self, best: int, thresholds: Sequence[float], top: int) -> tuple[Floats, Floats]:
        """Return what thresholds do to a configuration without a blend, for each query.

        Returns:
            What each loses of the metric, and how many of the `top` first passages are below it.
        """
        scores = self._scores[best]
        scored = (~np.isnan(scores.values)).sum(axis=1)
        kept = [(scores.values >= least).sum(axis=1) for least in thresholds]
        values = [self._replay.values(scores, kept=each) for each in kept]
        shown = np.minimum(scored, top)
        return self._replay.values(scores, kept=scored) - values, shown - np.minimum(kept, shown)

    def correct(self, best: int, p95: float) -> None:
        """Correct the times of a configuration, and of those of the same scorers in proportion."""
        labels, factor = self.all[best].labels, p95 / max(self.p95[best], 1e-9)
        same = [each.labels == labels for each in self.all]
        self.p95[same] *= factor
        self.p95[best] = p95

    def rows(self) -> list[TuneRow]:
        """Return the configurations with their figures over all queries."""
        means = self.values.mean(axis=1)
        front = _front(means, self.p95, np.nan_to_num(self.cost, nan=np.inf))
        return [
            TuneRow(
                each.name,
                float(means[at]),
                float(self.p95[at]),
                None if np.isnan(self.cost[at]) else float(self.cost[at]),
                bool(front[at]),
                each.depth,
                each.blend,
                each.scorer,
            )
            for at, each in enumerate(self.all)
        ]


def _calibrated(scorer: Scorer, raw: Scores) -> Scores:
    """Return the probabilities that a `Calibrated` makes of scores; others stay as they are."""
    if not isinstance(scorer, Calibrated):
        return raw
    values = _calibrated(scorer.scorer, raw).values.copy()
    for row in values:
        known = ~np.isnan(row)
        if known.any():
            row[known] = scorer.calibration.probabilities(row[known])
    return raw._replace(values=values)


def _effort(scores: Scores) -> tuple[float, float]:
    """Return what a scorer takes, money before time."""
    return float(np.nan_to_num(scores.cost.mean(), nan=np.inf)), float(scores.seconds.mean())


def _front(values: Floats, p95: Floats, cost: Floats) -> Flags:
    """Return which configurations no other one is better than."""
    figures = np.stack([-values, p95, cost], axis=1)
    as_good = (figures[:, None] <= figures[None]).all(axis=2)
    better = (figures[:, None] < figures[None]).any(axis=2)
    return np.logical_not((as_good & better).any(axis=0))
