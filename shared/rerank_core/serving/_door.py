"""Middleware that every request passes first: its id, the key, and the record of it."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import uuid4

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
)
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerank_core._errors import ConfigurationError
from rerank_core.serving._metrics import Metrics
from rerank_core.serving._page import PAGE_PATHS
from rerank_core.serving._wire import Failure

__all__ = ["KeyCheck", "Observed", "Seen", "check_keys", "failure", "log", "seen"]

log = logging.getLogger("rerank_core.serving")

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SHORTEST = 16  # characters of a key: a shorter one can be guessed
_OPEN = PAGE_PATHS | {"/health", "/health/live", "/health/ready"}


@dataclass
class Seen:
    """Facts about a request for its record; none of them is text of a query or a document.

    Attributes:
        id: Its id: the client's ``X-Request-Id``, or a new one.
        model: Name of the model.
        texts: Number of texts.
        causes: Why the result is degraded.
        error: Class of the error that it met.
    """

    id: str
    model: str = ""
    texts: int = 0
    causes: tuple[str, ...] = ()
    error: str = ""
    started: float = field(default_factory=time.perf_counter)


def seen(connection: HTTPConnection) -> Seen:
    """Return the facts about a request."""
    found: Seen = connection.state.seen
    return found


def failure(
    connection: HTTPConnection,
    status: int,
    error_type: str,
    message: str,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """Return the response of a request that failed.

    Args:
        connection: The request.
        status: The HTTP status.
        error_type: What failed, in a word.
        message: What failed, in a sentence.
        headers: Further headers.
    """
    facts = seen(connection)
    facts.error = error_type
    body = Failure(message=message, error=message, error_type=error_type, id=facts.id)
    return JSONResponse(body.model_dump(), status, headers)


def check_keys(keys: Collection[str], source: str) -> list[str]:
    """Return keys that cannot be guessed.

    Args:
        keys: The keys.
        source: Where they are from, for the error; it never holds a key.

    Raises:
        ConfigurationError: If they are a single string, or one cannot be a key.
    """
    if isinstance(keys, str):
        raise ConfigurationError(f"{source} must be a list of keys, not a single one")
    for key in keys:
        good = isinstance(key, str) and len(key) >= _SHORTEST and key.isascii()
        if not good or not key.isprintable() or " " in key:
            raise ConfigurationError(
                f"a key of {source} is not one: it must have {_SHORTEST} characters or more, all "
                "of them ASCII and no space; `openssl rand -hex 32` makes one"
            )
    return list(keys)


class KeyCheck(AuthenticationBackend):
    """Refuses requests without a key, but for the page and the server's health.

    Args:
        keys: The keys that open.
    """

    def __init__(self, keys: Collection[str]) -> None:
        # Digests have one length, so that a comparison takes the same time for any key.
        self._digests = [_digest(key) for key in keys]

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        """Check the key of a request.

        Raises:
            AuthenticationError: If it has none, or a wrong one.
        """
        # Not that of conn.url, which is put together with whatever the header Host holds.
        if conn.scope["path"] in _OPEN:
            return None
        scheme, _, key = conn.headers.get("authorization", "").partition(" ")
        given = _digest(key.strip())
        # All are compared, so that the time does not tell which one is close.
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            raise AuthenticationError
        return AuthCredentials(["score"]), SimpleUser("client")

    @staticmethod
    def refuse(connection: HTTPConnection, _: Exception) -> JSONResponse:
        """Return the response to a request without a key."""
        message = "this server wants one of its API keys, as Authorization: Bearer KEY"
        header = {"WWW-Authenticate": "Bearer"}
        return failure(connection, 401, "Unauthorized", message, header)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


class Observed:
    """ASGI middleware that gives each request an id, logs and counts it, and ends its errors here.

    Args:
        app: The application.
        metrics: Where to count.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        facts = Seen(given if _ID.fullmatch(given) else uuid4().hex)
        scope.setdefault("state", {})["seen"] = facts
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = facts.id
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            if status:
                raise
            # A bug. Its message may hold a text, so only its place is logged.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s: %s at\n%s", facts.id, type(error).__name__, place)
            response = failure(
                Request(scope), 500, type(error).__name__, "the server failed; its log says where"
            )
            await response(scope, receive, answer)
        finally:
            self._record(scope, facts, status)

    def _record(self, scope: Scope, facts: Seen, status: int) -> None:
        seconds = time.perf_counter() - facts.started
        # A path that is not ours may hold anything.
        path = getattr(scope.get("route"), "path", "unknown")
        self._metrics.count_request(path, facts.model, status, seconds)
        log.log(
            logging.INFO if scope["method"] == "POST" else logging.DEBUG,
            "%s %s %s %d in %.3f s, model %s, %d texts%s",
            *(facts.id, scope["method"] if path != "unknown" else "", path, status, seconds),
            *(facts.model or "-", facts.texts),
            ", ".join(["", *filter(None, [facts.error, *facts.causes])]),
            extra={
                "rerank.request_id": facts.id,
                "rerank.path": path,
                "rerank.status": status,
                "rerank.seconds": seconds,
                "rerank.model": facts.model,
                "rerank.texts": facts.texts,
                "rerank.degraded_by": list(facts.causes),
                "error.type": facts.error,
            },
        )
