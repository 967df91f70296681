"""HTTP clients: one per process, one per event loop."""

from __future__ import annotations

import asyncio
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from rerank_core._remote.errors import current_exchange
from rerank_core._remote.keys import is_loopback, refuse_plain_http
from rerank_core._remote.loops import close_with_loop

if TYPE_CHECKING:
    import httpx

__all__ = ["Connections"]

S = TypeVar("S")
A = TypeVar("A")


# httpcore up to 1.0.9 never gives back a connection that is cancelled between its opening and its
# first request: so often may that have happened to a client before another takes its place.
_CANCELLATIONS = 20


class _Held(NamedTuple):
    client: Any
    http: Any


class _AsyncHeld:
    """A loop's client, and who uses it; only that loop's thread changes it."""

    def __init__(self, held: _Held) -> None:
        self.client, self.http = held
        self.users = 0
        self.cancellations = 0

    @property
    def worn_out(self) -> bool:
        return self.cancellations >= _CANCELLATIONS


class Connections(ABC, Generic[S, A]):
    """Makes clients at first use, and closes them.

    Needs no lock, so that a fork can never copy a held one: of two threads that make a client at
    once, the first to store it wins and the other closes its own.

    Args:
        url: Where requests go; a checked address.
        timeout: Seconds, as in `CohereScorer`.
        exact: Whether all requests go to that very address, whatever their maker thinks.
    """

    def __init__(self, url: str, timeout: float, *, exact: bool = False) -> None:
        self._url = url
        self._timeout = timeout
        self._exact = exact
        # A forked child must not share its parent's sockets, nor a loop another loop's.
        self._by_process: dict[int, _Held] = {}
        self._by_loop: dict[asyncio.AbstractEventLoop, _AsyncHeld] = {}

    @abstractmethod
    def _require(self) -> None:
        """Import what is needed, or raise `MissingExtraError`."""

    @abstractmethod
    def _wrap(self, http: httpx.Client) -> S:
        """Make what sends requests over a synchronous HTTP client."""

    @abstractmethod
    def _awrap(self, http: httpx.AsyncClient) -> A:
        """Make what sends requests over an asynchronous HTTP client."""

    def sync_client(self) -> S:
        """Return this process's client."""
        held = self._by_process.get(os.getpid())
        if held is None:
            made = self._make_sync()
            held = self._by_process.setdefault(os.getpid(), made)
            if held is made:
                weakref.finalize(self, made.http.close)
            else:
                made.http.close()
        client: S = held.client
        return client

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[A]:
        """Lend the running loop's client for one request; the loop's end closes it."""
        held = await self._open()
        held.users += 1
        try:
            yield held.client
        except asyncio.CancelledError:
            held.cancellations += 1
            raise
        finally:
            held.users -= 1
            if held.worn_out and not held.users:
                await held.http.aclose()

    async def prepare(self) -> None:
        """Have a client for the running loop, or raise what is in the way."""
        await self._open()

    async def _open(self) -> _AsyncHeld:
        loop = asyncio.get_running_loop()
        for known, held in list(self._by_loop.items()):
            if known.is_closed() or held.http.is_closed or (known is loop and held.worn_out):
                self._by_loop.pop(known, None)
        current = self._by_loop.get(loop)
        if current is None:
            # In a thread: importing an SDK and reading the certificates would block the loop.
            made = _AsyncHeld(await asyncio.to_thread(self._make_async))
            current = self._by_loop.setdefault(loop, made)
            if current is made:
                await close_with_loop(made.http, self)
            else:
                await made.http.aclose()
        return current

    def close(self) -> None:
        """Close this process's client."""
        held = self._by_process.pop(os.getpid(), None)
        if held is not None:
            held.http.close()

    async def aclose(self) -> None:
        """Close this process's client and the running loop's."""
        self.close()
        held = self._by_loop.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held.http.aclose()

    # The hooks must not hold these connections: the clients live until those are gone.

    def _make_sync(self) -> _Held:
        self._require()
        import httpx

        target = httpx.URL(self._url) if self._exact else None
        timeout = self._timeout

        def on_request(request: httpx.Request) -> None:
            _check(request, target)

        def on_response(response: httpx.Response) -> None:
            _note(response, timeout)

        http = httpx.Client(
            **self._options(), event_hooks={"request": [on_request], "response": [on_response]}
        )
        return _Held(self._wrap(http), http)

    def _make_async(self) -> _Held:
        self._require()
        import httpx

        target = httpx.URL(self._url) if self._exact else None
        timeout = self._timeout

        async def on_request(request: httpx.Request) -> None:
            _check(request, target)

        async def on_response(response: httpx.Response) -> None:
            _note(response, timeout)

        http = httpx.AsyncClient(
            **self._options(), event_hooks={"request": [on_request], "response": [on_response]}
        )
        return _Held(self._awrap(http), http)

    def _options(self) -> dict[str, Any]:
        parts = urlsplit(self._url)
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        return {
            "timeout": self._timeout,
            "headers": {"Accept-Encoding": "identity"},  # see bounds.py
            "follow_redirects": False,
            # A proxy from the environment would carry the key off this machine unencrypted.
            "trust_env": not local,
        }


def _check(request: httpx.Request, target: httpx.URL | None) -> None:
    """Check where the key really goes, just before it goes; without a key, send no header."""
    if target is not None:
        request.url = target
    key = request.headers.get("authorization", "").removeprefix("Bearer").strip()
    if not key:
        # Without a key some SDKs write "Bearer ", which is no header that can be sent.
        request.headers.pop("authorization", None)
        return
    watched = current_exchange()
    if watched is not None:
        watched.secret = key
    refuse_plain_http(request.url.scheme, request.url.host)


def _note(response: httpx.Response, seconds: float) -> None:
    from rerank_core._remote.bounds import bound_body

    bound_body(response, seconds)
    watched = current_exchange()
    if watched is not None:
        watched.headers = response.headers
