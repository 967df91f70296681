"""How few candidates the strong scorer of a cascade needs to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from rerank_core.combinators import Cascade
from rerank_core.errors import ConfigurationError
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._metrics import check_metrics
from rerank_core.evaluation._scoring import EvalProgress, Evaluator, Task, check_count, watched
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
    deepest = max(max(task.depths) for task in tasks)
    tried = sorted({check_count(keep, "keeps") for keep in keeps or _grid(deepest)})
    journal = journal or Journal()
    pairs = [_Pair(Evaluator(task, [name], journal, progress), cheap, strong) for task in tasks]
    best = fmean(pair.measure(pair.strong) for pair in pairs)
    rows = []
    for keep in watched(tried, "keep", progress):
        value = fmean(pair.measure(pair.cascades(keep)) for pair in pairs)
        rows.append(KeepRow(keep, value, best - value, fmean(pair.saved(keep) for pair in pairs)))
    chosen = max(deepest, tried[-1])
    for row in reversed(rows):
        if row.loss > max_loss:
            break
        chosen = row.keep
    alone = fmean(pair.measure(pair.cheap) for pair in pairs)
    return KeepChoice(chosen, name, alone, best, tuple(rows))


class _Pair:
    """Cheap and strong scorer on one task, both replayed from what they said of all candidates."""

    def __init__(self, evaluator: Evaluator, cheap: Scorer, strong: Scorer) -> None:
        self._evaluator = evaluator
        self._depth = max(evaluator.task.depths)
        self.cheap = evaluator.score(cheap, self._depth).replays
        self.strong = evaluator.score(strong, self._depth).replays

    def cascades(self, keep: int) -> Mapping[str, Scorer]:
        return {
            query: Cascade([(cheap, keep), self.strong[query]])
            for query, cheap in self.cheap.items()
        }

    def measure(self, scorers: Mapping[str, Scorer]) -> float:
        means, _ = self._evaluator.measure(self._evaluator.rerank(scorers, self._depth))
        return next(iter(means.values()))

    def saved(self, keep: int) -> float:
        counts = [len(self._evaluator.task.texts(query, self._depth)) for query in self.cheap]
        return sum(max(0, count - keep) for count in counts) / max(1, sum(counts))


def _grid(deepest: int) -> list[int]:
    grid = [*range(1, 11), *range(15, 51, 5), *range(60, deepest + 1, 10), deepest]
    return [keep for keep in grid if keep <= deepest]
