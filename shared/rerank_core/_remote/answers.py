"""Reading a service's answer: nothing in it is trusted, neither its size nor its values."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rerank_core._errors import MalformedResponseError, NonFiniteScoreError
from rerank_core._types import Span

if TYPE_CHECKING:
    import httpx

__all__ = [
    "counts",
    "largest_answer",
    "match_scores",
    "read_body",
    "read_field",
    "read_spans",
]

_MOST_BYTES = 64 * 2**20
# A text that is sent back may look like a value at each character: nothing parses it to tell.
_BYTES_A_VALUE = 16
# zlib's window bits; "deflate" is the zlib format, but some servers send it without its header.
_WINDOW_BITS = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}
_MOST_COUNT = 10**15  # above it is no count, and arithmetic with it overflows


def largest_answer(*texts: str) -> int:
    """Return how many bytes an answer may have.

    Parsing holds Python's lock, for up to 0.1 s a MiB, so that an answer must not be much larger
    than its request explains. It may hold one JSON value for every 16 bytes that it may have.

    Args:
        *texts: The query and the texts of the request. A service may send them back, each
            character in up to 12 bytes, with a score and spans for each text.
    """
    characters = sum(map(len, texts))
    return min(2**18 + 2**11 * len(texts) + _BYTES_A_VALUE * characters, _MOST_BYTES)


async def read_body(response: httpx.Response, limit: int) -> httpx.Response:
    """Read the body of a response that is being received, within a limit.

    One gzip or deflate is decoded, though none is asked for. An error's body that is too large or
    encoded in another way is left out: its status says enough.

    Args:
        response: The response, of which only the head has been read.
        limit: Most bytes, both as they come and decoded.

    Returns:
        The same response with its body.

    Raises:
        MalformedResponseError: If the body is too large, or encoded in another way.
    """
    body = _Body(response, limit)
    with suppress(*body.tolerated):
        body.begin()
        async for piece in response.aiter_raw():
            body.add(piece)
        body.end()
    return body.response()


class _Body:
    """A body that is being read: a service must not fill the memory."""

    def __init__(self, response: httpx.Response, limit: int) -> None:
        named = response.headers.get("content-encoding", "").lower().split(",")
        self._encodings = [name.strip() for name in named if name.strip() not in ("", "identity")]
        self._head = response
        self._limit = limit
        self._pieces: list[bytes] = []
        self._read = 0
        self._content = b""
        self.tolerated = () if response.is_success else (MalformedResponseError,)

    def begin(self) -> None:
        if self._encodings and (len(self._encodings) > 1 or self._encodings[0] not in _WINDOW_BITS):
            raise MalformedResponseError(
                f"the answer is encoded as {', '.join(self._encodings)}, which is not read",
                hint="Have the server or the gateway before it send no compression, which is what "
                "is asked for, or gzip",
            )
        length = self._head.headers.get("content-length", "0")
        if length.isdecimal() and (len(length) > 15 or int(length) > self._limit):
            raise self._too_large()

    def add(self, piece: bytes) -> None:
        self._read += len(piece)
        if self._read > self._limit:
            raise self._too_large()
        self._pieces.append(piece)

    def end(self) -> None:
        content = b"".join(self._pieces)
        self._pieces.clear()
        content = self._decoded(content) if content and self._encodings else content
        # Each JSON value begins a list or an object, or comes after one of these.
        if sum(map(content.count, (b"[", b"{", b","))) > self._limit // _BYTES_A_VALUE:
            raise MalformedResponseError("the answer holds more values than its request explains")
        self._content = content

    def _decoded(self, content: bytes) -> bytes:
        for bits in _WINDOW_BITS[self._encodings[0]]:
            decoder = zlib.decompressobj(bits)
            try:
                decoded = decoder.decompress(content, self._limit + 1)
            except zlib.error:
                continue
            if len(decoded) > self._limit:
                raise self._too_large()
            if decoder.eof and not decoder.unused_data:
                return decoded
        raise MalformedResponseError(f"the answer is no valid {self._encodings[0]}")

    def _too_large(self) -> MalformedResponseError:
        return MalformedResponseError(
            f"the answer is over {self._limit / 2**20:.3g} MiB, more than its request explains"
        )

    def response(self) -> httpx.Response:
        """Return the response with what has been read."""
        described = (b"content-encoding", b"content-length", b"transfer-encoding")  # as it was sent
        whole = type(self._head)(
            self._head.status_code,
            headers=[item for item in self._head.headers.raw if item[0].lower() not in described],
            content=self._content,
            request=self._head.request,
        )
        # JSON is UTF-8; other codecs are slow or raise errors of their own.
        whole.encoding = "utf-8"
        return whole


def match_scores(results: object, count: int, score: str, *, raw_scores: bool) -> tuple[float, ...]:
    """Return scores in the order of the texts.

    Args:
        results: A list of JSON objects, or of an SDK's, as they came; each has an ``index``, which
            must be a JSON integer, and a score, which must be a number.
        count: Number of texts.
        score: Name of the score.
        raw_scores: Whether a score may be any number, instead of from 0 to 1.

    Raises:
        MalformedResponseError: If it is no list, an index is missing, double, or out of range, or
            a score is not a number of the kind expected.
        NonFiniteScoreError: If a score is NaN or infinite.
    """
    if not isinstance(results, list):
        raise MalformedResponseError(f"the results are {_shown(results)}, not a list")
    if len(results) > count:
        raise MalformedResponseError(f"{len(results)} scores came back for {count} texts")
    scores: dict[int, float] = {}
    for result in results:
        index = read_field(result, "index")
        if type(index) is not int:
            found = f"a result's index is {_shown(index)}"
            raise MalformedResponseError(f"{found}, not an integer: {_shown(result)}")
        if not 0 <= index < count:
            raise MalformedResponseError(f"index {index} came back for {count} texts")
        if index in scores:
            raise MalformedResponseError(f"index {index} came back twice")
        scores[index] = _number(read_field(result, score), index, raw_scores)
    if len(scores) < count:
        missing = next(index for index in range(count) if index not in scores)
        raise MalformedResponseError(
            f"{len(scores)} scores came back for {count} texts; the first without one is {missing}"
        )
    return tuple(scores[index] for index in range(count))


def _number(score: object, index: int, raw_scores: bool) -> float:
    number = _finite(score)
    if number is None:
        kind = NonFiniteScoreError if type(score) in (int, float) else MalformedResponseError
        raise kind(f"the score of text {index} is {_shown(score)}")
    if not raw_scores and not 0 <= number <= 1:
        raise MalformedResponseError(
            f"the score of text {index} is {score}, outside 0 to 1",
            hint="If the server sends logits, say so with raw_scores=True, or have it apply its "
            "sigmoid",
        )
    return number


def counts(amounts: Any) -> dict[str, float]:
    """Return the counts in what a service says of its use, by its own names.

    Args:
        amounts: A mapping or an SDK's object, as it came; anything else holds none.
    """
    try:
        items = dict(amounts or {}).items()
    except (TypeError, ValueError):
        return {}
    known = ((str(name), _finite(amount)) for name, amount in items)
    return {name: n for name, n in known if n is not None and 0 <= n < _MOST_COUNT}


def read_spans(spans: Any, text: str, index: int) -> tuple[Span, ...]:
    """Return the spans of a text, each with ``start``, ``end`` and perhaps ``score``.

    Args:
        spans: The list as it came, best first; None or an empty list if there are none.
        text: The text.
        index: Its position among the texts of the request, for errors.

    Raises:
        MalformedResponseError: If it is no list, or a span does not lie within the text.
    """
    if spans and not isinstance(spans, list):
        raise MalformedResponseError(f"the spans of text {index} are {_shown(spans)}, not a list")
    checked = []
    for span in spans or []:
        start, end = read_field(span, "start"), read_field(span, "end")
        # The service counts in Unicode code points, as Python does.
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
            raise MalformedResponseError(
                f"a span of text {index} runs from {_shown(start)} to {_shown(end)}, but the "
                f"text has {len(text)} characters"
            )
        checked.append(Span(start, end, _finite(read_field(span, "score"))))
    return tuple(checked)


def read_field(item: object, name: str) -> Any:
    """Return a field of a JSON object or of an SDK's; None where it has none."""
    if isinstance(item, Mapping):
        return item.get(name)
    return getattr(item, name, None) if hasattr(item, "__dict__") else None  # a str has an "index"


def _finite(value: object) -> float | None:
    """Return a JSON number as a float; None where it is none, not finite, or beyond any float."""
    try:
        number = float(value) if type(value) in (int, float) else math.nan  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    """Describe a value whole: whoever knows the key removes it before the rest is cut."""
    return f"{value!r} ({type(value).__name__})"
