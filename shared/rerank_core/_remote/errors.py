"""Translation of what an HTTP client or an SDK raises into this library's errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
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
from rerank_core._remote.scrubbing import Scrubber
from rerank_core._usage import KNOWN_UNITS

__all__ = ["Exchange", "translate_errors"]

_LONGEST_MESSAGE = 300  # of an error raised in reading an answer, which may quote it
_REQUEST_ID_HEADERS = ("x-request-id", "x-debug-trace-id", "x-amzn-requestid", "apim-request-id")


@dataclass(kw_only=True)
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
        max_bytes: How large the answer may be.
        headers: The answer's headers, once it has begun.
        answer: Its JSON, where it has been parsed.
        answer_id: Its own id, where it has one.
    """

    provider: str
    key_variables: tuple[str, ...]
    hints: Mapping[int, str]
    key: str = field(repr=False)
    url: str
    body: Any = field(repr=False)
    request_headers: Mapping[str, str] = field(repr=False)
    max_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    answer: Any = field(default=None, repr=False)
    answer_id: object = None

    @cached_property
    def scrubber(self) -> Scrubber:
        """Cleans what the service said of this exchange."""
        return Scrubber(self.key)

    @property
    def request_id(self) -> str | None:
        """The service's id of the request, where it sent one."""
        ids = (*(self.headers.get(name) for name in _REQUEST_ID_HEADERS), self.answer_id)
        found = next((value for value in ids if isinstance(value, str) and value), None)
        return found and self.scrubber.clean(found)

    def own_words(self, units: Mapping[str, float]) -> dict[str, float]:
        """Return the billed units whose names are documented or at least not from the request."""
        if units.keys() <= KNOWN_UNITS:
            return dict(units)
        sent = json.dumps(self.body, ensure_ascii=False, default=str)
        quoted = {name for name in units if name in sent or self.scrubber.holds_key(name)}
        return {name: units[name] for name in units if name not in quoted - KNOWN_UNITS}


@contextmanager
def translate_errors(exchange: Exchange) -> Iterator[None]:
    """Raise whatever goes wrong in an exchange as one of this library's errors, without the key."""
    handled = sys.exc_info()[1]  # by the caller, whose own it is
    try:
        with exchange.scrubber.applied_to_logs():
            yield
    except BaseException as original:
        error = original
        if isinstance(original, Exception) and not isinstance(original, RerankError):
            error = _translate(original, exchange)
        if isinstance(error, ScorerError):
            error.provider = error.provider or exchange.provider
            error.request_id = error.request_id or exchange.request_id
            error.args = tuple(_clean(part, exchange) for part in error.args)
        shown = exchange.scrubber.clean_exception(original, until=handled)
        if error is original:
            raise
        try:
            raise error from shown
        except ScorerError:
            error.__context__ = shown
            raise


def _clean(part: object, exchange: Exchange) -> object:
    clean = exchange.scrubber.clean
    return clean(part, _LONGEST_MESSAGE) if isinstance(part, str) else part


def _translate(original: Exception, exchange: Exchange) -> ScorerError:
    import httpx

    if isinstance(original, httpx.HTTPStatusError):
        return _from_status(original.response.status_code, _body(original.response), exchange)
    status = getattr(original, "status_code", None)
    if isinstance(status, int):
        if not exchange.headers:
            raw = getattr(original, "headers", None)
            known = raw if isinstance(raw, Mapping) else {}
            exchange.headers = {str(name).lower(): str(value) for name, value in known.items()}
        return _from_status(status, getattr(original, "body", None), exchange)
    what = exchange.scrubber.clean(original)
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
    odd_body = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
    if isinstance(original, (*odd_body, httpx.DecodingError)):
        return MalformedResponseError(f"the answer cannot be read ({kind}: {what})", **facts)
    return ServiceError(f"the request failed ({kind}: {what})", **facts)


def _from_status(status: int, body: object, exchange: Exchange) -> ScorerError:
    said = f": {exchange.scrubber.clean(_message(body))}".removesuffix(": ")
    facts: dict[str, Any] = {
        "provider": exchange.provider,
        "status_code": status,
        "request_id": exchange.request_id or _body_id(body, exchange),
        "retry_after": parse_retry_after(exchange.headers.get("retry-after")),
    }
    if 200 <= status < 300:
        return MalformedResponseError("the answer is not valid JSON", **facts)
    if status in (401, 403):
        what, hint = "a request without a key", "Pass api_key"
        if exchange.key:
            what, hint = "the key", f"Check {' or '.join(('api_key', *exchange.key_variables))}"
        elif exchange.key_variables:
            hint = f"Set {exchange.key_variables[0]}, or pass api_key"
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


def _message(body: object) -> object:
    """Return what is meant for people; an HTML page holds nothing."""
    names = ("message", "detail", "error")
    for _ in range(5):  # one within the other
        if isinstance(body, Mapping):
            body = next((body[name] for name in names if body.get(name)), body)
    is_page = isinstance(body, str) and body.lstrip().startswith("<")
    return "" if body is None or is_page else body


def _body_id(body: object, exchange: Exchange) -> str | None:
    found = body.get("id") if isinstance(body, Mapping) else None
    return exchange.scrubber.clean(found) if isinstance(found, str) else None
