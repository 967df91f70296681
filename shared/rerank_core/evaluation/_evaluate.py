"""Evaluation of systems: score, rerank, measure, compare."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from rerank_core._blend import Blend
from rerank_core._checks import check_whole, optional
from rerank_core._errors import ConfigurationError
from rerank_core._scorer import Scorer
from rerank_core._trimming import TrimLike, Trimmer, make_trimmers
from rerank_core._version import __version__
from rerank_core.evaluation._compare import compare, means
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._metrics import DEFAULT_METRICS, check_metrics
from rerank_core.evaluation._report import (
    CollectionReport,
    Latency,
    Moved,
    QueryChange,
    Report,
    SystemReport,
    Trimming,
)
from rerank_core.evaluation._scoring import EvalProgress, Evaluator, Scored, Task
from rerank_core.evaluation._statistics import CONFIDENCE
from rerank_core.evaluation._trim import measure_trimming

__all__ = ["System", "evaluate"]

_TOP = 10  # positions that passages are shown from
_CHARACTERS = 400  # shown of a passage
_LIBRARIES = ("numpy", "scipy", "ir-measures", "bm25s", "PyStemmer", "faiss-cpu", "onnxruntime")


@dataclass(frozen=True, slots=True)
class System:
    """A way to rerank: a scorer, with or without a blend.

    Attributes:
        scorer: The scorer.
        blend: Blend with the first stage.
        label: Name to show instead of the scorer's.

    Example:
        ```python
        from rerank_core import Blend, load_scorer
        from rerank_core.evaluation import System

        system = System(load_scorer("nano"), Blend("rrf", 0.3))
        print(system.name)
        ```

        ```text
        nano + rrf:0.3
        ```
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
    trim: Iterable[TrimLike] | TrimLike | None = None,
    top_n: int | None = None,
    progress: EvalProgress | None = None,
) -> Report:
    """Compare systems with the first stage and with each other.

    Every pair is scored once: systems with the same scorer share its scores, and smaller depths
    are taken from the scoring of the greatest one. A scorer that leaves texts unscored (such as a
    `Cascade` or a `Deadline`) is run at each depth, since it might score other texts there.

    Args:
        tasks: Collections with their candidates. All must have the same number of depths: the
            first depth of one goes with the first of the others, and so on.
        systems: Systems to compare; their names must differ.
        metrics: Measures of ir-measures (https://ir-measur.es), such as ``"nDCG@10"`` (graded,
            the gain is the grade, as in trec_eval), ``"RR@10"``, ``"R@50"`` or ``"AP"``. In
            binary measures grades from 1 are relevant, or from 2 with ``"RR(rel=2)@10"``.
            Comparisons are by the first metric.
        journal: Known scorings; new ones are added. Default: a journal in memory.
        resamples: Number of resamples of the bootstrap and the randomisation test.
        seed: Seed of the random numbers.
        examples: Number of won and of lost queries to report for each system.
        trim: Trimmers, as for `rerank`, whose effect on the reranked candidates is reported for
            each system (see `Trimming`). Metrics are of the ranking before it is trimmed.
        top_n: With `trim`, at most this many candidates stay, as in `rerank`. None keeps all.
        progress: Called with (label of the work, steps done, steps in all).

    Returns:
        The results.

    Raises:
        ConfigurationError: If an argument is invalid.
        MissingExtraError: If ir-measures or scipy is not installed.
        ScorerError: If a scorer fails; the journal keeps what was scored before.

    Example:
        ```python
        from rerank_core import Blend, load_scorer
        from rerank_core.evaluation import Collection, System, Task, evaluate, first_stage

        pets = Collection("pets", {"1": "Cats purr."}, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        task = Task(pets, first_stage("bm25", pets, 10), depths=(10,))
        nano = load_scorer("nano")
        report = evaluate([task], [System(nano), System(nano, Blend("rrf", 0.3))])
        print([found.verdict for found in report.comparisons])
        ```

        ```text
        ['cannot tell', 'cannot tell', 'cannot tell']
        ```
    """
    names = check_metrics(metrics)
    check_whole(resamples, "resamples")
    _check(tasks, systems)
    trimmers = make_trimmers(trim)
    optional(check_whole, top_n, "top_n")
    if top_n is not None and not trimmers:
        raise ConfigurationError("top_n is for trim: give evaluate trimmers, too")
    journal = journal or Journal()
    depths = list(zip(*(task.depths for task in tasks), strict=True))
    suffixes = [f"@{'/'.join(map(str, sorted(set(each))))}" for each in depths]
    trimmed = partial(
        measure_trimming,
        trim=trimmers,
        top_n=top_n,
        resamples=resamples,
        seed=seed,
        progress=progress,
    )
    reports = [
        _report(
            Evaluator(task, names, journal, progress),
            systems,
            suffixes,
            examples,
            trimmed if trimmers else None,
        )
        for task in tasks
    ]
    versions = {"python": platform.python_version(), "rerank-core": __version__}
    for library in _LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[library] = version(library)
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
            **({"trim": [*map(_config, trimmers)], "top_n": top_n} if trimmers else {}),
        },
        versions,
        reports,
        means(reports, names),
        compare(reports, names[0], resamples=resamples, seed=seed, progress=progress),
    )


def _check(tasks: Sequence[Task], systems: Sequence[System]) -> None:
    if not tasks or not systems:
        raise ConfigurationError("evaluate needs at least one task and one system")
    for kind, names in (
        ("collections", [task.collection.name for task in tasks]),
        ("systems", [system.name for system in systems]),
    ):
        (name, count), *_ = Counter(names).most_common(1)
        if count > 1:
            raise ConfigurationError(f"two {kind} are called {name!r}; give them different names")
    if len({len(task.depths) for task in tasks}) != 1:
        raise ConfigurationError("all tasks must have the same number of depths")


def _config(trimmer: Trimmer) -> dict[str, Any]:
    try:
        return trimmer.to_config()
    except ConfigurationError:  # of the user's own making, or with a counter that is
        return {"type": trimmer.kind or type(trimmer).__name__}


def _report(
    evaluator: Evaluator,
    systems: Sequence[System],
    suffixes: Sequence[str],
    examples: int,
    trimmed: Callable[..., Trimming | None] | None,
) -> CollectionReport:
    """Evaluate all systems on one task."""
    task = evaluator.task
    found = task.first_stage.candidates
    orders = {query: [hit.id for hit in found.get(query, ())] for query in task.used}
    values, per_metric = evaluator.measure(orders)
    first = SystemReport(
        task.first_stage.name, max(task.depths), values, next(iter(per_metric.values()))
    )
    return CollectionReport(
        task.collection.name,
        task.collection.fingerprint,
        len(task.collection.documents),
        len(task.used),
        (*task.collection.notes, *task.first_stage.notes),
        task.first_stage.settings,
        first,
        [
            _system_report(evaluator, system, depth, suffix, first, examples, trimmed)
            for system in systems
            for depth, suffix in zip(task.depths, suffixes, strict=True)
        ],
    )


def _system_report(
    evaluator: Evaluator,
    system: System,
    depth: int,
    suffix: str,
    first: SystemReport,
    examples: int,
    trimmed: Callable[..., Trimming | None] | None,
) -> SystemReport:
    task = evaluator.task
    scored = evaluator.score_for(system.scorer, depth)
    orders = evaluator.rerank(scored.replays, depth, system.blend)
    values, per_metric = evaluator.measure(orders)
    before, after = first.per_query, next(iter(per_metric.values()))
    gains = {query: after[query] - before[query] for query in before}
    best = sorted(gains, key=lambda query: (-gains[query], query))
    worst = best[::-1]
    degraded = Counter(cause for found in scored.scorings.values() for cause in found.causes)

    def change(query: str) -> QueryChange:
        asked = task.collection.queries[query]
        up, down = _moved(task, query, orders[query], won=gains[query] > 0)
        return QueryChange(query, asked, before[query], after[query], up, down)

    return SystemReport(
        name=f"{system.name} {suffix}",
        depth=depth,
        values=values,
        per_query=after,
        latency=_latency(task, scored, depth),
        usage=scored.usage,
        counts={
            "better": sum(gain > 0 for gain in gains.values()),
            "alike": sum(gain == 0 for gain in gains.values()),
            "worse": sum(gain < 0 for gain in gains.values()),
        },
        wins=[change(query) for query in best[:examples] if gains[query] > 0],
        losses=[change(query) for query in worst[:examples] if gains[query] < 0],
        degraded=dict(degraded) or None,
        trimming=trimmed and trimmed(evaluator, scored.replays, depth, blend=system.blend),
    )


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


def _moved(
    task: Task, query: str, order: Sequence[str], *, won: bool
) -> tuple[Moved | None, Moved | None]:
    grades = task.collection.judgements[query]
    found = task.first_stage.candidates.get(query, ())
    places = {candidate.id: place for place, candidate in enumerate(found, start=1)}
    passages = [
        Moved(
            document,
            task.collection.documents[document][:_CHARACTERS],
            grades.get(document),
            places[document],
            place,
        )
        for place, document in enumerate(order, start=1)
    ]
    rose = [moved for moved in passages if moved.after <= _TOP and moved.after < moved.before]
    fell = [
        moved
        for moved in passages
        if moved.before <= _TOP and moved.after > moved.before and (moved.grade or 0) > 0
    ]
    # Relevant passages explain a win, others a loss.
    up = max(
        rose,
        key=lambda moved: (((moved.grade or 0) > 0) is won, moved.before - moved.after),
        default=None,
    )
    down = max(fell, key=lambda moved: moved.after - moved.before, default=None)
    return up, down
