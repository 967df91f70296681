"""More texts than one request should hold: cutting them up, and putting the answers together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from rerank_core.scorer import Progress
from rerank_core.scorers.cohere._response import Answer
from rerank_core.types import Scoring, Usage

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
        self._total = len(texts)
        self._progress = progress
        self._answers: dict[int, Answer] = {}
        self._usage = Usage()

    def add(self, start: int, answer: Answer, *, requests: int) -> None:
        """Add the answer for the texts from `start` on, which took so many requests."""
        self._answers[start] = answer
        self._usage += answer.usage + Usage(requests=requests)
        self._progress(self._usage.pairs, self._total)

    def scoring(self, *, with_spans: bool) -> Scoring:
        """Return the whole."""
        answers = [self._answers[start] for start in sorted(self._answers)]
        scores = tuple(score for answer in answers for score in answer.scores)
        spans = tuple(span for answer in answers for span in answer.spans)
        return Scoring(scores, self._usage, spans=spans if with_spans else None)
