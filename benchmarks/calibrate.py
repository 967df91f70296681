"""Errors of calibrated probabilities on queries, and on collections, that were not seen.

    python -m benchmarks.calibrate --data DIR

`DIR` holds test collections in BEIR's layout. A random half of the queries is fitted, the other
half measured; figures are medians of ten such splits, each beside those of Platt scaling of the
score alone (for lists without a relevant text: the greatest score) on the same halves. Then each
collection is measured with a calibration that was fitted on all the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from rerank_core import Calibration, Scorer, load_scorer
from rerank_core.evaluation import Journal, Task, calibrate, first_stage, read_collection
from rerank_core.evaluation._calibrate import Unjudged, read_lists
from rerank_core.evaluation._fitting import ScoredList
from rerank_core.evaluation._probabilities import area, brier_skill, ece

COLLECTIONS = ("scifact", "cranfield", "wikiqa_test", "trec_dl19")
NEGATIVE = ("scifact", "cranfield")  # only their relevant texts were judged
DEPTH, SPLITS = 50, 10

Array = npt.NDArray[np.float64]


class Figures(NamedTuple):
    """Figures of the queries that were not fitted."""

    ece: float
    skill: float
    area: float


def measure(
    lists: Sequence[ScoredList],
    relevant: Callable[[ScoredList], Array],
    nothing: Callable[[Array, Sequence[str]], float | None],
) -> Figures:
    """Measure the ten best of each list, and lists with against without their relevant texts."""
    probabilities = np.concatenate([relevant(each)[each.shown] for each in lists])
    labels = np.concatenate([each.labels[each.shown] for each in lists])
    pairs = [each for each in lists if each.answerable]
    values = [nothing(each.scores, each.texts) for each in pairs]
    values += [nothing(*each.others) for each in pairs]
    return Figures(
        ece(probabilities, labels),
        brier_skill(probabilities, labels),
        area(np.array(values, dtype=np.float64), np.repeat([0.0, 1.0], len(pairs))),
    )


def by_calibration(calibration: Calibration, lists: Sequence[ScoredList]) -> Figures:
    """Measure a calibration."""
    return measure(
        lists,
        lambda each: np.array(calibration.probabilities(each.scores)),
        calibration.nothing_probability,
    )


def by_platt(fitted: Sequence[ScoredList], lists: Sequence[ScoredList]) -> Figures:
    """Measure Platt scaling of the scores of the ten best, and the greatest score."""
    scores = np.concatenate([each.scores[each.shown] for each in fitted])
    labels = np.concatenate([each.labels[each.shown] for each in fitted])
    platt = LogisticRegression(C=1e6).fit(scores[:, None], labels)
    return measure(
        lists,
        lambda each: platt.predict_proba(each.scores[:, None])[:, 1],
        lambda scores, _: -float(scores.max()),
    )


def split(
    task: Task, scorer: Scorer, journal: Journal, unjudged: Unjudged, seed: int
) -> tuple[Figures, Figures, str]:
    """Fit one half of the queries and measure the other; the calibration, Platt, the method."""
    queries = np.random.default_rng(seed).permutation(sorted(task.used)).tolist()
    half = len(queries) // 2
    parts = [replace(task, queries=tuple(part)) for part in (queries[:half], queries[half:])]
    calibration = calibrate(
        parts[:1], scorer, unjudged=unjudged, journal=journal, resamples=100, seed=seed
    )
    fitted, held = (read(part, scorer, journal, unjudged) for part in parts)
    return (
        by_calibration(calibration, held),
        by_platt(fitted, held),
        calibration.figures["method"],
    )


def read(task: Task, scorer: Scorer, journal: Journal, unjudged: Unjudged) -> list[ScoredList]:
    """Read the scored lists of a task."""
    found = list(read_lists(task, scorer, journal))
    return [each.filled() for each in found] if unjudged == "negative" else found


def row(name: str, *cells: Figures) -> str:
    """Lay figures out, those of the calibration and those of Platt side by side."""
    shown = (f"{own:.3f} ({peer:.3f})" for own, peer in zip(*cells, strict=True))
    return f"{name:14}" + "".join(f"{cell:>17}" for cell in shown)


def middle(found: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(*(median(values) for values in zip(*found, strict=True)))


def main() -> None:
    """Measure, and print a report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of test collections")
    parser.add_argument("--scorer", default="nano", help="default: nano")
    parser.add_argument(
        "--collections", nargs="+", default=COLLECTIONS, help=f"default: {' '.join(COLLECTIONS)}"
    )
    parser.add_argument(
        "--negative",
        nargs="*",
        default=NEGATIVE,
        help="collections whose other candidates are not relevant",
    )
    parser.add_argument("--splits", type=int, default=SPLITS, help=f"default: {SPLITS}")
    parser.add_argument("--resume", type=Path, help="file that keeps scores from run to run")
    options = parser.parse_args()
    scorer, journal = load_scorer(options.scorer), Journal(options.resume)
    heading = "".join(f"{name:>17}" for name in ("ECE", "Brier skill", "AUROC nothing"))
    print(f"{scorer.name}, {options.splits} splits, in brackets Platt on the score alone")
    print(f"{'':14}{heading}")
    tasks, medians = {}, []
    for name in options.collections:
        collection = read_collection(options.data / name)
        run = "run:bm25" if (options.data / name / "run.bm25.tsv").exists() else "bm25"
        tasks[name] = Task(collection, first_stage(run, collection, DEPTH), (DEPTH,))
        unjudged: Unjudged = "negative" if name in options.negative else "skip"
        one = partial(split, tasks[name], scorer, journal, unjudged)
        own, peer, methods = zip(*map(one, range(options.splits)), strict=True)
        medians.append((middle(own), middle(peer)))
        print(row(name, *medians[-1]), ", ".join(sorted(set(methods))), flush=True)
    for label, average in (("mean", fmean), ("median", median)):
        columns = [[*zip(*part, strict=True)] for part in zip(*medians, strict=True)]
        print(row(label, *(Figures(*map(average, part)) for part in columns)))
    print("fitted on all the others")
    for name, task in tasks.items():
        others = [other for key, other in tasks.items() if key != name]
        if others:
            calibration = calibrate(
                others, scorer, unjudged="negative", journal=journal, resamples=100
            )
            held = read(task, scorer, journal, "negative")
            fitted = [each for o in others for each in read(o, scorer, journal, "negative")]
            figures = by_calibration(calibration, held), by_platt(fitted, held)
            print(row(name, *figures), calibration.figures["method"], flush=True)


if __name__ == "__main__":
    main()
