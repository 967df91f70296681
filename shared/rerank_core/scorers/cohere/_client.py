"""The SDK's clients: one per process, one per event loop, on HTTP clients of our own."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from rerank_core.errors import MissingExtraError
from rerank_core.scorers.cohere._access import Keyring, is_loopback, refuse_plain_http
from rerank_core.scorers.cohere._errors import current_exchange
from rerank_core.scorers.cohere._loops import close_with_loop

if TYPE_CHECKING:
    import cohere
    import httpx

__all__ = ["Connections", "require_sdk"]


def require_sdk() -> None:
    """Import what the extra brings, which takes seconds the first time.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import cohere
        import httpx
        import stamina  # noqa: F401

        _ = (cohere.ClientV2, httpx.Client)
    except (ImportError, AttributeError) as error:
        raise MissingExtraError("cohere", "CohereScorer") from error


class _Sync(NamedTuple):
    sdk: cohere.ClientV2
    http: httpx.Client


class _Async(NamedTuple):
    sdk: cohere.AsyncClientV2
    http: httpx.AsyncClient


class Connections:
    """Makes clients at first use, and closes them.

    Needs no lock, so that a fork can never copy a held one: of two threads that make a client at
    once, the first to store it wins and the other closes its own.

    Args:
        keyring: Where each request takes its key from.
        base_url: A checked address, or None for the SDK's default.
        timeout: Seconds, as in `CohereScorer`.
    """

    def __init__(self, keyring: Keyring, base_url: str | None, timeout: float) -> None:
        self._keyring = keyring
        self._base_url = base_url
        self._timeout = timeout
        # A forked child must not share its parent's sockets, nor a loop another loop's.
        self._by_process: dict[int, _Sync] = {}
        self._by_loop: dict[asyncio.AbstractEventLoop, _Async] = {}

    def sync_client(self) -> cohere.ClientV2:
        """Return this process's client."""
        held = self._by_process.get(os.getpid())
        if held is None:
            made = self._make_sync()
            held = self._by_process.setdefault(os.getpid(), made)
            if held is made:
                weakref.finalize(self, made.http.close)
            else:
                made.http.close()
        return held.sdk

    async def async_client(self) -> cohere.AsyncClientV2:
        """Return the running loop's client; it is closed when the loop shuts down."""
        loop = asyncio.get_running_loop()
        for known, held in list(self._by_loop.items()):
            if known.is_closed() or held.http.is_closed:
                self._by_loop.pop(known, None)
        current = self._by_loop.get(loop)
        if current is None:
            # In a thread: importing the SDK and reading the certificates would block the loop.
            made = await asyncio.to_thread(self._make_async)
            current = self._by_loop.setdefault(loop, made)
            if current is made:
                await close_with_loop(made.http, self)
            else:
                await made.http.aclose()
        return current.sdk

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

    def _make_sync(self) -> _Sync:
        require_sdk()
        import cohere
        import httpx

        http = httpx.Client(
            **self._http_options(),
            event_hooks={"request": [_on_request], "response": [_on_response]},
        )
        sdk = cohere.ClientV2(
            self._keyring.key, base_url=self._base_url, timeout=self._timeout, httpx_client=http
        )
        return _Sync(sdk, http)

    def _make_async(self) -> _Async:
        require_sdk()
        import cohere
        import httpx

        async def on_request(request: httpx.Request) -> None:
            _on_request(request)

        async def on_response(response: httpx.Response) -> None:
            _on_response(response)

        http = httpx.AsyncClient(
            **self._http_options(),
            event_hooks={"request": [on_request], "response": [on_response]},
        )
        sdk = cohere.AsyncClientV2(
            self._keyring.key, base_url=self._base_url, timeout=self._timeout, httpx_client=http
        )
        return _Async(sdk, http)

    def _http_options(self) -> dict[str, Any]:
        parts = urlsplit(self._base_url or "")
        local = parts.scheme == "http" and is_loopback(parts.hostname or "")
        return {
            "timeout": self._timeout,
            "follow_redirects": False,
            # A proxy from the environment would carry the key off this machine unencrypted.
            "trust_env": not local,
        }


def _on_request(request: httpx.Request) -> None:
    """Check where the key really goes, just before it goes; without a key, send no header."""
    key = request.headers.get("authorization", "").removeprefix("Bearer").strip()
    if not key:
        # Without a key some SDKs write "Bearer ", which is no header that can be sent.
        request.headers.pop("authorization", None)
        return
    watched = current_exchange()
    if watched is not None:
        watched.secret = key
    refuse_plain_http(request.url.scheme, request.url.host)


def _on_response(response: httpx.Response) -> None:
    watched = current_exchange()
    if watched is not None:
        watched.headers = response.headers
