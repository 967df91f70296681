"""Fitting of calibrations with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rerank_core._combinators.calibration import (
    LIST_FEATURES,
    NEAREST,
    NOTHING_FEATURES,
    TEXT_FEATURES,
    Calibration,
    features,
    nothing_features,
    weighted_sums,
)
from rerank_core._errors import MissingExtraError
from rerank_core._types import Scale

__all__ = ["METHODS", "NOTHING", "Method", "ScoredList", "cross_fitted", "fit_nothing"]

T = TypeVar("T")
Array = npt.NDArray[np.float64]

_TOP = 10  # texts of a query that figures are about: beyond them hardly any is relevant
_FOLDS = 5
_MOST_KNOTS = 200
_COLUMNS = (*TEXT_FEATURES, *LIST_FEATURES)


@dataclass(frozen=True)
class ScoredList:
    """The scored candidates of a query, in first-stage order.

    Attributes:
        scores: Their scores.
        labels: 1 for what is relevant, 0 for what is not, NaN without a judgement.
        texts: The texts.
        scale: The scale of the scores.
    """

    scores: Array
    labels: Array
    texts: Sequence[str]
    scale: Scale

    def filled(self) -> ScoredList:
        """Return the list with the texts without a judgement as not relevant."""
        return replace(self, labels=np.nan_to_num(self.labels))

    @property
    def judged(self) -> npt.NDArray[np.bool_]:
        """True for the texts that have a judgement."""
        return ~np.isnan(self.labels)

    @property
    def shown(self) -> npt.NDArray[np.bool_]:
        """True for the texts that figures are about: judged, and among the ten best."""
        order = np.argsort(-self.scores, kind="stable")[:_TOP]
        return np.isin(np.arange(len(self.scores)), order) & self.judged

    @property
    def others(self) -> tuple[Array, list[str]]:
        """The texts that are not known to be relevant, scores and texts."""
        left = ~(self.labels > 0)
        return self.scores[left], list(compress(self.texts, left))

    @property
    def answerable(self) -> bool:
        """True if there are relevant texts, and others."""
        return 0 < int((self.labels > 0).sum()) < len(self.scores)

    @cached_property
    def rows(self) -> Array:
        """Features of the judged texts."""
        return features(self.scores, self.scale)[self.judged]

    @cached_property
    def with_and_without(self) -> tuple[Array, Array]:
        """Features of the list, and of what is left without its relevant texts."""
        scores, texts = self.others
        return (
            nothing_features(self.scores, self.scale, self.texts),
            nothing_features(scores, self.scale, texts),
        )


@dataclass(frozen=True, slots=True)
class Method:
    """A way to fit the probability that a text is relevant.

    Attributes:
        names: Features of logistic regression.
        isotonic: Whether isotonic regression follows it.
    """

    names: tuple[str, ...]
    isotonic: bool = False

    @property
    def name(self) -> str:
        """A short description."""
        return f"{'isotonic' if self.isotonic else 'logistic'}: {', '.join(self.names)}"

    def fit(self, base: Calibration, lists: Sequence[ScoredList]) -> Calibration | None:
        """Return what was fitted; None if labels are all alike, or fall with the score."""
        rows = np.concatenate([each.rows for each in lists])
        labels = np.concatenate([each.labels[each.judged] for each in lists])
        if len(np.unique(labels)) < 2:
            return None
        alone = _logistic(rows, labels, ("score",))
        weights = _logistic(rows, labels, self.names)
        for name in TEXT_FEATURES:  # beside the other one, it may not be needed
            if weights.get(name, 0) < 0 and len(self.names) > 1:
                kept = [other for other in self.names if other != name]
                weights = {name: 0.0, **_logistic(rows, labels, kept)}
        chosen = [weights.get(name, 0.0) for name in TEXT_FEATURES]
        if alone["score"] <= 0 or min(chosen) < 0 or max(chosen) <= 0:
            return None
        fitted = replace(base, relevant=weights, alone=alone if len(self.names) > 1 else None)
        if not self.isotonic:
            return fitted
        knots = _isotonic(weighted_sums(rows, _COLUMNS, weights), labels)
        return replace(fitted, knots=knots) if len(knots) > 1 else None


METHODS = tuple(
    Method(names, isotonic)
    for names in (
        ("score",),
        TEXT_FEATURES,
        (*TEXT_FEATURES, "best", "mean", "spread"),
        (*TEXT_FEATURES, "best", "lead", "mean", "spread"),
    )
    for isotonic in (False, True)
)
"""The methods that are compared, simple ones first."""

NOTHING: tuple[tuple[str, ...], ...] = (("best",), NOTHING_FEATURES[:-1], NOTHING_FEATURES)
"""Sets of features that are compared for lists without a relevant text."""


def fit_nothing(
    base: Calibration, names: Sequence[str], lists: Sequence[ScoredList]
) -> Calibration:
    """Return a calibration that tells lists with from the same without their relevant texts.

    Args:
        base: What the calibration has besides.
        names: Features of a list.
        lists: Lists with relevant texts and others.
    """
    rows = np.array([row for each in lists for row in each.with_and_without])
    labels = np.tile([0.0, 1.0], len(lists))
    return replace(base, nothing=_logistic(rows, labels, names, NOTHING_FEATURES))


def cross_fitted(
    lists: Sequence[ScoredList],
    fit: Callable[[Sequence[ScoredList]], Calibration | None],
    predict: Callable[[Calibration, ScoredList], T],
    seed: int,
) -> list[T] | None:
    """Predict something about each list with a calibration that was fitted on others.

    Returns:
        One prediction for each list; None if a fit failed.

    Raises:
        MissingExtraError: If scikit-learn is not installed.
    """
    try:
        from sklearn.model_selection import KFold
    except ImportError as error:
        raise MissingExtraError("eval", "A calibration") from error
    found: dict[int, T] = {}
    for fitting, held in KFold(_FOLDS, shuffle=True, random_state=seed).split(lists):
        calibration = fit([lists[place] for place in fitting])
        if calibration is None:
            return None
        found |= {place: predict(calibration, lists[place]) for place in held}
    return [found[place] for place in range(len(lists))]


def _logistic(
    rows: Array, labels: Array, names: Sequence[str], known: Sequence[str] = _COLUMNS
) -> dict[str, float]:
    """Return the weights of features and of the intercept; the columns are of the known ones."""
    from sklearn.linear_model import LogisticRegression

    columns = rows[:, [known.index(name) for name in names]]
    mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    deviation[deviation < NEAREST] = 1.0  # constant, but for rounding
    # Its penalty keeps weights finite where scores separate the labels without an error.
    fitted = LogisticRegression(max_iter=1000).fit((columns - mean) / deviation, labels)
    weights = fitted.coef_[0] / deviation
    intercept = float(fitted.intercept_[0] - weights @ mean)
    return {**dict(zip(names, weights.tolist(), strict=True)), "intercept": intercept}


def _isotonic(sums: Array, labels: Array) -> list[tuple[float, float]]:
    """Return the middle of each step of isotonic regression, and its logit."""
    from sklearn.isotonic import IsotonicRegression

    shares = IsotonicRegression().fit_transform(sums, labels)
    steps = np.unique(shares)
    steps = steps[np.linspace(0, len(steps) - 1, min(len(steps), _MOST_KNOTS)).astype(int)]
    middles = np.array([sums[shares == step].mean() for step in steps])
    apart = np.diff(middles, prepend=-np.inf) > NEAREST
    least = 0.5 / len(labels)  # a share of 0 or 1 has no logit
    shares = np.clip(steps[apart], least, 1 - least)
    return list(zip(middles[apart].tolist(), np.log(shares / (1 - shares)).tolist(), strict=True))
