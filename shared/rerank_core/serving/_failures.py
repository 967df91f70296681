"""Responses to requests that fail: which status an error has, and what is told of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from rerank_core._errors import (
    AllScorersFailed,
    DeadlineExceeded,
    InvalidInputError,
    RateLimitError,
    RerankError,
    ScorerError,
)
from rerank_core.serving._door import failure, seen
from rerank_core.serving._pool import Busy
from rerank_core.serving._wire import COHERE, TEI, Failure

__all__ = ["FAILURES", "Refused", "add_failures"]

FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": description}
    for status, description in {
        401: "No valid API key.",
        404: "No such model.",
        413: "Too many documents, characters or bytes.",
        422: "The request does not fit.",
        429: "Too many requests; Retry-After says when to come again.",
        502: "A scorer failed.",
        504: "A scorer had no answer in time.",
    }.items()
}
"""The statuses of errors, for the description of the API."""


class Refused(Exception):
    """Raised for a request that is not served.

    Attributes:
        status: The HTTP status.
        error_type: What is wrong, in a word.
        message: What is wrong, in a sentence.
    """

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message


def add_failures(app: FastAPI) -> None:
    """Answer errors in JSON."""

    def on(kind: type[Exception]) -> Callable[[Callable[..., JSONResponse]], None]:
        # An async handler: others would be run in a thread.
        def add(answer: Callable[..., JSONResponse]) -> None:
            async def handler(request: Request, error: Exception) -> JSONResponse:
                return answer(request, error)

            app.add_exception_handler(kind, handler)

        return add

    @on(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> JSONResponse:
        return failure(request, 422, "Validation", _misfit(error.errors()[0]))

    @on(HTTPException)
    def _(request: Request, error: HTTPException) -> JSONResponse:
        return failure(request, error.status_code, "Request", error.detail)

    @on(Refused)
    def _(request: Request, error: Refused) -> JSONResponse:
        return failure(request, error.status, error.error_type, error.message)

    @on(ClientDisconnect)
    def _(request: Request, _: ClientDisconnect) -> JSONResponse:
        # Nobody reads it; the record has the status as nginx has it.
        return failure(request, 499, "ClientDisconnect", "the client has gone")

    @on(Busy)
    def _(request: Request, error: Busy) -> JSONResponse:
        message = f"the server is busy; come again in {error.retry_after} s"
        pause = {"Retry-After": str(error.retry_after)}
        return failure(request, 429, "Overloaded", message, pause)

    @on(RerankError)
    def _(request: Request, error: RerankError) -> JSONResponse:
        status, headers = _status(error)
        # A scorer's error may hold a service's own words, its address, and settings.
        own = isinstance(error, InvalidInputError)
        message = str(error) if own else _described(seen(request).model, error)
        return failure(request, status, type(error).__name__, message, headers)


def _misfit(first: Any) -> str:
    """Describe what does not fit, without what was sent."""
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][1]}"
    place = ".".join(str(part) for part in first["loc"][1:] if part not in (COHERE, TEI))
    if not place:
        return "the body must be a JSON object, with Content-Type: application/json"
    return f"{place}: {first['msg']}"


def _status(error: RerankError) -> tuple[int, dict[str, str]]:
    """Return the status of an error and further headers."""
    if isinstance(error, AllScorersFailed):
        causes = [cause for cause in error.exceptions if isinstance(cause, RerankError)]
        return _status(causes[-1]) if causes else (502, {})
    if isinstance(error, InvalidInputError):
        return 422, {}
    if isinstance(error, RateLimitError):
        return 429, {"Retry-After": str(max(1, math.ceil(error.retry_after or 1)))}
    if isinstance(error, DeadlineExceeded):
        return 504, {}
    if isinstance(error, ScorerError):
        return (502 if error.provider else 503 if error.retryable else 500), {}
    return 500, {}


def _described(model: str, error: RerankError) -> str:
    status = getattr(error, "status_code", None)
    told = f" (status {status})" if status else ""
    return f"the scorer of model {model!r} failed with {type(error).__name__}{told}"
