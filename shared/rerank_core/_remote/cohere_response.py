"""Reading the answers of Cohere and of those who speak like it; their SDK validates nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rerank_core._checks import describe
from rerank_core._errors import MalformedResponseError
from rerank_core._remote.answers import Answer, match_scores
from rerank_core._types import Span
from rerank_core._usage import Usage

__all__ = ["read_answer"]


def read_answer(response: Any, texts: Sequence[str], *, raw_scores: bool = False) -> Answer:
    """Match the results to the texts by their index.

    Args:
        response: What the SDK returned.
        texts: The texts of the request.
        raw_scores: Whether a score may be any number, instead of from 0 to 1.

    Raises:
        MalformedResponseError: If the results do not fit the texts, or a span does not lie
            within its text.
        NonFiniteScoreError: If a score is NaN or infinite.
    """
    results = getattr(response, "results", None)
    if not isinstance(results, list):
        raise MalformedResponseError(f"the answer's results are {describe(results)}, not a list")
    found = [(getattr(r, "index", None), getattr(r, "relevance_score", None)) for r in results]
    scores = match_scores(found, len(texts), raw_scores=raw_scores)
    spans: list[tuple[Span, ...]] = [()] * len(texts)
    for result in results:
        index = result.index
        spans[index] = _read_spans(getattr(result, "relevant_spans", None), texts[index], index)
    meta = getattr(response, "meta", None)
    billed = _amounts(getattr(meta, "billed_units", None))
    usage = Usage(pairs=len(texts), tokens=_tokens(response, billed), billed_units=billed)
    return Answer(scores, usage, spans)


def _tokens(response: Any, billed: dict[str, float]) -> int:
    """Find the tokens read: Cohere and LiteLLM have them in ``meta``, the others in ``usage``."""
    read = _amounts(getattr(getattr(response, "meta", None), "tokens", None))
    used = _amounts(getattr(response, "usage", None))
    for amounts, name in (
        (read, "input_tokens"),
        (billed, "input_tokens"),
        (billed, "total_tokens"),
        (used, "total_tokens"),
        (used, "prompt_tokens"),
    ):
        if name in amounts:
            return int(amounts[name])
    return 0


def _read_spans(spans: object, text: str, index: int) -> tuple[Span, ...]:
    """Check the spans of one text; the service orders them from most to least relevant."""
    if not spans:
        return ()
    if not isinstance(spans, list):
        raise MalformedResponseError(f"the spans of text {index} are {describe(spans)}, not a list")
    return tuple(_read_span(span, text, index) for span in spans)


def _read_span(span: object, text: str, index: int) -> Span:
    start, end = getattr(span, "start", None), getattr(span, "end", None)
    # The service counts in Unicode code points, as Python does.
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise MalformedResponseError(
            f"a span of text {index} runs from {describe(start)} to {describe(end)}, but the "
            f"text has {len(text)} characters"
        )
    score = getattr(span, "score", None)
    known = isinstance(score, float) and math.isfinite(score)
    return Span(start, end, score if known else None)


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
