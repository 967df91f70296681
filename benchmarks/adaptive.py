"""Rules for how many texts to keep: texts kept against recall and nDCG.

    python -m benchmarks.adaptive --data DIR

`DIR` holds test collections in BEIR's layout; trec_dl19, wikiqa_test, cranfield and scifact are
used. Each rule has one parameter, the same for all queries, and is shown where it keeps so many
texts on average over the collections. Differences are those from `Adaptive`, with 95 % intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt

from rerank_core import Adaptive, load_scorer
from rerank_core.evaluation import Journal, Task, first_stage, read_collection
from rerank_core.evaluation._scoring import Evaluator
from rerank_core.evaluation._statistics import difference

DEPTH, RESAMPLES = 50, 10_000
NUMBERS = (5, 10, 15, 20)
METRICS = ("R@50", "nDCG@10")
COLLECTIONS = {
    "trec_dl19": "run:bm25",
    "wikiqa_test": "bm25",
    "cranfield": "bm25",
    "scifact": "bm25",
}
QRELS = {"trec_dl19": "qrels.incorpus.tsv"}

Scores = npt.NDArray[np.float64]
Rule = Callable[[Scores, float], float]
"""From the scores, best first, and a parameter to the least score that stays."""
Values = list[list[Scores]]
"""Each metric of each query, by collection."""

RULES: dict[str, tuple[Rule, Sequence[float]]] = {
    "Adaptive, best to mean": (lambda s, x: s[0] - x * (s[0] - s.mean()), np.linspace(0, 2, 201)),
    "best to worst": (lambda s, x: s[0] - x * (s[0] - s[-1]), np.linspace(0, 1, 201)),
    "standard deviations": (lambda s, x: s[0] - x * s.std(), np.linspace(0, 4, 201)),
    "above the mean": (lambda s, x: min(s[0], s.mean() + x * s.std()), np.linspace(3, -2, 201)),
    "score": (lambda s, x: s[0] - x, np.linspace(0, 40, 201)),
    "top_n": (lambda s, x: s[min(int(x), len(s)) - 1], range(1, DEPTH + 1)),
}


class Measured:
    """A collection, the scores of its candidates, and what a rule leaves of them."""

    def __init__(self, task: Task, journal: Journal) -> None:
        self._evaluator = Evaluator(task, METRICS, journal, None)
        found = task.first_stage.candidates
        self._ranked = {}
        for query, replay in self._evaluator.score(load_scorer("nano"), DEPTH).replays.items():
            ranking = self._evaluator.rank(query, replay, DEPTH)
            scored = [item for item in ranking if item.score is not None]
            scores = np.array([item.score for item in scored], float)
            self._ranked[query] = (scores, [found[query][item.index].id for item in scored])

    def kept(self, rule: Rule, value: float) -> dict[str, list[str]]:
        """Return what the rule leaves of each query."""
        return {
            query: names[: int((scores >= rule(scores, value) - 1e-9).sum())]
            for query, (scores, names) in self._ranked.items()
        }

    def number(self, rule: Rule, value: float) -> float:
        """Return the mean number of texts that the rule leaves."""
        return fmean(map(len, self.kept(rule, value).values()))

    def values(self, rule: Rule, value: float) -> list[Scores]:
        """Return each metric for each query."""
        _, values = self._evaluator.measure(self.kept(rule, value))
        return [np.array([*found.values()], float) for found in values.values()]


def show(
    name: str, measured: Sequence[Measured], rule: Rule, value: float, first: Values | None = None
) -> Values:
    """Print what a rule leaves, against the first one's values; return its own."""
    texts = ", ".join(f"{each.number(rule, value):.1f}" for each in measured)
    print(f"  {name}, parameter {value:.3g}: {texts}")
    values = [each.values(rule, value) for each in measured]
    for column, metric in enumerate(METRICS):
        after = [found[column] for found in values]
        against = ""
        if first is not None:
            strata = [100 * (a - b[column]) for a, b in zip(after, first, strict=True)]
            by = difference(strata, resamples=RESAMPLES, seed=0)
            against = f", {by.mean:+.1f} ({by.low:+.1f} to {by.high:+.1f})"
        print(f"    {metric} {fmean(found.mean() for found in after):.3f}{against}")
    return values


def main() -> None:
    """Measure, and print a report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of test collections")
    parser.add_argument("--resume", type=Path, help="keep scores in this file for the next run")
    options = parser.parse_args()
    measured = []
    with Journal(options.resume) as journal:
        for name, stage in COLLECTIONS.items():
            collection = read_collection(options.data / name, qrels=QRELS.get(name))
            task = Task(collection, first_stage(stage, collection, DEPTH), (DEPTH,))
            measured.append(Measured(task, journal))
    print("texts of each collection, by default and without a rule")
    rule, _ = RULES["Adaptive, best to mean"]
    show("Adaptive", measured, rule, Adaptive().drop or 0.0)
    show("all", measured, RULES["top_n"][0], DEPTH)
    for number in NUMBERS:
        print(f"{number} texts of {DEPTH}")
        first = None
        for name, (rule, grid) in RULES.items():
            numbers = [fmean(each.number(rule, value) for each in measured) for value in grid]
            chosen = grid[int(np.argmin(np.abs(np.array(numbers) - number)))]
            values = show(name, measured, rule, chosen, first)
            first = first or values


if __name__ == "__main__":
    main()
