"""Figures about probabilities: calibration error, Brier score, reliability, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rerank_core.evaluation._statistics import CONFIDENCE

__all__ = [
    "AIMS",
    "area",
    "brier",
    "brier_skill",
    "ece",
    "interval",
    "is_better",
    "log_losses",
    "reliability",
    "thresholds",
]

Array = npt.NDArray[np.float64]

_BINS = 10
AIMS = ("precision >= 0.9", "precision >= 0.8", "fpr <= 0.1", "fpr <= 0.01", "recall >= 0.9")
"""Aims that thresholds are chosen for; `fpr` is the false-positive rate."""


def reliability(probabilities: Array, labels: Array) -> list[dict[str, float]]:
    """Sort texts into bins of equal size by their probability.

    Returns:
        For each bin the mean ``probability``, the share that is ``relevant``, and the ``texts``.
    """
    order = np.argsort(probabilities, kind="stable")
    return [
        {
            "probability": float(probabilities[part].mean()),
            "relevant": float(labels[part].mean()),
            "texts": len(part),
        }
        for part in np.array_split(order, _BINS)
        if len(part)
    ]


def ece(probabilities: Array, labels: Array) -> float:
    """Return the expected calibration error: the mean distance of probability and truth.

    Bins of equal size: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for
    natural language processing models", EMNLP 2015, https://doi.org/10.18653/v1/D15-1182.
    """
    bins = reliability(probabilities, labels)
    wrong = sum(found["texts"] * abs(found["probability"] - found["relevant"]) for found in bins)
    return wrong / len(labels)


def brier(probabilities: Array, labels: Array) -> float:
    """Return the mean squared distance of probability and label."""
    return float(np.mean((probabilities - labels) ** 2))


def brier_skill(probabilities: Array, labels: Array) -> float:
    """Return the share of a constant base rate's Brier score that is saved; 0 for one kind."""
    base = float(labels.mean() * (1 - labels.mean()))
    return 1 - brier(probabilities, labels) / base if base else 0.0


def log_losses(probabilities: Array, labels: Array) -> Array:
    """Return for each text the negative logarithm of the probability of what is true."""
    right = np.where(labels > 0, probabilities, 1 - probabilities)
    return -np.log(np.maximum(right, np.finfo(float).tiny))


def is_better(losses: Array, than: Array) -> bool:
    """Return whether losses of queries are less than others by more than the standard error."""
    gains = than - losses
    return bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def area(values: Array, labels: Array) -> float:
    """Return the area under the ROC curve: how often a positive is above a negative.

    It is 0.5 where all labels are alike.
    """
    from scipy.stats import rankdata

    positive = labels > 0
    count = int(positive.sum())
    if count in (0, len(labels)):
        return 0.5
    above = rankdata(values)[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(labels) - count)))


def interval(
    measure: Callable[[Array, Array], float],
    probabilities: Sequence[Array],
    labels: Sequence[Array],
    *,
    resamples: int,
    seed: int,
) -> dict[str, float]:
    """Return a figure, and the ends of its percentile bootstrap interval over queries.

    Args:
        measure: The figure.
        probabilities: Those of each query.
        labels: Those of each query.
        resamples: Number of resamples.
        seed: Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    count = len(labels)
    drawn = []
    for _ in range(resamples):
        picked = rng.integers(count, size=count)
        drawn.append(
            measure(
                np.concatenate([probabilities[query] for query in picked]),
                np.concatenate([labels[query] for query in picked]),
            )
        )
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    found = measure(np.concatenate(probabilities), np.concatenate(labels))
    # A resample repeats texts, which makes a small calibration error look larger.
    return {"value": found, "low": min(float(low), found), "high": float(high)}


def thresholds(
    probabilities: Array, labels: Array, everything: Array, queries: int
) -> list[dict[str, Any]]:
    """Find for each aim the threshold that keeps the most texts, or for recall the fewest.

    Args:
        probabilities: Those of the judged texts.
        labels: Their labels.
        everything: Probabilities of all texts, judged or not.
        queries: Number of queries.

    Returns:
        For each aim the ``threshold`` (keep what is at least that), ``precision``, ``recall``,
        ``fpr``, and ``kept``, the texts per query; all None where nothing reaches the aim.
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked, relevant = probabilities[order], np.cumsum(labels[order])
    last = np.append(ranked[1:] < ranked[:-1], True)  # equal ones are kept together
    ranked, relevant, kept = ranked[last], relevant[last], np.flatnonzero(last) + 1
    figures = {
        "precision": relevant / kept,
        "recall": relevant / labels.sum(),
        "fpr": (kept - relevant) / (1 - labels).sum(),
    }
    rows = []
    for aim in AIMS:
        name, sign, bound = aim.split()
        values = figures[name]
        reached = np.flatnonzero(values >= float(bound) if sign == ">=" else values <= float(bound))
        row: dict[str, Any] = dict.fromkeys(("threshold", *figures, "kept"))
        if len(reached):
            place = reached[0] if name == "recall" else reached[-1]
            row = {figure: float(found[place]) for figure, found in figures.items()}
            row["threshold"] = float(ranked[place])
            row["kept"] = float((everything >= ranked[place]).sum() / queries)
        rows.append({"aim": aim, **row})
    return rows
