"""Choice of scorer, depth, blend and cascade, confirmed on queries that had no part in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rerank_core._blend import BlendLike, make_blend
from rerank_core._checks import check_number, check_whole, optional
from rerank_core._errors import ConfigurationError
from rerank_core._scorer import Scorer
from rerank_core._types import Scale
from rerank_core.evaluation._collection import digest
from rerank_core.evaluation._compare import judge
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._metrics import check_metrics
from rerank_core.evaluation._scoring import WARM_UP, EvalProgress, Evaluator, Task, watched
from rerank_core.evaluation._statistics import difference, queries_needed
from rerank_core.evaluation._tune_calls import timed_calls
from rerank_core.evaluation._tune_grid import Configuration, Grid
from rerank_core.evaluation._tune_replay import Floats, Places
from rerank_core.evaluation._tune_report import Tuning, recommend

__all__ = ["TUNE_BLENDS", "TUNE_KEEPS", "tune"]

TUNE_BLENDS = (None, "rrf:0.1", "rrf:0.2", "rrf:0.3", "rrf:0.5", "rrf:0.7")
"""Blends that `tune` tries by default."""
TUNE_KEEPS = (10, 20, 30, 50)
"""Numbers of candidates that `tune` lets a cascade pass on by default."""

_FOLDS = 10
_TOP = 10  # passages that a threshold is judged by
_MOST_LOSS = 0.005  # of the metric by a threshold
_THRESHOLDS = tuple(step / 20 for step in range(1, 20))


def tune(
    task: Task,
    scorers: Mapping[str, Scorer],
    *,
    blends: Sequence[BlendLike | None] = TUNE_BLENDS,
    keeps: Sequence[int] = TUNE_KEEPS,
    metric: str = "nDCG@10",
    max_latency: float | None = None,
    max_cost: float | None = None,
    journal: Journal | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    progress: EvalProgress | None = None,
) -> Tuning:
    """Choose the scorer, depth, blend and cascade that rerank these queries best.

    Every pair is scored once, at the greatest depth of the task; what each configuration would
    have given is computed from these scores. Of those within the limits, the one with the highest
    mean is chosen. To be preferred to the best scorer alone, a blend or a cascade must be better
    by one standard error of the difference (Breiman, Friedman, Olshen and Stone, "Classification
    and Regression Trees", 1984, have this rule for simpler trees); and a cheaper or faster
    configuration is preferred where it is at most 0.001 worse.

    The best of many configurations owes a part of its mean to chance. So the queries are split
    into ten folds, and for each the choice is made on the other nine: `Tuning.difference` and
    its interval come from queries that had no part in the choice (Varma and Simon, "Bias in error
    estimation when using cross-validation for model selection", BMC Bioinformatics 7:91, 2006).

    Args:
        task: A collection, its candidates and the depths to try.
        scorers: Scorers by the names to show. Cascades of any two of them are tried as well, the
            cheaper one first.
        blends: Blends to try; None is the scorer alone.
        keeps: Numbers of candidates that the first scorer of a cascade passes on.
        metric: Name of the metric, see `evaluate`. nDCG is much faster than others.
        max_latency: Limit of the 95th percentile of the time of a query, in seconds. It is
            measured again for the configuration that is chosen. Default: none.
        max_cost: Limit of the price of 1,000 queries, in the currency of the scorers' `Prices`; a
            service whose price is not known is then not chosen. Default: none.
        journal: Known scorings; new ones are added. Default: a journal in memory.
        resamples: Number of resamples of the bootstrap and the randomisation test.
        seed: Seed of the folds and the tests.
        progress: Called with (label of the work, steps done, steps in all).

    Raises:
        ConfigurationError: If an argument is invalid.
        InvalidInputError: If a blend needs first-stage scores that are missing.
        MissingExtraError: If ir-measures or scipy is not installed.
        ScorerError: If a scorer fails; the journal keeps what was scored before.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Collection, Task, first_stage, tune

        documents = {"1": "Cats purr.", "2": "Dogs bark at cats."}
        queries = {"q1": "Do cats purr?", "q2": "What do dogs bark at?"}
        pets = Collection("pets", documents, queries, {"q1": {"1": 1}, "q2": {"2": 1}})
        task = Task(pets, first_stage("bm25", pets, 10), depths=(5, 10))
        tuning = tune(task, {"nano": load_scorer("nano")}, blends=[None, "rrf:0.3"])
        print(tuning.verdict, "-", tuning.chosen.name)
        ```

        ```text
        cannot tell - first stage
        ```
    """
    (name,) = check_metrics([metric])
    if not scorers or not blends:
        raise ConfigurationError("tune needs at least one scorer, and one blend, which may be None")
    if len(task.used) < 2:
        raise ConfigurationError("tune needs at least two queries: some choose, others confirm")
    check_whole(resamples, "resamples")
    optional(check_number, max_latency, "max_latency", above=0)
    optional(check_number, max_cost, "max_cost", least=0)
    evaluator = Evaluator(task, [name], journal or Journal(), progress)
    grid = Grid(
        evaluator,
        name,
        scorers,
        list(dict.fromkeys(map(make_blend, blends))),
        sorted({check_whole(keep, "keeps") for keep in keeps}),
    )
    latency = None if max_latency is None else max_latency * 1000
    best, measured = _measured(grid, task, latency, max_cost, progress)
    allowed = grid.allowed(latency, max_cost)
    folds = _folds(len(task.used), seed)
    confirmed = _confirmed(folds, grid.values, lambda others: grid.choose(allowed, others))
    gains = confirmed - grid.values[0]
    found = difference([gains], resamples=resamples, seed=seed)
    verdict, words = judge(
        found,
        found.p,
        metric=name,
        queries=len(task.used),
        needed=queries_needed([gains], comparisons=1),
        comparisons=1,
        baseline=None,
    )
    if verdict in ("no gain", "hurts"):
        best, measured = 0, None
    elif best == 0:
        verdict = "cannot tell"
    rows = grid.rows()
    least, left_out, loss = _threshold(grid, best, folds)
    tuning = Tuning(
        collection=task.collection.name,
        data=_data(task),
        queries=len(task.used),
        metric=name,
        rows=rows,
        chosen=rows[best],
        verdict=verdict,
        difference=found.mean,
        low=found.low,
        high=found.high,
        measured=measured,
        min_score=least,
        left_out=left_out,
        loss=loss,
        sentence="",
    )
    claim = words.partition(": ")[2] if allowed[1:].any() else None
    return replace(tuning, sentence=recommend(tuning, claim))


def _measured(
    grid: Grid,
    task: Task,
    max_latency: float | None,
    max_cost: float | None,
    progress: EvalProgress | None,
) -> tuple[int, float | None]:
    """Choose by all queries, and measure the time of what is chosen if there is a limit to it.

    One that takes longer than was estimated is not chosen, and the estimates of the same scorers
    are corrected.
    """
    everything = np.arange(len(task.used))
    while True:
        best = grid.choose(grid.allowed(max_latency, max_cost), everything)
        if max_latency is None or best == 0:
            return best, None
        p95 = _time(grid.all[best], task, progress)
        grid.correct(best, p95)
        if p95 <= max_latency:
            return best, p95


def _time(chosen: Configuration, task: Task, progress: EvalProgress | None) -> float:
    """Return the 95th percentile of the time that scoring takes, in milliseconds."""
    assert chosen.scorer is not None  # noqa: S101 - for type checkers
    calls = timed_calls(task, chosen.depth)
    query, texts = calls[0]
    chosen.scorer.score(query, texts[:WARM_UP])
    times = []
    for query, texts in watched(calls, f"timing {chosen.name}", progress):
        start = time.perf_counter()
        chosen.scorer.score(query, texts)
        times.append(time.perf_counter() - start)
    return float(np.percentile(times, 95)) * 1000


def _folds(count: int, seed: int) -> list[Places]:
    """Split so many queries at random."""
    order = np.random.default_rng(seed).permutation(count)
    return np.array_split(order, max(1, min(_FOLDS, count)))


def _confirmed(
    folds: Sequence[Places],
    values: Floats,
    choose: Callable[[Places], int],
) -> Floats:
    """Return the value of each query in the row that is chosen by the other folds."""
    confirmed = np.empty(values.shape[1])
    for fold in folds:
        others = np.setdiff1d(np.arange(values.shape[1]), fold)
        confirmed[fold] = values[choose(others)][fold]
    return confirmed


def _threshold(
    grid: Grid, best: int, folds: Sequence[Places]
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Choose a threshold for scores that are probabilities.

    Returns:
        The greatest that loses little, and how many of the first passages are below it and what
        it loses for queries that had no part in this choice; None where there is no such one.
    """
    chosen = grid.all[best]
    if chosen.scorer is None or chosen.blend or chosen.scorer.scale is not Scale.PROBABILITY:
        return None, None, None
    losses, left_out = grid.thresholds(best, _THRESHOLDS, _TOP)

    def choose(queries: Places) -> int:
        small = losses[:, queries].mean(axis=1) <= _MOST_LOSS
        return int(np.flatnonzero(small)[-1]) if small.any() else 0

    if losses[0].mean() > _MOST_LOSS:
        return None, None, None
    return (
        _THRESHOLDS[choose(np.arange(losses.shape[1]))],
        float(_confirmed(folds, left_out, choose).mean()),
        float(_confirmed(folds, losses, choose).mean()),
    )


def _data(task: Task) -> str:
    """Return a hash of what the choice depends on, besides the scorers."""
    collection = task.collection
    texts = [collection.fingerprint]
    for query in task.used:
        texts.append(query)
        texts += [f"{key}\t{grade}" for key, grade in sorted(collection.judgements[query].items())]
        found = task.first_stage.candidates.get(query, ())
        texts += [f"{candidate.id}\t{candidate.score!r}" for candidate in found]
    return digest(texts)
