"""Bounds of an answer's body: a service must not fill the memory, nor send for ever."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import cast

import httpx

from rerank_core._errors import MalformedResponseError

__all__ = ["bound_body"]

# A thousand results with their texts sent back, as some services do, stay far below the first.
_MOST_BYTES = 64 * 2**20
# We ask for no compression; what comes compressed all the same can grow a thousandfold.
_MOST_COMPRESSED = 2**20


def bound_body(response: httpx.Response, seconds: float) -> None:
    """Limit the bytes of a body that is yet to be read, and the seconds from now to its end.

    Reading it raises `MalformedResponseError` or ``httpx.ReadTimeout`` beyond that.
    """
    encoding = response.headers.get("content-encoding", "identity")
    limit = _MOST_BYTES if encoding == "identity" else _MOST_COMPRESSED
    response.stream = _Bounded(response, limit, seconds)


class _Bounded(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body within its bounds."""

    def __init__(self, response: httpx.Response, limit: int, seconds: float) -> None:
        self._stream = response.stream
        self._request = response.request
        self._limit = limit
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._read = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in cast(httpx.SyncByteStream, self._stream):
            self._check(piece)
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in cast(httpx.AsyncByteStream, self._stream):
            self._check(piece)
            yield piece

    def close(self) -> None:
        cast(httpx.SyncByteStream, self._stream).close()

    async def aclose(self) -> None:
        await cast(httpx.AsyncByteStream, self._stream).aclose()

    def _check(self, piece: bytes) -> None:
        self._read += len(piece)
        if self._read > self._limit:
            raise MalformedResponseError(f"the answer is over {self._limit / 2**20:g} MiB")
        if time.monotonic() > self._end:
            raise httpx.ReadTimeout(
                f"the answer took over {self._seconds:g} s to arrive", request=self._request
            )
