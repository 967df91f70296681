"""Reading the service's answer: nothing in it is trusted, the SDK validates none of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from rerank_core.errors import MalformedResponseError, NonFiniteScoreError
from rerank_core.types import Span, Usage
from rerank_core.validation import describe

__all__ = ["Answer", "read_answer"]


class Answer(NamedTuple):
    """The scores of one request's texts, in the texts' order, and what they cost."""

    scores: list[float]
    spans: list[Span | None]
    usage: Usage


def read_answer(response: Any, texts: Sequence[str], request_id: str | None = None) -> Answer:
    """Match the results to the texts by their index.

    Args:
        response: What the SDK returned.
        texts: The texts of the request.
        request_id: For error messages; the answer's own id if None.

    Raises:
        MalformedResponseError: If an index is missing, double, or out of range, a score is not
            a number from 0 to 1, or a span does not lie within its text.
        NonFiniteScoreError: If a score is NaN or infinite.
    """
    if request_id is None and isinstance(getattr(response, "id", None), str):
        request_id = response.id
    try:
        scores, spans = _read_results(getattr(response, "results", None), texts)
    except (MalformedResponseError, NonFiniteScoreError) as error:
        error.provider, error.request_id = "cohere", request_id
        raise
    meta = getattr(response, "meta", None)
    billed = _amounts(getattr(meta, "billed_units", None))
    read = _amounts(getattr(meta, "tokens", None))
    tokens = read.get("input_tokens", billed.get("input_tokens", 0))
    usage = Usage(pairs=len(texts), tokens=int(tokens), billed_units=billed)
    return Answer(scores, spans, usage)


def _read_results(results: object, texts: Sequence[str]) -> tuple[list[float], list[Span | None]]:
    if not isinstance(results, list):
        raise MalformedResponseError(f"the answer's results are {describe(results)}, not a list")
    scores: dict[int, float] = {}
    spans: list[Span | None] = [None] * len(texts)
    for result in results:
        index = getattr(result, "index", None)
        if isinstance(index, bool) or not isinstance(index, int):
            raise MalformedResponseError(f"a result's index is {describe(index)}")
        if not 0 <= index < len(texts):
            raise MalformedResponseError(f"index {index} came back for {len(texts)} texts")
        if index in scores:
            raise MalformedResponseError(f"index {index} came back twice")
        scores[index] = _read_score(getattr(result, "relevance_score", None), index)
        spans[index] = _read_span(getattr(result, "relevant_spans", None), texts[index], index)
    if len(scores) < len(texts):
        missing = next(index for index in range(len(texts)) if index not in scores)
        raise MalformedResponseError(
            f"{len(scores)} scores came back for {len(texts)} texts; the first without one is "
            f"{missing}"
        )
    return [scores[index] for index in range(len(texts))], spans


def _read_score(score: object, index: int) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise MalformedResponseError(f"the score of text {index} is {describe(score)}")
    if not math.isfinite(score):
        raise NonFiniteScoreError(f"the score of text {index} is {score}")
    if not 0 <= score <= 1:
        raise MalformedResponseError(
            f"the score of text {index} is {score}, outside 0 to 1",
            hint="A self-hosted server must apply its sigmoid; see its setting for raw scores",
        )
    return float(score)


def _read_span(spans: object, text: str, index: int) -> Span | None:
    """Take the first span: the service orders them from most to least relevant."""
    if not spans:
        return None
    first = spans[0] if isinstance(spans, list) else None
    start, end = getattr(first, "start", None), getattr(first, "end", None)
    # The service counts in Unicode code points, as Python does.
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise MalformedResponseError(
            f"the span of text {index} runs from {describe(start)} to {describe(end)}, but the "
            f"text has {len(text)} characters"
        )
    return Span(start, end)


def _amounts(units: Any) -> dict[str, float]:
    """Keep what is a count, by the service's own name; Bedrock says -1 for "unknown"."""
    try:
        items = dict(units or {}).items()
    except (TypeError, ValueError):
        return {}
    return {
        str(name): float(amount)
        for name, amount in items
        if isinstance(amount, int | float)
        and not isinstance(amount, bool)
        and 0 <= amount < math.inf
    }
