"""`Calibration`: what was measured about a scorer, and the probabilities that follow from it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rerank_core._checks import check_name, check_number, describe, suggest
from rerank_core._errors import ConfigurationError
from rerank_core._files import bounded_bytes, replacing
from rerank_core._types import Scale

__all__ = [
    "LIST_FEATURES",
    "NEAREST",
    "NOTHING_FEATURES",
    "TEXT_FEATURES",
    "Calibration",
    "Weights",
    "features",
    "nothing_features",
    "weighted_sums",
]

Array = npt.NDArray[np.float64]
Weights = Mapping[str, float]
"""Weights of features in the logit of a probability; ``"intercept"`` is that of the constant 1."""

TEXT_FEATURES = ("score", "rank")
"""Features of a text, which rise with its score."""
LIST_FEATURES = ("best", "lead", "mean", "spread")
"""Features of a list, the same for each of its texts."""
NOTHING_FEATURES = ("best", "mean", "spread", "standout", "crowd", "agreement", "overlap")
"""Features of a list for the probability that none of its texts is relevant."""

NEAREST = 1e-6
"""The least distance of two knots."""

_VERSION = 1
_MOST_KNOTS = 1000
_WORD = re.compile(r"\w+")
_SHOWN = 5
_MOST = 1e9  # of a score, a weight and a knot, so that no sum overflows
_LEAST = 1e-6  # keeps the logit of a score of 0 or 1 finite
_MOST_LOGIT = 700.0  # that of the smallest normal number is -708


@dataclass(frozen=True)
class Calibration:
    """The way from the scores of one scorer to probabilities, and the figures that show it.

    The logit of the probability that a text is relevant is a weighted sum of features. Those of
    the text are its ``"score"`` (of one between 0 and 1, its logit) and its ``"rank"``, which is
    minus the logarithm of 1 plus the number of texts with a greater score. Those of its list are
    the ``"best"`` score, its ``"lead"`` over the next, the ``"mean"``, and the ``"spread"`` (the
    standard deviation). With `knots`, the lines between them give the logit for the sum. Whatever
    the numbers are, a greater score gets a greater probability, so no list changes its order.

    Args:
        name: Name of the scorer.
        fingerprint: Its fingerprint.
        relevant: Weights of the features and of ``"intercept"``; those of ``"score"`` and
            ``"rank"`` are not below 0, and one of them is above.
        knots: Pairs of a sum and the logit in its place, both rising. Default: none.
        nothing: Weights for the logit of the probability that no text of a list is relevant, of
            ``"best"``, ``"mean"``, ``"spread"``; ``"standout"``, by how many spreads the best is
            above the mean; ``"crowd"``, how many are about as good as the best (the logarithm of
            the mean of ``exp(score - best)``); ``"agreement"``, the correlation of the order with
            that of the first stage; and ``"overlap"``, the share of words that two of the five
            best texts have in common. Default: None, that is not known.
        alone: Weights of ``"score"`` and ``"intercept"`` for a text without a list, such as a
            sentence. Default: those of `relevant`.
        scale: The scale of the scorer's own scores. Default: `Scale.LOGIT`.
        scorer: The scorer's configuration, so that ``"calibrated:PATH"`` can make it. Default:
            None, it has none.
        figures: What was measured, in plain JSON values.

    Raises:
        ConfigurationError: If an argument is wrong.

    Example:
        ```python
        from rerank_core import Calibration

        calibration = Calibration("mine", "mine-1", {"score": 1.0, "intercept": -2.0})
        print([round(probability, 3) for probability in calibration.probabilities([2.0, 5.0])])
        ```

        ```text
        [0.5, 0.953]
        ```
    """

    name: str
    fingerprint: str
    relevant: Weights
    knots: Sequence[tuple[float, float]] = ()
    nothing: Weights | None = None
    alone: Weights | None = None
    scale: Scale = Scale.LOGIT
    scorer: Mapping[str, Any] | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, "name", "nano")
        check_name(self.fingerprint, "fingerprint", "onnx:…")
        _check_weights(self.relevant, "relevant", (*TEXT_FEATURES, *LIST_FEATURES))
        if self.nothing is not None:
            _check_weights(self.nothing, "nothing", NOTHING_FEATURES)
        if self.alone is not None:
            _check_weights(self.alone, "alone", TEXT_FEATURES[:1])
        elif set(self.relevant) - {"score", "intercept"}:
            raise ConfigurationError(
                "alone must have weights, as those of relevant need a list of texts"
            )
        for weights in filter(None, (self.relevant, self.alone)):
            rising = [weights.get(name, 0.0) for name in TEXT_FEATURES]
            if min(rising) < 0 or max(rising) <= 0:
                raise ConfigurationError(
                    "weights of 'score' and 'rank' must not be below 0, and one must be above, so "
                    f"that probabilities rise with the score; they are {describe(dict(weights))}"
                )
        object.__setattr__(self, "knots", _check_knots(self.knots))
        object.__setattr__(self, "scale", _check_scale(self.scale))
        for name in ("scorer", "figures"):
            if not isinstance(getattr(self, name), Mapping | None):
                raise ConfigurationError(
                    f"{name} must be an object, not {describe(getattr(self, name))}"
                )

    @property
    def listwise(self) -> bool:
        """True if a probability depends on other texts of the list."""
        return self.nothing is not None or self.alone is not None

    @property
    def digest(self) -> str:
        """Hash of everything that decides about probabilities."""
        weights = [
            found and sorted(found.items()) for found in (self.relevant, self.nothing, self.alone)
        ]
        parts = [self.fingerprint, self.scale, self.knots, weights]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    def probabilities(self, scores: Sequence[float] | Array) -> list[float]:
        """Return the probability that each text of a list is relevant.

        Args:
            scores: The scores of all different texts of the list, at least one.

        Returns:
            One probability for each, greater where the score is greater and equal where it is
            equal, above 0 and at most 1.
        """
        names = (*TEXT_FEATURES, *LIST_FEATURES)
        sums = weighted_sums(features(scores, self.scale), names, self.relevant)
        if self.knots:
            sums = _interpolate(sums, np.array(self.knots))
        probabilities = 1 / (1 + np.exp(-np.clip(sums, -_MOST_LOGIT, _MOST_LOGIT)))
        # Rounding must not make two of one, nor a foreign file change the order.
        _, first, places = np.unique(np.array(scores), return_index=True, return_inverse=True)
        rising = probabilities[first]
        for lower in range(len(rising) - 2, -1, -1):
            rising[lower] = min(rising[lower], np.nextafter(rising[lower + 1], 0.0))
        return [float(probability) for probability in rising[places]]

    def nothing_probability(
        self, scores: Sequence[float] | Array, texts: Sequence[str]
    ) -> float | None:
        """Return the probability that no text of a list is relevant; None if it is not known.

        Args:
            scores: The scores of all different texts in first-stage order, at least one.
            texts: The texts.
        """
        if self.nothing is None:
            return None
        row = nothing_features(scores, self.scale, texts)
        total = weighted_sums(row[np.newaxis], NOTHING_FEATURES, self.nothing)
        return float(1 / (1 + np.exp(-np.clip(total[0], -_MOST_LOGIT, _MOST_LOGIT))))

    def for_sentences(self, fingerprint: str) -> Calibration:
        """Return the calibration of a single text, for a scorer with that fingerprint."""
        alone = self.alone or self.relevant
        knots = () if self.alone else self.knots
        return replace(
            self, fingerprint=fingerprint, relevant=alone, knots=knots, alone=None, nothing=None
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it in plain JSON values, without secrets."""
        found = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {"calibration": _VERSION} | {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in found.items()
            if value is not None and value not in ((), {})
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Calibration:
        """Create a calibration from what `to_json` returned.

        Raises:
            ConfigurationError: If it is anything else, or of another version.
        """
        options = dict(found)
        version = options.pop("calibration", None)
        if version != _VERSION or isinstance(version, bool):
            raise ConfigurationError(
                f"not a calibration of version {_VERSION}, but {describe(version)}; make it again "
                "with 'rerank calibrate'"
            )
        known = [entry.name for entry in fields(cls)]
        for name in options:
            if name not in known:
                raise ConfigurationError(f"unknown field {describe(name)}{suggest(name, known)}")
        try:
            return cls(**options)
        except TypeError as error:
            raise ConfigurationError(f"a field is missing: {error}") from error

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Calibration:
        """Read the file that `write` or ``rerank calibrate`` made.

        Raises:
            ConfigurationError: If it cannot be read, has more than a mebibyte, or does not fit.
        """
        try:
            found = json.loads(bounded_bytes(Path(path)))
        except OSError as error:
            raise ConfigurationError(
                f"calibration {os.fspath(path)!r} cannot be read: {error.strerror}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"calibration {os.fspath(path)!r} is not JSON: {error}"
            ) from error
        if not isinstance(found, Mapping):
            raise ConfigurationError(f"calibration {os.fspath(path)!r} must be an object")
        try:
            return cls.from_json(found)
        except ConfigurationError as error:
            raise ConfigurationError(f"calibration {os.fspath(path)!r}: {error}") from error

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it to a JSON file, whole or not at all.

        Raises:
            OSError: If the file cannot be written.
        """
        text = json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"
        with replacing(Path(path)) as stream:
            stream.write(text.encode())


def _real(scores: Sequence[float] | Array, scale: Scale) -> Array:
    """Return scores as real numbers within bounds, those between 0 and 1 as their logits."""
    values = np.asarray(scores, dtype=np.float64)
    if scale is Scale.LOGIT:
        return np.clip(values, -_MOST, _MOST)
    values = np.clip(values, 0, 1)
    return np.log(values + _LEAST) - np.log(1 - values + _LEAST)


def features(scores: Sequence[float] | Array, scale: Scale) -> Array:
    """Return the features of each text of a list.

    Args:
        scores: The scores of all different texts, at least one.
        scale: Their scale.

    Returns:
        One row for each text, with a column for each of `TEXT_FEATURES`, then `LIST_FEATURES`.
    """
    values = _real(scores, scale)
    ordered = np.sort(values)
    lead = ordered[-1] - ordered[-2] if len(values) > 1 else 0.0
    rows = np.empty((len(values), len(TEXT_FEATURES) + len(LIST_FEATURES)))
    rows[:, 0] = values
    rows[:, 1] = -np.log1p(_above(values))
    rows[:, 2:] = ordered[-1], lead, values.mean(), values.std()
    return rows


def nothing_features(scores: Sequence[float] | Array, scale: Scale, texts: Sequence[str]) -> Array:
    """Return the `NOTHING_FEATURES` of a list.

    Args:
        scores: The scores of all different texts in first-stage order, at least one.
        scale: Their scale.
        texts: The texts.
    """
    values = _real(scores, scale)
    best, mean, spread = values.max(), values.mean(), values.std()
    above = _above(values)
    agreement = 0.0
    if above.any():
        agreement = float(np.corrcoef(np.arange(len(values)), above)[0, 1])
    shown = [set(_WORD.findall(texts[place].casefold())) for place in np.argsort(above)[:_SHOWN]]
    shares = [len(a & b) / (min(len(a), len(b)) or 1) for a, b in combinations(shown, 2)]
    return np.array(
        [
            best,
            mean,
            spread,
            (best - mean) / (spread or 1.0),
            np.log(np.exp(values - best).mean()),
            agreement,
            np.mean(shares or [0.0]),
        ]
    )


def _above(values: Array) -> npt.NDArray[np.intp]:
    """Return how many values are greater, for each of them."""
    return len(values) - np.searchsorted(np.sort(values), values, side="right")


def weighted_sums(rows: Array, names: Sequence[str], weights: Weights) -> Array:
    """Return the weighted sum of each row of features with those names."""
    vector = np.array([weights.get(name, 0.0) for name in names])
    sums: Array = rows @ vector + weights.get("intercept", 0.0)
    return sums


def _interpolate(values: Array, knots: Array) -> Array:
    """Return the logits on the lines between knots, and on the first and the last beyond them."""
    place = np.clip(np.searchsorted(knots[:, 0], values), 1, len(knots) - 1)
    (x0, y0), (x1, y1) = knots[place - 1].T, knots[place].T
    lines: Array = y0 + (values - x0) * (y1 - y0) / (x1 - x0)
    return lines


def _check_weights(weights: object, name: str, known: Sequence[str]) -> None:
    if not isinstance(weights, Mapping) or not weights:
        raise ConfigurationError(f"{name} must be an object of weights, not {describe(weights)}")
    for feature, weight in weights.items():
        if feature not in (*known, "intercept"):
            raise ConfigurationError(
                f"{name} has a weight of {describe(feature)}; there are {', '.join(known)} and "
                "intercept"
            )
        check_number(weight, f"{name}: the weight of {feature!r}", least=-_MOST, most=_MOST)


def _check_knots(knots: object) -> tuple[tuple[float, float], ...]:
    if not isinstance(knots, Sequence) or isinstance(knots, str) or len(knots) > _MOST_KNOTS:
        raise ConfigurationError(
            f"knots must be a list of at most {_MOST_KNOTS} pairs, not {describe(knots)}"
        )
    pairs = []
    for position, knot in enumerate(knots):
        match knot:
            case [x, y]:
                x, y = (check_number(each, "a knot", least=-_MOST, most=_MOST) for each in (x, y))
                pairs.append((x, y))
            case _:
                raise ConfigurationError(f"knots[{position}] must be a pair, not {describe(knot)}")
    rising = all(c - a >= NEAREST and b < d for (a, b), (c, d) in pairwise(pairs))
    if len(pairs) == 1 or not rising:
        raise ConfigurationError(
            f"knots must be two or more pairs whose numbers both rise, the first by {NEAREST:g}"
        )
    return tuple(pairs)


def _check_scale(scale: object) -> Scale:
    try:
        return Scale(scale)  # type: ignore[arg-type]
    except ValueError:
        names = ", ".join(map(repr, map(str, Scale)))
        raise ConfigurationError(f"scale must be one of {names}, not {describe(scale)}") from None
