"""Translation of what an HTTP client or an SDK raises into this library's errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

__all__ = ["Exchange", "translate_errors"]

_REQUEST_ID_HEADERS = ("x-request-id", "x-debug-trace-id", "x-amzn-requestid", "apim-request-id")


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and what is known of its answer.

    Attributes:
        provider: Name of the service.
        key_variables: Environment variables that may hold the key.
        hints: What the user can do, by status.
        key: The key that is sent, which no error may quote.
        url: Where the request goes.
        body: Its JSON body; None for a GET.
        request_headers: Its own headers, the key's among them.
        headers: The answer's headers, once it has begun.
        answer_id: The answer's own id, where it has one.
    """

    provider: str
    key_variables: tuple[str, ...]
    hints: Mapping[int, str]
    key: str = field(repr=False)
    url: str
    body: Any = field(repr=False)
    request_headers: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    answer_id: object = None

    @property
    def request_id(self) -> str | None:
        """The service's id of the request, where it sent one."""
        ids = (*(self.headers.get(name) for name in _REQUEST_ID_HEADERS), self.answer_id)
        return next((self.scrub(value) for value in ids if isinstance(value, str) and value), None)

    def scrub(self, text: str) -> str:
        """Remove the key from a text."""
        # Anything shorter is a placeholder (the AWS clients say "n/a"), and may be part of a word.
        return text.replace(self.key, "[key]") if len(self.key) >= 8 else text


@contextmanager
def translate_errors(exchange: Exchange) -> Iterator[None]:
    """Raise whatever goes wrong in an exchange as one of this library's errors."""
    try:
        yield
    except ScorerError as known:
        known.provider = known.provider or exchange.provider
        known.request_id = known.request_id or exchange.request_id
        raise
    except RerankError:
        raise
    except Exception as original:
        error = _translate(original, exchange)
        _scrub_in_place(original, exchange)
        raise error from original


def _translate(original: Exception, exchange: Exchange) -> ScorerError:
    import httpx

    if isinstance(original, httpx.HTTPStatusError):
        return _from_status(original.response.status_code, _body(original.response), exchange)
    status = getattr(original, "status_code", None)
    if isinstance(status, int):
        if not exchange.headers:
            raw = getattr(original, "headers", None)
            exchange.headers = httpx.Headers(raw if isinstance(raw, Mapping) else {})
        return _from_status(status, getattr(original, "body", None), exchange)
    what = _cut(exchange.scrub(str(original)))
    kind = type(original).__name__
    facts: dict[str, Any] = {"provider": exchange.provider, "request_id": exchange.request_id}
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


def _from_status(status: int, body: object, exchange: Exchange) -> ScorerError:
    said = f": {_cut(exchange.scrub(_message(body)))}".removesuffix(": ")
    facts: dict[str, Any] = {
        "provider": exchange.provider,
        "status_code": status,
        "request_id": exchange.request_id or _body_id(body, exchange),
        "retry_after": parse_retry_after(exchange.headers.get("retry-after")),
    }
    if 200 <= status < 300:
        return MalformedResponseError("the answer is not valid JSON", **facts)
    if status in (401, 403):
        what, hint = "a request without key", "Pass api_key"
        if exchange.key:
            what, hint = "the key", f"Check {' or '.join(('api_key', *exchange.key_variables))}"
        elif exchange.key_variables:
            hint = f"Pass api_key, or set {exchange.key_variables[0]}"
        hint = exchange.hints.get(status, hint)
        return AuthenticationError(f"the service refused {what}{said}", hint=hint, **facts)
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
    facts["hint"] = exchange.hints.get(status)
    return ServiceError(f"the service refused the request{said}", **facts)


def _body(response: Any) -> object:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return response.text


def _message(body: object) -> str:
    """Return the sentence meant for people; an HTML page holds none."""
    if isinstance(body, Mapping):
        for name in ("message", "detail", "error"):
            if body.get(name):
                return _message(body[name])
    if isinstance(body, str) and body.lstrip().startswith("<"):
        return ""
    return "" if body is None else str(body)


def _body_id(body: object, exchange: Exchange) -> str | None:
    found = body.get("id") if isinstance(body, Mapping) else None
    return _cut(exchange.scrub(found)) if isinstance(found, str) else None


def _cut(text: str, limit: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _scrub_in_place(original: Exception, exchange: Exchange) -> None:
    """Remove the key from the chained exception too: a traceback shows body and headers."""
    for name in ("body", "headers"):
        shown = str(getattr(original, name, ""))
        if exchange.scrub(shown) != shown:
            setattr(original, name, exchange.scrub(shown))
    if exchange.scrub(repr(original.args)) != repr(original.args):
        original.args = tuple(exchange.scrub(str(part)) for part in original.args)
