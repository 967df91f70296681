"""More texts than one request should hold: cutting them up, and putting the answers together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from rerank_core.scorer import Progress, stopped
from rerank_core.scorers.cohere._response import Answer
from rerank_core.types import Scoring, Span, Usage

__all__ = ["Tally", "chunks"]

# "We recommend against sending more than 1,000 documents in a single request":
# https://docs.cohere.com/reference/rerank
_MAX_TEXTS = 1000


def chunks(texts: Sequence[str]) -> list[tuple[int, Sequence[str]]]:
    """Cut into pieces of about equal size, each with the position of its first text."""
    count = math.ceil(len(texts) / _MAX_TEXTS)
    bounds = [len(texts) * piece // count for piece in range(count + 1)]
    return [(start, texts[start:end]) for start, end in pairwise(bounds)]


class Tally:
    """Puts the answers of several requests together, in whatever order they come."""

    def __init__(self, texts: Sequence[str], progress: Progress) -> None:
        self._progress = progress
        self._scores: list[float | None] = [None] * len(texts)
        self._spans: list[Span | None] = [None] * len(texts)
        self._usage = Usage()

    def add(self, start: int, answer: Answer, *, requests: int) -> None:
        """Add the answer for the texts from `start` on, which took so many requests."""
        end = start + len(answer.scores)
        self._scores[start:end] = answer.scores
        self._spans[start:end] = answer.spans
        self._usage += answer.usage + Usage(requests=requests)
        self._progress(self._usage.pairs, len(self._scores))

    def scoring(self, *, with_spans: bool) -> Scoring:
        """Return what there is; texts without an answer have no score."""
        done, total = self._usage.pairs, len(self._scores)
        return Scoring(
            tuple(self._scores),
            self._usage,
            None if done == total else stopped(done, total),
            tuple(self._spans) if with_spans else None,
        )
