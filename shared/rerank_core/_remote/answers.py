"""Reading a service's answer: nothing in it is trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rerank_core._checks import describe
from rerank_core._errors import MalformedResponseError, NonFiniteScoreError
from rerank_core._types import Span
from rerank_core._usage import Usage

__all__ = ["Answer", "match_scores"]


class Answer(NamedTuple):
    """The scores of one request's texts, in the texts' order, and what they cost."""

    scores: list[float]
    usage: Usage
    spans: list[tuple[Span, ...]] | None = None


def match_scores(
    found: Sequence[tuple[object, object]], count: int, *, raw_scores: bool
) -> list[float]:
    """Put scores into the texts' order.

    Args:
        found: Pairs of an index and a score, as they came.
        count: How many texts there are.
        raw_scores: Whether a score may be any number, instead of from 0 to 1.

    Raises:
        MalformedResponseError: If an index is missing, double, or out of range, or a score is
            not a number of the kind expected.
        NonFiniteScoreError: If a score is NaN or infinite.
    """
    scores: dict[int, float] = {}
    for index, score in found:
        if isinstance(index, bool) or not isinstance(index, int):
            raise MalformedResponseError(f"a result's index is {describe(index)}")
        if not 0 <= index < count:
            raise MalformedResponseError(f"index {index} came back for {count} texts")
        if index in scores:
            raise MalformedResponseError(f"index {index} came back twice")
        scores[index] = _number(score, index, raw_scores)
    if len(scores) < count:
        missing = next(index for index in range(count) if index not in scores)
        raise MalformedResponseError(
            f"{len(scores)} scores came back for {count} texts; the first without one is {missing}"
        )
    return [scores[index] for index in range(count)]


def _number(score: object, index: int, raw_scores: bool) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise MalformedResponseError(f"the score of text {index} is {describe(score)}")
    try:
        number = float(score)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NonFiniteScoreError(f"the score of text {index} is {describe(score)}")
    if not raw_scores and not 0 <= number <= 1:
        raise MalformedResponseError(
            f"the score of text {index} is {score}, outside 0 to 1",
            hint="If the server sends logits, say so with raw_scores=True, or have it apply its "
            "sigmoid",
        )
    return number
