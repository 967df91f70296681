"""Ratios of seconds, and agreement of scores."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Agreement", "Ratio", "agreement", "ratio"]


class Ratio(NamedTuple):
    """Speed of one system relative to another, over the rounds of one run.

    Attributes:
        median: Of the rounds' ratios.
        low: The smallest of them.
        high: The largest of them.
        fastest: Ratio of the lowest seconds of both, whichever rounds those were: the least
            disturbed by what else the machine does.
    """

    median: float
    low: float
    high: float
    fastest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


class Agreement(NamedTuple):
    """Agreement of two scorings of the same distinct texts.

    Attributes:
        max_difference: Largest absolute difference of two scores.
        kendall_tau: Kendall's tau, from -1 to 1.
        top10: How many of the ten best are the same.
    """

    max_difference: float
    kendall_tau: float
    top10: int


def ratio(reference: Sequence[float], seconds: Sequence[float]) -> Ratio:
    """Compare round by round: both then felt the same disturbances.

    Args:
        reference: Seconds of the system to compare with, one for each round.
        seconds: Seconds of the other, in the same rounds.

    Returns:
        The ratios ``reference / seconds``.
    """
    found = [one / other for one, other in zip(reference, seconds, strict=True)]
    return Ratio(statistics.median(found), min(found), max(found), min(reference) / min(seconds))


def agreement(reference: Sequence[float], scores: Sequence[float]) -> Agreement:
    """Compare two scorings of the same distinct texts, given in the same order."""
    pairs = list(zip(reference, scores, strict=True))
    same = total = 0
    for place, (one, other) in enumerate(pairs):
        for one_before, other_before in pairs[:place]:
            product = (one - one_before) * (other - other_before)
            same += (product > 0) - (product < 0)
            total += 1
    best = [
        set(sorted(range(len(pairs)), key=lambda text: pairs[text][which], reverse=True)[:10])
        for which in (0, 1)
    ]
    return Agreement(
        max(abs(one - other) for one, other in pairs), same / total, len(best[0] & best[1])
    )
