"""More texts than one request should hold: cutting them up, and putting the answers together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from rerank_core.prices import Prices
from rerank_core.scorer import Progress, stopped
from rerank_core.scorers._http.answer import Answer
from rerank_core.types import Scoring, Span, Usage

__all__ = ["Tally", "chunks"]


def chunks(texts: Sequence[str], limit: int) -> list[tuple[int, Sequence[str]]]:
    """Cut into pieces of about equal size, each with the position of its first text."""
    count = math.ceil(len(texts) / limit)
    bounds = [len(texts) * piece // count for piece in range(count + 1)]
    return [(start, texts[start:end]) for start, end in pairwise(bounds)]


class Tally:
    """Puts the answers of several requests together, in whatever order they come.

    Attributes:
        usage: What it cost so far.
    """

    def __init__(self, texts: Sequence[str], progress: Progress, prices: Prices | None) -> None:
        self._progress = progress
        self._prices = prices
        self._scores: list[float | None] = [None] * len(texts)
        self._spans: list[Span | None] | None = None
        self.usage = Usage()

    def count_request(self) -> None:
        """Count a request that is about to be sent."""
        self.usage += Usage(requests=1)

    def add(self, start: int, answer: Answer) -> None:
        """Add the answer for the texts from `start` on."""
        end = start + len(answer.scores)
        self._scores[start:end] = answer.scores
        if answer.spans is not None:
            self._spans = self._spans or [None] * len(self._scores)
            self._spans[start:end] = answer.spans
        cost = None if self._prices is None else self._prices.cost(answer.usage)
        self.usage += replace(answer.usage, cost=cost)
        self._progress(self.usage.pairs, len(self._scores))

    def scoring(self) -> Scoring:
        """Return what there is; texts without an answer have no score."""
        done, total = self.usage.pairs, len(self._scores)
        return Scoring(
            tuple(self._scores),
            self.usage,
            None if done == total else stopped(done, total),
            None if self._spans is None else tuple(self._spans),
        )
