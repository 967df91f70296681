"""HTTP connections: one client of a scorer for each process; where a key may go."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import ssl
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rerank_core._background import requests
from rerank_core._concurrency import in_thread
from rerank_core._errors import ConfigurationError
from rerank_core._remote.answers import read_body
from rerank_core._remote.gate import Gate, admission, request_gate

if TYPE_CHECKING:
    import httpx

    from rerank_core._remote.errors import Exchange

__all__ = ["Connections", "is_loopback", "refuse_plain_http"]

_MAX_CONNECTIONS = 100  # of one scorer at a time; further requests wait
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


class _Client:
    """An HTTP client and its users; only the background loop's thread changes it."""

    def __init__(self, http: httpx.AsyncClient, owner: object) -> None:
        self.http = http
        self._loop = asyncio.get_running_loop()
        self._users = 0
        self._cancellations = 0
        self._free = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._keeper = _keep_open(http)
        self._garbage = weakref.finalize(owner, requests.close, self._keeper, self._loop)
        self._garbage.atexit = False  # the loop itself closes it then

    @property
    def usable(self) -> bool:
        """True if new requests may use it: it is open, of this process, and not worn out."""
        here = self._loop is asyncio.get_running_loop()
        return here and self._garbage.alive and self._cancellations < _CANCELLATIONS

    async def start(self) -> None:
        """Have it closed when its owner is garbage, or when its loop shuts down."""
        await anext(self._keeper)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[httpx.AsyncClient]:
        """Yield the HTTP client for one request."""
        self._users += 1
        try:
            async with self._free:
                await _drop_unread(self.http)
                yield self.http
        except asyncio.CancelledError:
            self._cancellations += 1
            raise
        finally:
            self._users -= 1
            if not self._users and self._cancellations >= _CANCELLATIONS:
                await self.close()

    async def close(self) -> None:
        if self._garbage.detach():
            await self._keeper.aclose()


async def _keep_open(http: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Close a client at the end, to which a loop that shuts down brings its generators."""
    try:
        yield
    finally:
        await http.aclose()


class Connections:
    """The HTTP client of a scorer, which works in the background loop and is opened at first use.

    Args:
        url: Address of the service, checked.
        timeout: Seconds for each request and its answer.
        require: Imports what is needed; it must not hold this object, whose client lives until it
            is gone.
    """

    def __init__(self, url: str, timeout: float, require: Callable[[], None]) -> None:
        self._url = url
        self._timeout = timeout
        self._require = require
        # Only the background loop's thread changes it. A forked child must not use its parent's.
        self._client: _Client | None = None

    def __reduce__(self) -> tuple[type[Connections], tuple[Any, ...]]:
        return type(self), (self._url, self._timeout, self._require)

    @property
    def opened(self) -> bool:
        """True if the client has been opened, so that all that is needed is imported."""
        return self._client is not None

    def send(self, exchange: Exchange) -> Coroutine[Any, Any, httpx.Response]:
        """Return what sends a request in the background loop, and returns the answer.

        The coroutine raises `ConfigurationError` if the client cannot be made,
        `MalformedResponseError` if the answer is too large, and an ``httpx.HTTPError`` if it does
        not come in time or at all.

        Raises:
            ConfigurationError: If the key would go over plain http.
        """
        import httpx

        url = httpx.URL(exchange.url)
        if exchange.key:
            refuse_plain_http(url.scheme, url.host)
        request: dict[str, Any] = {"method": "GET", "url": url, "headers": exchange.request_headers}
        if exchange.body is not None:  # encoded here, to keep the background loop free
            style: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}
            content = json.dumps(exchange.body, allow_nan=False, **style)
            headers = {"Content-Type": "application/json", **exchange.request_headers}
            request |= {"method": "POST", "content": content.encode(), "headers": headers}
        return self._send(exchange, request, request_gate.get())

    async def _send(
        self, exchange: Exchange, request: dict[str, Any], gate: Gate | None
    ) -> httpx.Response:
        import httpx

        client = await self._usable()
        try:
            async with (
                admission(gate, self._timeout) as answered,
                asyncio.timeout(self._timeout),
                client.lend() as http,
                _closed_if_cancelled() as extensions,
                http.stream(**request, extensions=extensions) as response,
            ):
                answered(response)
                exchange.headers = response.headers
                return await read_body(response, exchange.max_bytes)
        except TimeoutError as error:
            raise httpx.TimeoutException(f"no answer within {self._timeout:g} s") from error

    async def open(self) -> None:
        """Import what is needed, and open the client of the background loop.

        Raises:
            ConfigurationError: If certificates or a proxy of the environment cannot be used.
            MissingExtraError: If a package is not installed.
        """
        await self._usable()

    async def _usable(self) -> _Client:
        client = self._client
        if client is None or not client.usable:
            # In a thread: importing an SDK and reading the certificates would block the loop.
            http = await in_thread(self._make)
            client = self._client
            if client is None or not client.usable:  # else another task was faster
                client = _Client(http, self)
                await client.start()
                self._client = client
        return client

    def _make(self) -> httpx.AsyncClient:
        self._require()
        import httpx

        parts = urlsplit(self._url)
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        try:
            return httpx.AsyncClient(
                timeout=None,  # noqa: S113 - one limit holds for a request and its answer
                headers={"Accept-Encoding": "identity"},  # see answers.py
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # keeps none
                # A proxy from the environment would carry the key off this machine unencrypted.
                trust_env=not local,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            )
        except Exception as error:
            raise _unusable_environment(error) from error

    async def close(self) -> None:
        """Close the client; a later request opens another."""
        client, self._client = self._client, None
        if client is not None and client.usable:
            await client.close()


@asynccontextmanager
async def _closed_if_cancelled() -> AsyncIterator[dict[str, Any]]:
    """Yield the extensions of a request that has the socket closed if it is cancelled.

    httpcore up to 1.0.9 leaves that of an unfinished TLS handshake to the garbage collector.
    """
    opened = []

    async def trace(event: str, details: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            opened.append(details["return_value"])

    try:
        yield {"trace": trace}
    except asyncio.CancelledError:
        for stream in opened:
            await stream.aclose()
        raise


async def _drop_unread(http: httpx.AsyncClient) -> None:
    """Close idle connections on which more came than was asked for, such as a second answer.

    It would be taken for the answer to the next request. httpcore itself looks only at what is
    still in the socket.
    """
    for connection in _connections(http):
        if connection.is_idle() and _has_unread(connection):
            await connection.aclose()


# httpx and httpcore show neither their connections nor what these have read ahead. Where a release
# of theirs has other attributes, nothing is found; a test fails then.


def _connections(http: httpx.AsyncClient) -> Iterator[Any]:
    mounts = getattr(http, "_mounts", {})
    for transport in (getattr(http, "_transport", None), *mounts.values()):
        yield from getattr(getattr(transport, "_pool", None), "connections", ())


def _has_unread(connection: Any) -> bool:
    """Return whether bytes were read from the socket that no answer has used."""
    while inner := getattr(connection, "_connection", None):
        connection = inner
    state = getattr(connection, "_h11_state", None)
    if state is not None and state.trailing_data[0]:
        return True
    stream = getattr(connection, "_network_stream", None)
    tls = stream and stream.get_extra_info("ssl_object")
    if not tls:
        return False
    try:
        tls.read(1)
    except ssl.SSLWantReadError:  # nothing is left in the records received so far
        return False
    except ssl.SSLError:
        pass
    return True


_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


def _unusable_environment(error: Exception) -> ConfigurationError:
    """Describe why no HTTP client can be made, without the password that a proxy may have."""
    names: tuple[str, ...] = _CERTIFICATE_VARIABLES
    if not isinstance(error, OSError):
        names = tuple(form for name in _PROXY_VARIABLES for form in (name, name.lower()))
        error.args, error.__cause__, error.__context__ = (), None, None
    found = [name for name in names if os.environ.get(name)] or ["the certificates and proxies"]
    advice = "pip install 'httpx[socks]' for it, or " if isinstance(error, ImportError) else ""
    return ConfigurationError(
        f"no HTTP client can be made ({type(error).__name__}): {advice}correct or unset "
        f"{' or '.join(found)}"
    )
