"""Blending a scorer's scores with those of the first stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from rerank_core._checks import check_choice, check_number, describe
from rerank_core._errors import ConfigurationError, InvalidInputError
from rerank_core._types import Scale

__all__ = ["Blend", "BlendLike", "make_blend"]

Method = Literal["rrf", "minmax", "zscore"]


@dataclass(frozen=True, slots=True)
class Blend:
    """A way to mix the scorer's scores with the first stage.

    With ``w`` for `weight`, the blended score of a candidate is

    * ``"rrf"``: ``(1 - w) / (k + rank) + w / (k + position)``, where both ranks count from 1 and
      `position` is the first-stage order. Weighted reciprocal rank fusion: Cormack, Clarke and
      Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning
      Methods", SIGIR 2009, whose k = 60 is the default. It needs no first-stage scores.
    * ``"minmax"``: ``(1 - w) * m(score) + w * m(prior)`` with
      ``m(x) = (x - min) / (max - min)`` over the scored candidates (CombSUM after min-max
      normalisation: Lee, "Analyses of Multiple Evidence Combination", SIGIR 1997).
    * ``"zscore"``: the same with ``(x - mean) / standard deviation`` (Montague and Aslam,
      "Relevance Score Normalization for Metasearch", CIKM 2001).

    The last two need a first-stage score for every candidate, higher meaning better: turn
    distances into similarities first. Where all values are equal they add 0.

    Args:
        method: ``"rrf"``, ``"minmax"`` or ``"zscore"``.
        weight: Share of the first stage, from 0 (none) to 1 (all). Default 0.5.
        k: The constant of ``"rrf"``, above 0. Default 60.

    Raises:
        ConfigurationError: If the method is unknown, or a number is out of range.

    Example:
        ```python
        from rerank_core import Blend, rerank

        texts = ["Cats purr.", "Plants turn light into sugar."]
        ranking = rerank("How do plants eat?", texts, blend=Blend("rrf", weight=0.3))
        assert ranking[0].text == "Plants turn light into sugar."
        ```
    """

    method: Method
    weight: float = 0.5
    k: float = 60.0

    def __post_init__(self) -> None:
        check_choice(self.method, "method", get_args(Method))
        check_number(self.weight, "weight", least=0, most=1)
        check_number(self.k, "k", above=0)

    @property
    def scale(self) -> Scale:
        """`UNIT` for ranks and min-max, `LOGIT` for z-scores."""
        return Scale.LOGIT if self.method == "zscore" else Scale.UNIT

    def check(self, priors: Sequence[float | None]) -> None:
        """Refuse first-stage scores that this method cannot do with.

        Raises:
            InvalidInputError: If the method needs a first-stage score that is missing.
        """
        if self.method != "rrf" and None in priors:
            raise InvalidInputError(
                f"prior[{priors.index(None)}] is missing (None or NaN): blend {self.method!r} "
                "needs the first-stage score of every candidate; pass them, or use Blend('rrf'), "
                "which needs positions only"
            )

    def apply(
        self, scores: Sequence[float | None], priors: Sequence[float | None]
    ) -> list[float | None]:
        """Blend the scores of the candidates that have one.

        Args:
            scores: One per candidate, in first-stage order; None stays None.
            priors: The first-stage score of each candidate; passed `check`.

        Returns:
            One blended score per candidate.
        """
        scored = [position for position, score in enumerate(scores) if score is not None]
        second = [score for score in scores if score is not None]
        if self.method == "rrf":
            ranks: dict[float, int] = {}
            for rank, score in enumerate(sorted(second, reverse=True), start=1):
                ranks.setdefault(score, rank)  # equal scores share the best of their ranks
            second = [1 / (self.k + ranks[score]) for score in second]
            first = [1 / (self.k + position + 1) for position in scored]
        else:
            normalise = _minmax if self.method == "minmax" else _zscore
            second = normalise(second)
            first = normalise([priors[position] or 0.0 for position in scored])
        blended: list[float | None] = [None] * len(scores)
        for position, s, p in zip(scored, second, first, strict=True):
            blended[position] = (1 - self.weight) * s + self.weight * p
        return blended


BlendLike: TypeAlias = Blend | Mapping[str, Any] | str
"""A blend, or what `make_blend` makes one from."""


def make_blend(spec: BlendLike | None) -> Blend | None:
    """Make a blend from the way users write it.

    Args:
        spec: A `Blend`, ``"METHOD"``, ``"METHOD:WEIGHT"`` such as ``"rrf:0.3"``, a mapping of
            `Blend`'s arguments, or None.

    Raises:
        ConfigurationError: If it is none of these, or an argument is out of range.
    """
    if spec is None or isinstance(spec, Blend):
        return spec
    if not isinstance(spec, str | Mapping):
        raise ConfigurationError(
            f"blend must be None, a Blend, a string such as 'rrf:0.3' or a mapping, "
            f"not {describe(spec)}"
        )
    if isinstance(spec, str):
        method, colon, weight = spec.partition(":")
        fields: dict[str, Any] = {"method": method}
        if colon:
            try:
                fields["weight"] = float(weight)
            except ValueError:
                raise ConfigurationError(
                    f"blend {spec!r}: the weight must be a number from 0 to 1, as in '{method}:0.3'"
                ) from None
    else:
        fields = dict(spec)
    try:
        return Blend(**fields)
    except ConfigurationError as error:
        raise ConfigurationError(f"blend {describe(spec)}: {error}") from None
    except TypeError as error:
        raise ConfigurationError(f"blend cannot be made from {describe(spec)}: {error}") from error


def _shrink(values: list[float]) -> list[float]:
    """Divide by the largest magnitude: both normalisations ignore scale, and nothing overflows."""
    largest = max(map(abs, values), default=0.0)
    return [value / largest for value in values] if largest else values


def _minmax(values: list[float]) -> list[float]:
    values = _shrink(values)
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]


def _zscore(values: list[float]) -> list[float]:
    # Equal values can differ from their own rounded mean, which must not look like a spread.
    if len(set(values)) < 2:
        return [0.0] * len(values)
    values = _shrink(values)
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / deviation if deviation else 0.0 for value in values]
