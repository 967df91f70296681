"""`evaluate`: score, order, measure, compare."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from rerank_core._checks import check_whole, describe
from rerank_core._errors import ConfigurationError
from rerank_core._ordering import Blend
from rerank_core._scorer import Scorer
from rerank_core._types import Scoring
from rerank_core._version import __version__
from rerank_core.evaluation._changes import changes, count_changes
from rerank_core.evaluation._compare import EvalProgress, compare, means
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._metrics import DEFAULT_METRICS, Orders, check_metrics, measure
from rerank_core.evaluation._report import (
    CollectionReport,
    Latency,
    Report,
    SystemReport,
)
from rerank_core.evaluation._scoring import (
    Replay,
    Scored,
    Task,
    check_count,
    order_of,
    score_queries,
)
from rerank_core.evaluation._statistics import CONFIDENCE
from rerank_core.ranking import Blend
from rerank_core.scorer import Scorer
from rerank_core.types import Scoring

__all__ = ["System", "evaluate"]


@dataclass(frozen=True, slots=True)
class System:
    """One way to rerank.

    Attributes:
        scorer: What scores.
        blend: Mix with the first stage.
        label: What to call it. Default: the scorer's name.
    """

    scorer: Scorer
    blend: Blend | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        """The label or the scorer's name, and the blend."""
        name = self.label or self.scorer.name
        return name if self.blend is None else f"{name} + {self.blend.method}:{self.blend.weight:g}"


def evaluate(
    tasks: Sequence[Task],
    systems: Sequence[System],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    journal: Journal | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    examples: int = 3,
    progress: EvalProgress | None = None,
) -> Report:
    """Compare ways to rerank with the first stage and with each other.

    Every pair is scored once: blends share a scorer's scores, and smaller depths are cut out of
    the deepest scoring, unless the scorer left texts unscored (a `Cascade`, a `Deadline`), since
    it might then have read others. The order is that of `rerank`.

    Args:
        tasks: Collections with their candidates. All must have as many depths: the first depth
            of one is compared with the first of the other, and so on.
        systems: Ways to rerank; their names must differ.
        metrics: See `check_metrics`; the first decides.
        journal: What is known already, and where new scorings are kept. Default: none.
        resamples: Of the bootstrap and the randomisation test.
        seed: Of their random numbers.
        examples: How many queries won and lost to show for each system.
        progress: Called with (what, queries done, queries in all).

    Returns:
        The report.

    Raises:
        ConfigurationError: If an argument is wrong.
        MissingExtraError: If ir-measures or scipy is not installed.
        ScorerError: If a scorer fails; what was scored is in the journal.
    """
    names = check_metrics(metrics)
    check_count(resamples, "resamples")
    _check(tasks, systems)
    journal = journal or Journal()
    slots = [_slot(tasks, at) for at in range(len(tasks[0].depths))]
    reports = [
        _Bench(task, systems, slots, names, journal, examples, progress).report() for task in tasks
    ]
    return Report(
        names,
        {
            "resamples": resamples,
            "seed": seed,
            "confidence": CONFIDENCE,
            "systems": [
                {
                    "name": system.name,
                    "scorer": system.scorer.name,
                    "fingerprint": system.scorer.fingerprint,
                    "scale": (system.blend or system.scorer).scale.value,
                }
                for system in systems
            ],
        },
        _versions(),
        reports,
        means(reports, names),
        compare(reports, names[0], resamples=resamples, seed=seed, progress=progress),
    )


class _Bench:
    """One collection: what was scored, and what came of it."""

    def __init__(
        self,
        task: Task,
        systems: Sequence[System],
        slots: Sequence[str],
        metrics: tuple[str, ...],
        journal: Journal,
        examples: int,
        progress: EvalProgress | None,
    ) -> None:
        self._task = task
        self._systems = systems
        self._slots = slots
        self._metrics = metrics
        self._journal = journal
        self._examples = examples
        self._progress = progress
        self._scored: dict[tuple[int, int], Scored] = {}

    def report(self) -> CollectionReport:
        task = self._task
        orders = {
            query: [candidate.id for candidate in task.first_stage.candidates.get(query, ())]
            for query in task.used
        }
        first = self._measured(f"{task.first_stage.name}", max(task.depths), orders)
        systems = [
            self._system(system, depth, slot, first)
            for system in self._systems
            for depth, slot in zip(task.depths, self._slots, strict=True)
        ]
        return CollectionReport(
            task.collection.name,
            task.collection.fingerprint,
            len(task.collection.documents),
            len(task.used),
            (*task.collection.notes, *task.first_stage.notes),
            task.first_stage.settings,
            first,
            systems,
        )

    def _measured(self, name: str, depth: int, orders: Orders, **more: Any) -> SystemReport:
        values = measure(self._metrics, self._task.collection.judgements, orders)
        means = {metric: float(np.mean(list(found.values()))) for metric, found in values.items()}
        return SystemReport(name, depth, means, values[self._metrics[0]], **more)

    def _system(self, system: System, depth: int, slot: str, first: SystemReport) -> SystemReport:
        task, scorer = self._task, system.scorer
        deepest = self._score(scorer, max(task.depths))
        scored = deepest if _whole(task, deepest) else self._score(scorer, depth)
        orders: dict[str, list[str]] = {}
        for query in task.used:
            scoring = scored.scorings.get(query)
            if scoring is None:
                orders[query] = []
                continue
            replay = Replay(scorer, task.texts(query, scored.depth), scoring)
            orders[query] = order_of(task, query, replay, depth, system.blend)
        plain = self._measured(f"{system.name} {slot}", depth, orders)
        before, after = first.per_query, plain.per_query
        wins, losses = changes(task, orders, before, after, limit=self._examples)
        reasons = Counter(s.degraded for s in scored.scorings.values() if s.degraded)
        return SystemReport(
            plain.name,
            depth,
            plain.values,
            after,
            _latency(task, scored, depth),
            scored.usage,
            count_changes(before, after),
            wins,
            losses,
            dict(reasons) or None,
        )

    def _score(self, scorer: Scorer, depth: int) -> Scored:
        """Score at a depth, once for all systems that share the scorer."""
        key = (id(scorer), depth)
        if key not in self._scored:
            label = f"{self._task.collection.name}: {scorer.name} @{depth}"
            watch = None if self._progress is None else partial(self._progress, label)
            self._scored[key] = score_queries(self._task, scorer, depth, self._journal, watch)
        return self._scored[key]


def _whole(task: Task, scored: Scored) -> bool:
    """Whether a smaller depth can be cut out of it: every text that is not blank has a score."""

    def whole(query: str, scoring: Scoring) -> bool:
        texts = task.texts(query, scored.depth)
        return scoring.degraded is None and all(
            score is not None or not text.strip()
            for text, score in zip(texts, scoring.scores, strict=True)
        )

    return all(whole(query, scoring) for query, scoring in scored.scorings.items())


def _latency(task: Task, scored: Scored, depth: int) -> Latency | None:
    seconds = []
    for query, scoring in scored.scorings.items():
        count = len(task.texts(query, scored.depth))
        seconds.append(scoring.usage.seconds * min(depth, count) / count)
    if not seconds:
        return None
    usage = scored.usage
    rate = usage.pairs / usage.seconds if usage.pairs and usage.seconds else None
    p50, p95 = np.percentile(np.array(seconds) * 1000, [50, 95]).tolist()
    return Latency(p50, p95, rate, estimated=scored.depth != depth)


def _slot(tasks: Sequence[Task], at: int) -> str:
    """Name the n-th depth of all tasks."""
    return f"@{'/'.join(map(str, sorted({task.depths[at] for task in tasks})))}"


def _check(tasks: Sequence[Task], systems: Sequence[System]) -> None:
    if not tasks or not systems:
        raise ConfigurationError("evaluate needs at least one task and one system")
    for kind, names in (
        ("collections", [task.collection.name for task in tasks]),
        ("systems", [system.name for system in systems]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ConfigurationError(f"two {kind} are called {twice[0]!r}; give them other names")
    if len({len(task.depths) for task in tasks}) != 1:
        raise ConfigurationError("every task must have as many depths as the others")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "rerank-core": __version__}
    for name in ("numpy", "scipy", "ir-measures", "bm25s", "PyStemmer", "faiss-cpu", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
