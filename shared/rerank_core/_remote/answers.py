"""Reading a service's answer: nothing in it is trusted, neither its size nor its values."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rerank_core._checks import describe
from rerank_core._errors import MalformedResponseError, NonFiniteScoreError
from rerank_core._types import Span

if TYPE_CHECKING:
    import httpx

__all__ = ["aread_body", "counts", "match_scores", "read_body", "read_spans"]

# A thousand results with their texts sent back, as some services do, stay far below the first.
_MAX_BYTES = 64 * 2**20
# We ask for no compression; what comes compressed all the same can grow a thousandfold.
_MAX_COMPRESSED = 2**20


def read_body(response: httpx.Response, seconds: float) -> httpx.Response:
    """Read the body of a response that is being received, within limits.

    Args:
        response: The response, of which only the head has been read.
        seconds: Time for the body, from now to its end.

    Returns:
        The same response with its body.

    Raises:
        MalformedResponseError: If the body is too large.
        httpx.ReadTimeout: If its end does not come in time.
    """
    limits = _Limits(response, seconds)
    return _with_body(response, [limits.check(piece) for piece in response.iter_raw()])


async def aread_body(response: httpx.Response, seconds: float) -> httpx.Response:
    """Read the body of an asynchronous response, as `read_body` does."""
    limits = _Limits(response, seconds)
    return _with_body(response, [limits.check(piece) async for piece in response.aiter_raw()])


class _Limits:
    """Limits of a body: a service must not fill the memory, nor send for ever."""

    def __init__(self, response: httpx.Response, seconds: float) -> None:
        encoding = response.headers.get("content-encoding", "identity")
        self._bytes = _MAX_BYTES if encoding == "identity" else _MAX_COMPRESSED
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._read = 0

    def check(self, piece: bytes) -> bytes:
        self._read += len(piece)
        if self._read > self._bytes:
            raise MalformedResponseError(f"the answer is over {self._bytes / 2**20:g} MiB")
        if time.monotonic() > self._end:
            import httpx

            raise httpx.ReadTimeout(f"the answer took over {self._seconds:g} s to arrive")
        return piece


def _with_body(response: httpx.Response, pieces: Iterable[bytes]) -> httpx.Response:
    return type(response)(
        response.status_code,
        headers=response.headers,
        content=b"".join(pieces),
        request=response.request,
    )


def match_scores(results: object, count: int, score: str, *, raw_scores: bool) -> tuple[float, ...]:
    """Return scores in the order of the texts.

    Args:
        results: A list of JSON objects, or of an SDK's, as they came; each has an ``index`` and a
            score.
        count: Number of texts.
        score: Name of the score.
        raw_scores: Whether a score may be any number, instead of from 0 to 1.

    Raises:
        MalformedResponseError: If it is no list, an index is missing, double, or out of range, or
            a score is not a number of the kind expected.
        NonFiniteScoreError: If a score is NaN or infinite.
    """
    if not isinstance(results, list):
        raise MalformedResponseError(f"the results are {describe(results)}, not a list")
    scores: dict[int, float] = {}
    for item in results:
        result = item if isinstance(item, Mapping) else getattr(item, "__dict__", {"index": item})
        index = result.get("index")
        if isinstance(index, bool) or not isinstance(index, int):
            raise MalformedResponseError(f"a result's index is {describe(index)}")
        if not 0 <= index < count:
            raise MalformedResponseError(f"index {index} came back for {count} texts")
        if index in scores:
            raise MalformedResponseError(f"index {index} came back twice")
        scores[index] = _number(result.get(score), index, raw_scores)
    if len(scores) < count:
        missing = next(index for index in range(count) if index not in scores)
        raise MalformedResponseError(
            f"{len(scores)} scores came back for {count} texts; the first without one is {missing}"
        )
    return tuple(scores[index] for index in range(count))


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


def counts(amounts: Any) -> dict[str, float]:
    """Return the numbers of at least 0 in what a service says of its use, by its own names.

    Args:
        amounts: A mapping or an SDK's object, as it came; anything else holds none.
    """
    try:
        items = dict(amounts or {}).items()
    except (TypeError, ValueError):
        return {}
    return {
        str(name): float(amount)
        for name, amount in items
        if isinstance(amount, int | float)
        and not isinstance(amount, bool)
        and 0 <= amount < math.inf
    }


def read_spans(spans: Any, text: str, index: int) -> tuple[Span, ...]:
    """Return the spans of a text, each an object with ``start``, ``end`` and perhaps ``score``.

    Args:
        spans: The list as it came, best first; None or an empty list if there are none.
        text: The text.
        index: Its position among the texts of the request, for errors.

    Raises:
        MalformedResponseError: If it is no list, or a span does not lie within the text.
    """
    if spans and not isinstance(spans, list):
        raise MalformedResponseError(f"the spans of text {index} are {describe(spans)}, not a list")
    checked = []
    for span in spans or []:
        start, end, score = (getattr(span, name, None) for name in ("start", "end", "score"))
        # The service counts in Unicode code points, as Python does.
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
            raise MalformedResponseError(
                f"a span of text {index} runs from {describe(start)} to {describe(end)}, but the "
                f"text has {len(text)} characters"
            )
        known = isinstance(score, float) and math.isfinite(score)
        checked.append(Span(start, end, score if known else None))
    return tuple(checked)
