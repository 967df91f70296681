"""Calls that the tests of `CohereScorer` and `TeiScorer` share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from rerank_core import HttpScorer, Scorer, ScorerError, Scoring

KEY = "sk-test-0123456789"
QUERY = "solar panel cost"
TEXTS = ["a panel", "solar panel cost", "nothing", "solar cost", ""]
SCORES = (1 / 3, 1.0, 0.0, 2 / 3, None)  # what the stand-in server gives them


def run(scorer: Scorer, mode: str, query: str = "a", texts: Sequence[str] = ("a", "b")) -> Scoring:
    if mode == "score":
        return scorer.score(query, texts)
    return asyncio.run(scorer.ascore(query, texts))


def failure(scorer: HttpScorer, mode: str, provider: str | None = None) -> ScorerError:
    with pytest.raises(ScorerError) as caught:
        run(scorer, mode)
    assert caught.value.provider == (provider or scorer.provider)
    return caught.value


def numbered(count: int) -> tuple[str, list[str], tuple[float, ...]]:
    """A query and texts whose scores tell them apart: text i holds i % 101 of 100 words."""
    words = [f"w{i}" for i in range(100)]
    texts = [f"id{i} " + " ".join(words[: i % 101]) for i in range(count)]
    return " ".join(words), texts, tuple((i % 101) / 100 for i in range(count))
