"""Is a difference more than luck? Intervals, tests and the price of asking often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rerank_core.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CONFIDENCE", "Difference", "difference", "holm"]

CONFIDENCE = 0.95
_BATCH = 1000  # resamples at once, so that memory stays in the tens of megabytes


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference of paired values, and how sure it is.

    Attributes:
        mean: The difference; above 0 the first of the two is better.
        low: Lower end of the 95 % bootstrap interval; None with fewer than two queries.
        high: Its upper end.
        p: Two-sided p of the randomisation test, not corrected.
    """

    mean: float
    low: float | None
    high: float | None
    p: float


def difference(
    strata: Sequence[npt.NDArray[np.float64]], *, resamples: int, seed: int
) -> Difference:
    """Estimate a mean difference.

    Over several collections it is the mean of their means: each counts alike, however many
    queries it has. The interval is a percentile bootstrap, resampling queries within each
    collection (Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics
    7(1), 1979; for retrieval: Sakai, "Evaluating Evaluation Metrics based on the Bootstrap",
    SIGIR 2006, https://doi.org/10.1145/1148170.1148261). The test flips the signs of the
    differences at random (Fisher's randomisation test: Smucker, Allan and Carterette, "A
    Comparison of Statistical Significance Tests for Information Retrieval Evaluation", CIKM 2007,
    https://doi.org/10.1145/1321440.1321528); with few queries all flips are tried.

    Args:
        strata: For each collection the difference of each query.
        resamples: How many resamples and how many flips.
        seed: Of the random numbers; equal seeds give equal results.

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

    def total(values: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
        return np.asarray(values.sum(axis=axis))

    def mean_of_means(*samples: npt.NDArray[np.float64], axis: int = -1) -> npt.NDArray[np.float64]:
        means = [sample.mean(axis=axis) for sample in samples]
        return np.asarray(sum(means) / len(means))

    if len(shares) < 2:
        p = 1.0
    else:
        p = float(
            stats.permutation_test(
                (shares,),
                total,
                permutation_type="samples",
                vectorized=True,
                n_resamples=resamples,
                batch=_BATCH,
                rng=np.random.default_rng(seed),
            ).pvalue
        )
    if any(len(values) < 2 for values in strata):
        return Difference(mean, None, None, p)
    interval = stats.bootstrap(
        tuple(strata),
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
    """Correct p values for having made several comparisons.

    Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6(2), 1979: the chance of even one false finding among all stays below the level.

    Args:
        values: One p value for each comparison.

    Returns:
        The corrected values, in the same order, at most 1.
    """
    corrected = [1.0] * len(values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[at]))
        corrected[at] = largest
    return corrected
