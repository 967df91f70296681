"""From whatever an HTTP client or an SDK raises to this library's errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from rerank_core._errors import (
    AuthenticationError,
    DeadlineExceeded,
    MalformedResponseError,
    RateLimitError,
    RerankError,
    ScorerError,
    ServiceError,
)
from rerank_core._remote.retry import parse_retry_after

__all__ = ["Exchange", "current_exchange", "exchange"]

_REQUEST_ID_HEADERS = ("x-request-id", "x-debug-trace-id", "x-amzn-requestid", "apim-request-id")


@dataclass(slots=True)
class Exchange:
    """What one attempt sent and got, as far as its errors need it.

    Cohere's own errors do not always hold the headers (5.15 leaves them out), and never the key
    that must not be quoted.

    Attributes:
        provider: Who is asked.
        variables: Environment variables that may hold the key.
        hints: What the user can do, by status.
        secret: The key, once it is known.
        headers: The answer's.
        answer_id: The answer's own id, where it has one.
    """

    provider: str
    variables: tuple[str, ...]
    hints: Mapping[int, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    answer_id: str | None = None

    @property
    def request_id(self) -> str | None:
        """The service's id of the request, where it sent one."""
        ids = (*(self.headers.get(name) for name in _REQUEST_ID_HEADERS), self.answer_id)
        return next((self.scrub(value) for value in ids if value), None)

    def scrub(self, text: str) -> str:
        """Remove the key from a text."""
        # Anything shorter is a placeholder (the AWS clients say "n/a"), and may be part of a word.
        return text.replace(self.secret, "[key]") if len(self.secret) >= 8 else text


_current: ContextVar[Exchange | None] = ContextVar("rerank_core_exchange", default=None)


def current_exchange() -> Exchange | None:
    """Return the exchange of the attempt that runs in this context."""
    return _current.get()


@contextmanager
def exchange(watched: Exchange) -> Iterator[Exchange]:
    """Watch one attempt; whatever goes wrong in it leaves as one of this library's errors."""
    token = _current.set(watched)
    try:
        yield watched
    except ScorerError as known:
        known.provider = known.provider or watched.provider
        known.request_id = known.request_id or watched.request_id
        raise
    except RerankError:
        raise
    except Exception as original:
        error = _translate(original, watched)
        _scrub_in_place(original, watched)
        raise error from original
    finally:
        _current.reset(token)


def _translate(original: Exception, watched: Exchange) -> ScorerError:
    import httpx

    if isinstance(original, httpx.HTTPStatusError):
        return _from_status(original.response.status_code, _body(original.response), watched)
    status = getattr(original, "status_code", None)
    if isinstance(status, int):
        if not watched.headers:
            raw = getattr(original, "headers", None)
            watched.headers = httpx.Headers(raw if isinstance(raw, Mapping) else {})
        return _from_status(status, getattr(original, "body", None), watched)
    what = _cut(watched.scrub(str(original)))
    kind = type(original).__name__
    facts: dict[str, Any] = {"provider": watched.provider, "request_id": watched.request_id}
    if isinstance(original, httpx.TimeoutException):
        return DeadlineExceeded(
            f"no answer within the timeout ({kind})",
            retryable=True,
            hint="Raise timeout, or send fewer or shorter texts",
            **facts,
        )
    if isinstance(original, httpx.TransportError):
        passing = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
        return ServiceError(
            f"the service could not be reached ({kind}: {what})",
            retryable=isinstance(original, passing),
            hint="Check base_url, the network and the proxy settings",
            **facts,
        )
    # Cohere's SDK builds its objects without validation, so an odd body fails in many ways.
    odd_body = (TypeError, ValueError, LookupError, AttributeError, httpx.DecodingError)
    if isinstance(original, odd_body):
        return MalformedResponseError(f"the answer cannot be read ({kind}: {what})", **facts)
    return ServiceError(f"the request failed ({kind}: {what})", **facts)


def _from_status(status: int, body: object, watched: Exchange) -> ScorerError:
    said = _cut(watched.scrub(_message(body)))
    said = f": {said}" if said else ""
    facts: dict[str, Any] = {
        "provider": watched.provider,
        "status_code": status,
        "request_id": watched.request_id or _body_id(body, watched),
        "retry_after": parse_retry_after(watched.headers.get("retry-after")),
    }
    if 200 <= status < 300:
        return MalformedResponseError("the answer is not valid JSON", **facts)
    if status in (401, 403):
        sent = bool(watched.secret)
        return AuthenticationError(
            f"the service refused {'the key' if sent else 'a request without key'}{said}",
            hint=watched.hints.get(status)
            or (
                f"Check {' or '.join(('api_key', *watched.variables))}"
                if sent
                else f"Pass api_key, or set {watched.variables[0]}"
            ),
            **facts,
        )
    if status == 429:
        return RateLimitError(f"too many requests{said}", retryable=True, **facts)
    if 300 <= status < 400:
        return ServiceError(
            "the service redirects, which is not followed: key and texts go only where told",
            hint="Pass the final address as base_url",
            **facts,
        )
    # A rerank request changes nothing, so a conflict (409) may be sent again like a timeout (408).
    if status >= 500 or status in (408, 409):
        return ServiceError(f"the service failed{said}", retryable=True, **facts)
    hint = watched.hints.get(status)
    return ServiceError(f"the service refused the request{said}", hint=hint, **facts)


def _body(response: Any) -> object:
    try:
        return response.json()
    except ValueError:
        return response.text


def _message(body: object) -> str:
    """Find the sentence meant for people; an HTML page holds none."""
    if isinstance(body, Mapping):
        for name in ("message", "detail", "error"):
            if body.get(name):
                return _message(body[name])
    if isinstance(body, str) and body.lstrip().startswith("<"):
        return ""
    return "" if body is None else str(body)


def _body_id(body: object, watched: Exchange) -> str | None:
    found = body.get("id") if isinstance(body, Mapping) else None
    return _cut(watched.scrub(found)) if isinstance(found, str) else None


def _cut(text: str, limit: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _scrub_in_place(original: Exception, watched: Exchange) -> None:
    """Remove the key from the chained exception too: a traceback shows body and headers."""
    for name in ("body", "headers"):
        shown = str(getattr(original, name, ""))
        if watched.scrub(shown) != shown:
            setattr(original, name, watched.scrub(shown))
    if watched.scrub(repr(original.args)) != repr(original.args):
        original.args = tuple(watched.scrub(str(part)) for part in original.args)
