"""HTTP connections: one client for each process and each event loop; where a key may go."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from rerank_core._errors import ConfigurationError
from rerank_core._remote.answers import aread_body, read_body

if TYPE_CHECKING:
    import httpx

    from rerank_core._remote.errors import Exchange

__all__ = ["Connections", "is_loopback", "refuse_plain_http"]

# httpcore up to 1.0.9 never gives back a connection that is cancelled between its opening and its
# first request: after so many cancellations another client takes the place of the first.
_CANCELLATIONS = 20


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine: localhost, 127.0.0.0/8, ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refuse_plain_http(scheme: str, host: str) -> None:
    """Raise an error unless a key may go to this address.

    Raises:
        ConfigurationError: If others on the way could read the key.
    """
    if scheme != "https" and not is_loopback(host):
        raise ConfigurationError(
            f"a key would go to {host!r} over plain http, where others can read it; use an "
            "https base_url, or api_key=False if that server needs no key"
        )


class SharedClient:
    """A loop's client and its users; only that loop's thread changes it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.users = 0
        self.cancellations = 0

    @property
    def worn_out(self) -> bool:
        return self.cancellations >= _CANCELLATIONS


class Connections:
    """HTTP clients, opened at first use.

    Needs no lock, so that a fork can never copy a held one: of two threads that open a client at
    once, the first to store it wins and the other closes its own.

    Args:
        url: Address of the service, checked.
        timeout: Seconds, as in `HttpScorer`.
        require: Imports what is needed; it must not hold this object, whose clients live until it
            is gone.
    """

    def __init__(self, url: str, timeout: float, require: Callable[[], None]) -> None:
        self._url = url
        self._timeout = timeout
        self._require = require
        # A forked child must not share its parent's sockets, nor a loop another loop's.
        self._by_process: dict[int, httpx.Client] = {}
        self._by_loop: dict[asyncio.AbstractEventLoop, SharedClient] = {}

    def __reduce__(self) -> tuple[type[Connections], tuple[Any, ...]]:
        return type(self), (self._url, self._timeout, self._require)

    def send(self, exchange: Exchange) -> httpx.Response:
        """Send a request, and return its answer whatever its status.

        Raises:
            ConfigurationError: If the key would go over plain http.
            MalformedResponseError: If the answer is too large.
            httpx.HTTPError: If there is no answer in time.
        """
        with self.client().stream(**_arguments(exchange)) as response:
            exchange.headers = response.headers
            return read_body(response, self._timeout, exchange.max_bytes)

    async def asend(self, exchange: Exchange) -> httpx.Response:
        """Send a request with the running loop's client, as `send` does."""
        request = _arguments(exchange)
        async with self._lend() as http, http.stream(**request) as response:
            exchange.headers = response.headers
            return await aread_body(response, self._timeout, exchange.max_bytes)

    def client(self) -> httpx.Client:
        """Return this process's client."""
        client = self._by_process.get(os.getpid())
        if client is None:
            self._require()
            import httpx

            opened = httpx.Client(**self._options())
            client = self._by_process.setdefault(os.getpid(), opened)
            if client is opened:
                weakref.finalize(self, opened.close)
            else:
                opened.close()
        return client

    async def aopen(self) -> SharedClient:
        """Return the running loop's client, opened if need be."""
        loop = asyncio.get_running_loop()
        for known, shared in list(self._by_loop.items()):
            if known.is_closed() or shared.http.is_closed or (known is loop and shared.worn_out):
                self._by_loop.pop(known, None)
        current = self._by_loop.get(loop)
        if current is None:
            # In a thread: importing an SDK and reading the certificates would block the loop.
            opened = SharedClient(await asyncio.to_thread(self._open_async))
            current = self._by_loop.setdefault(loop, opened)
            if current is opened:
                await _close_with_loop(opened.http, self)
            else:
                await opened.http.aclose()
        return current

    @asynccontextmanager
    async def _lend(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield the running loop's client for one request; the end of the loop closes it."""
        shared = await self.aopen()
        shared.users += 1
        try:
            yield shared.http
        except asyncio.CancelledError:
            shared.cancellations += 1
            raise
        finally:
            shared.users -= 1
            if shared.worn_out and not shared.users:
                await shared.http.aclose()

    def _open_async(self) -> httpx.AsyncClient:
        self._require()
        import httpx

        return httpx.AsyncClient(**self._options())

    def _options(self) -> dict[str, Any]:
        parts = urlsplit(self._url)
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        return {
            "timeout": self._timeout,
            "headers": {"Accept-Encoding": "identity"},  # see answers.py
            "follow_redirects": False,
            # A proxy from the environment would carry the key off this machine unencrypted.
            "trust_env": not local,
        }

    def close(self) -> None:
        """Close this process's client."""
        if client := self._by_process.pop(os.getpid(), None):
            client.close()

    async def aclose(self) -> None:
        """Close this process's client and the running loop's."""
        self.close()
        if shared := self._by_loop.pop(asyncio.get_running_loop(), None):
            await shared.http.aclose()


def _arguments(exchange: Exchange) -> dict[str, Any]:
    """Return the arguments of ``httpx.Client.stream``, once the key may go where it is to go."""
    import httpx

    url = httpx.URL(exchange.url)
    if exchange.key:
        refuse_plain_http(url.scheme, url.host)
    method = "GET" if exchange.body is None else "POST"
    headers = exchange.request_headers
    return {"method": method, "url": url, "json": exchange.body, "headers": headers}


_Owners: TypeAlias = "dict[httpx.AsyncClient, weakref.ref[object]]"

# The generator is kept, as it ends with its loop.
_loops: dict[asyncio.AbstractEventLoop, tuple[_Owners, AsyncGenerator[None, None]]] = {}


async def _close_with_loop(http: httpx.AsyncClient, owner: object) -> None:
    """Have a client closed when the running loop shuts down, as ``asyncio.run`` does at its end.

    A client whose owner is gone is closed when the next one is handed over. Closing it at once,
    when the garbage collector finds it, would start a task that a loop about to end cuts short.

    Args:
        http: The client; closing it earlier is fine.
        owner: The object that uses it; not kept alive.
    """
    loop = asyncio.get_running_loop()
    for known in [known for known in list(_loops) if known.is_closed()]:
        _loops.pop(known, None)  # closed without a shutdown: nothing can be awaited there
    if loop not in _loops:
        opened: _Owners = {}
        keeper = _close_at_end(loop, opened)
        # A loop shuts down the generators that were started in it: the hook to its end.
        await anext(keeper)
        _loops[loop] = opened, keeper
    owners, _ = _loops[loop]
    owners[http] = weakref.ref(owner)
    for other, its_owner in list(owners.items()):
        if other.is_closed or its_owner() is None:
            del owners[other]
            await other.aclose()


async def _close_at_end(
    loop: asyncio.AbstractEventLoop, owners: _Owners
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        _loops.pop(loop, None)
        for http in list(owners):
            await http.aclose()
