"""How few candidates the strong scorer of a cascade needs to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean
from typing import Any

from rerank_core._checks import check_whole, describe
from rerank_core._combinators.cascade import Cascade
from rerank_core._errors import ConfigurationError
from rerank_core._scorer import Scorer
from rerank_core.evaluation._compare import EvalProgress
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._metrics import check_metrics, measure
from rerank_core.evaluation._scoring import Replay, Task, check_count, order_of, score_queries
from rerank_core.scorer import Scorer
from rerank_core.validation import describe

__all__ = ["KeepChoice", "KeepRow", "choose_keep"]


@dataclass(frozen=True, slots=True)
class KeepRow:
    """What a cascade with one `keep` gives.

    Attributes:
        keep: How many of the cheap scorer's best the strong one reads.
        value: Mean of the metric.
        loss: How much less that is than with the strong scorer on all candidates.
        saved: Share of the candidates that the strong scorer need not read.
    """

    keep: int
    value: float
    loss: float
    saved: float


@dataclass(frozen=True, slots=True)
class KeepChoice:
    """The `keep` to use.

    Attributes:
        keep: The smallest tried from which on no larger one loses more than was allowed.
        metric: What was measured.
        cheap: Its mean with the cheap scorer alone.
        strong: Its mean with the strong scorer alone.
        rows: Every `keep` tried, smallest first.
    """

    keep: int
    metric: str
    cheap: float
    strong: float
    rows: tuple[KeepRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values, under the names of the attributes."""
        return asdict(self)


def choose_keep(
    tasks: Sequence[Task],
    cheap: Scorer,
    strong: Scorer,
    *,
    max_loss: float = 0.005,
    metric: str = "nDCG@10",
    keeps: Sequence[int] | None = None,
    journal: Journal | None = None,
    progress: EvalProgress | None = None,
) -> KeepChoice:
    """Choose how many candidates ``Cascade([(cheap, keep), strong])`` passes on.

    Both scorers read every pair once; each `keep` is then a real `Cascade` over what they said.
    Chosen on labelled queries, a `keep` holds for queries and candidates like them.

    Args:
        tasks: Collections with their candidates; the deepest depth of each is reranked. The mean
            is over collections.
        cheap: Reads all candidates.
        strong: Reads the best of them.
        max_loss: How much of the metric may be lost against the strong scorer on all candidates.
        metric: What decides; see `evaluate`.
        keeps: The numbers to try. Default: 1 to 10, then by fives to 50, then by tens.
        journal: What is known already, and where new scorings are kept.
        progress: Called with (what, done, in all).

    Raises:
        ConfigurationError: If an argument is wrong.
        MissingExtraError: If ir-measures is not installed.
        ScorerError: If a scorer fails.
    """
    if not tasks:
        raise ConfigurationError("choose_keep needs at least one task")
    if not max_loss >= 0:
        raise ConfigurationError(f"max_loss must be at least 0, not {describe(max_loss)}")
    (name,) = check_metrics([metric])
    journal = journal or Journal()
    deepest = max(max(task.depths) for task in tasks)
    tried = sorted({check_count(keep, "keeps") for keep in keeps or _grid(deepest)})
    benches = [_Bench(task, cheap, strong, name, journal, progress) for task in tasks]
    best = fmean(bench.strong() for bench in benches)
    rows = []
    for done, keep in enumerate(tried):
        if progress is not None:
            progress("keep", done, len(tried))
        value = fmean(bench.cascade(keep) for bench in benches)
        saved = fmean(bench.saved(keep) for bench in benches)
        rows.append(KeepRow(keep, value, best - value, saved))
    if progress is not None:
        progress("keep", len(tried), len(tried))
    chosen = max(deepest, tried[-1])
    for row in reversed(rows):
        if row.loss > max_loss:
            break
        chosen = row.keep
    return KeepChoice(chosen, name, fmean(bench.cheap() for bench in benches), best, tuple(rows))


class _Bench:
    """One collection, scored by both."""

    def __init__(
        self,
        task: Task,
        cheap: Scorer,
        strong: Scorer,
        metric: str,
        journal: Journal,
        progress: EvalProgress | None,
    ) -> None:
        self._task = task
        self._metric = metric
        self._depth = max(task.depths)
        self._replays: dict[str, tuple[Replay, Replay]] = {}
        scored = []
        for scorer in (cheap, strong):
            label = f"{task.collection.name}: {scorer.name} @{self._depth}"
            watch = None if progress is None else partial(progress, label)
            scored.append(score_queries(task, scorer, self._depth, journal, watch))
        for query, scoring in scored[0].scorings.items():
            texts = task.texts(query, self._depth)
            self._replays[query] = (
                Replay(cheap, texts, scoring),
                Replay(strong, texts, scored[1].scorings[query]),
            )

    def cheap(self) -> float:
        return self._mean({query: pair[0] for query, pair in self._replays.items()})

    def strong(self) -> float:
        return self._mean({query: pair[1] for query, pair in self._replays.items()})

    def cascade(self, keep: int) -> float:
        return self._mean(
            {
                query: Cascade([(cheap, keep), strong])
                for query, (cheap, strong) in self._replays.items()
            }
        )

    def saved(self, keep: int) -> float:
        counts = [len(self._task.texts(query, self._depth)) for query in self._replays]
        return sum(max(0, count - keep) for count in counts) / max(1, sum(counts))

    def _mean(self, scorers: Mapping[str, Scorer]) -> float:
        orders = {
            query: order_of(self._task, query, scorers[query], self._depth)
            if query in scorers
            else []
            for query in self._task.used
        }
        values = measure([self._metric], self._task.collection.judgements, orders)
        return fmean(values[self._metric].values())


def _grid(deepest: int) -> list[int]:
    grid = [*range(1, 11), *range(15, 51, 5), *range(60, deepest + 1, 10), deepest]
    return [keep for keep in grid if keep <= deepest]
