"""Choice of the number of candidates that a cascade passes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from rerank_core._checks import check_whole, describe
from rerank_core._combinators.cascade import Cascade
from rerank_core._errors import ConfigurationError
from rerank_core._scorer import Scorer
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._metrics import check_metrics
from rerank_core.evaluation._scoring import EvalProgress, Evaluator, Task, watched

__all__ = ["KeepChoice", "KeepRow", "choose_keep"]


@dataclass(frozen=True, slots=True)
class KeepRow:
    """Result of a cascade with one value of `keep`.

    Attributes:
        keep: Number of candidates that the cheap scorer passes on to the strong one.
        value: Mean of the metric.
        loss: Loss against the strong scorer on all candidates.
        saved: Share of the candidates that the strong scorer does not read.

    Example:
        ```python
        from rerank_core.evaluation import KeepRow

        row = KeepRow(keep=10, value=0.43, loss=0.002, saved=0.8)
        print(f"keep {row.keep}: {row.saved:.0%} saved")
        ```

        ```text
        keep 10: 80% saved
        ```
    """

    keep: int
    value: float
    loss: float
    saved: float


@dataclass(frozen=True, slots=True)
class KeepChoice:
    """The chosen `keep`, and what it was chosen from.

    Attributes:
        keep: The smallest `keep` such that neither it nor any larger one loses more than allowed.
        metric: Name of the metric.
        cheap: Mean of the metric with the cheap scorer alone.
        strong: Mean of the metric with the strong scorer alone.
        rows: Result of every `keep` tried, smallest first.

    Example:
        ```python
        from rerank_core.evaluation import KeepChoice, KeepRow

        row = KeepRow(keep=10, value=0.43, loss=0.002, saved=0.8)
        choice = KeepChoice(10, "nDCG@10", cheap=0.39, strong=0.432, rows=(row,))
        print(choice.to_json()["keep"])
        ```

        ```text
        10
        ```
    """

    keep: int
    metric: str
    cheap: float
    strong: float
    rows: tuple[KeepRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the choice as plain JSON values, under the names of the attributes."""
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

    Each scorer reads every pair once; their scores are then replayed in a `Cascade` for each
    `keep`. The choice holds for queries and candidates like those it was made on.

    Args:
        tasks: Collections with their candidates. The greatest depth of each is reranked, and
            every collection has the same weight.
        cheap: Scorer that reads all candidates.
        strong: Scorer that reads the best of them.
        max_loss: Allowed loss of the metric against the strong scorer on all candidates.
        metric: Name of the metric, see `evaluate`.
        keeps: Values of `keep` to try. Default: every number to 10, every fifth to 50, then every
            tenth.
        journal: Known scorings; new ones are added. Default: a journal in memory.
        progress: Called with (label of the work, steps done, steps in all).

    Raises:
        ConfigurationError: If an argument is invalid.
        MissingExtraError: If ir-measures is not installed.
        ScorerError: If a scorer fails.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Collection, Task, choose_keep, first_stage

        pets = Collection("pets", {"1": "Cats purr."}, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        task = Task(pets, first_stage("bm25", pets, 10), depths=(10,))
        choice = choose_keep([task], cheap=load_scorer("nano"), strong=load_scorer("nano"))
        print(choice.keep)
        ```

        ```text
        1
        ```
    """
    if not tasks:
        raise ConfigurationError("choose_keep needs at least one task")
    if not max_loss >= 0:
        raise ConfigurationError(f"max_loss must be at least 0, not {describe(max_loss)}")
    (name,) = check_metrics([metric])
    deepest = max(max(task.depths) for task in tasks)
    tried = sorted({check_whole(keep, "keeps") for keep in keeps or _grid(deepest)})
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
    """Replays of the cheap and the strong scorer on one task."""

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
