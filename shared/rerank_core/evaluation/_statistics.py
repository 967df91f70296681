"""Statistics of paired differences: intervals, tests, corrections and sample sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_core._errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "CONFIDENCE",
    "FEWEST",
    "LEVEL",
    "WORTHWHILE",
    "Difference",
    "difference",
    "holm",
    "queries_needed",
]

CONFIDENCE = 0.95
"""Confidence level of the bootstrap interval."""
LEVEL = 0.05
"""Significance level of corrected p values."""
POWER = 0.8
"""Probability that `queries_needed` queries show a difference of the assumed size."""
WORTHWHILE = 0.01
"""Smallest difference worth having; an interval within it of zero shows no difference."""
FEWEST = 25
"""Smallest number of queries that can show that there is no difference.

Buckley and Voorhees, "Evaluating Evaluation Measure Stability", SIGIR 2000,
https://doi.org/10.1145/345508.345543: at least 25 queries, and 50 are better.
"""
_BATCH = 1000  # resamples at a time, to keep memory in the tens of megabytes


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference of paired values, with its interval and p value.

    Attributes:
        mean: The mean difference.
        low: Lower end of the 95 % bootstrap interval; None with fewer than two queries.
        high: Upper end of the interval.
        p: Two-sided p value of the randomisation test, not corrected.
    """

    mean: float
    low: float | None
    high: float | None
    p: float

    def within(self, size: float) -> bool:
        """Return whether the whole interval lies between ``-size`` and ``size``."""
        low, high = self.low, self.high
        return low is not None and high is not None and -size <= low <= high <= size


def difference(
    strata: Sequence[npt.NDArray[np.float64]], *, resamples: int, seed: int
) -> Difference:
    """Estimate a mean difference.

    With several collections it is the mean of their means: every collection has the same weight,
    however many queries it has.

    The interval is a percentile bootstrap that resamples queries within each collection (Efron,
    "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7(1), 1979; for
    retrieval: Sakai, "Evaluating Evaluation Metrics based on the Bootstrap", SIGIR 2006,
    https://doi.org/10.1145/1148170.1148261). The test flips the signs of the differences at
    random (Fisher's randomisation test: Smucker, Allan and Carterette, "A Comparison of
    Statistical Significance Tests for Information Retrieval Evaluation", CIKM 2007,
    https://doi.org/10.1145/1321440.1321528); with few queries all combinations are tried.

    Args:
        strata: Differences of the queries, one array per collection.
        resamples: Number of resamples, and of random flips.
        seed: Seed of the random numbers.

    Raises:
        MissingExtraError: If scipy is not installed.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError("eval", "Evaluation") from error
    import numpy as np

    # Each query's share of the mean of means.
    shares = np.concatenate([values / (len(values) * len(strata)) for values in strata])
    mean = float(shares.sum())
    p = 1.0
    if len(shares) > 1:
        test = stats.permutation_test(
            (shares,),
            np.sum,
            permutation_type="samples",
            vectorized=True,
            n_resamples=resamples,
            batch=_BATCH,
            rng=np.random.default_rng(seed),
        )
        p = float(test.pvalue)
    if any(len(values) < 2 for values in strata):
        return Difference(mean, None, None, p)

    def mean_of_means(*samples: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
        return np.asarray(np.mean([sample.mean(axis=axis) for sample in samples], axis=0))

    interval = stats.bootstrap(
        strata,
        mean_of_means,
        method="percentile",
        vectorized=True,
        n_resamples=resamples,
        batch=_BATCH,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Difference(mean, float(interval.low), float(interval.high), p)


def holm(values: Sequence[float]) -> list[float]:
    """Correct p values for multiple comparisons.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6(2), 1979: the probability of any false positive stays below the level.

    Args:
        values: One p value per comparison.

    Returns:
        The corrected values, in the same order, at most 1.
    """
    import numpy as np

    order = np.argsort(values, kind="stable")
    steps = np.arange(len(values), 0, -1) * np.asarray(values, dtype=float)[order]
    corrected = np.empty(len(values))
    corrected[order] = np.maximum.accumulate(np.minimum(steps, 1))
    return [float(value) for value in corrected]


def queries_needed(strata: Sequence[npt.NDArray[np.float64]], *, comparisons: int) -> int | None:
    """Estimate how many queries are needed to show a difference.

    The estimate is the usual sample size of a paired test, ((z_level + z_power) * deviation /
    difference)^2, with the observed standard deviation and a power of 0.8 (Rosner, "Fundamentals
    of Biostatistics"; for retrieval: Webber, Moffat and Zobel, "Statistical Power in Retrieval
    Experimentation", CIKM 2008, https://doi.org/10.1145/1458082.1458158, who also show how rough
    it is). The assumed difference is the observed one, at least `WORTHWHILE`. This bounds the
    estimate: for a metric between 0 and 1 it is at most about 79,000 in a single comparison.

    Args:
        strata: Differences of the queries, one array per collection.
        comparisons: Number of comparisons; the level is divided by it (Bonferroni).

    Returns:
        Total number of queries, if the collections keep their shares: at least `FEWEST`, more
        than there are now, and rounded up to two digits. None if a collection has a single query,
        which has no standard deviation.
    """
    from scipy import stats

    if any(len(values) < 2 for values in strata):
        return None
    present = sum(map(len, strata))
    seen = abs(sum(float(values.mean()) for values in strata)) / len(strata)
    variance = sum(float(values.var(ddof=1)) / len(values) for values in strata) / len(strata) ** 2
    quantiles = float(stats.norm.isf(LEVEL / comparisons / 2) + stats.norm.ppf(POWER))
    needed = present * variance * (quantiles / max(seen, WORTHWHILE)) ** 2
    needed = max(needed, present + 1, FEWEST)
    step = int(10 ** max(1, int(math.log10(needed)) - 1))
    return step * math.ceil(needed / step)
