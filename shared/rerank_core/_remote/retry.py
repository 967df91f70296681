"""The retry policy: exponential waits with jitter, or as long as ``Retry-After`` says."""

from __future__ import annotations

import logging
import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rerank_core._concurrency import waits
from rerank_core._errors import ScorerError
from rerank_core._telemetry import log

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState, Retrying

__all__ = ["LONGEST_DELAY", "async_attempts", "attempts", "parse_retry_after", "retry_delay"]

LONGEST_DELAY = 60.0  # seconds; a longer Retry-After is raised at once, for the caller to decide


@lru_cache
def attempts(max_retries: int) -> Retrying:
    """Return the policy; iterate over a copy of it for the attempts of one request.

    Each attempt is a context that swallows an error which will be retried; the last error of all
    is raised unchanged.
    """
    from tenacity import Retrying

    return Retrying(**_policy(max_retries))


@lru_cache
def async_attempts(max_retries: int) -> AsyncRetrying:
    """Return the policy for ``async for``."""
    from tenacity import AsyncRetrying

    return AsyncRetrying(**_policy(max_retries))


def _policy(max_retries: int) -> dict[str, Any]:
    from tenacity import retry_if_exception, stop_after_attempt, wait_exponential, wait_random

    grows = wait_exponential(multiplier=0.5, max=10) + wait_random(0, 1)
    return {
        # No time limit: bounded by the attempts, each of which has its own.
        "stop": stop_after_attempt(max_retries + 1),
        "retry": retry_if_exception(lambda error: retry_delay(error, 0.0) is not None),
        "wait": lambda state: _wait(state, grows(state)),
        "before_sleep": _log_retry,
        "reraise": True,
    }


def _wait(state: RetryCallState, planned: float) -> float:
    delay = retry_delay(_error(state), planned) or 0.0
    return delay if waits() else 0.0


def _log_retry(state: RetryCallState) -> None:
    """Log that a request will be sent again, without the service's words, which may quote it."""
    if log.isEnabledFor(logging.DEBUG):
        error = _error(state)
        kind, provider = type(error).__name__, getattr(error, "provider", None)
        seconds = state.next_action.sleep if state.next_action else 0.0
        log.debug(
            "%s: attempt %d ended with %s; the next in %.1f s",
            *(provider, state.attempt_number, kind, seconds),
            extra={"error.type": kind, "rerank.pause": seconds},
        )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def retry_delay(error: BaseException | None, planned: float) -> float | None:
    """Return the seconds to wait before another attempt, or None if there must be none.

    Args:
        error: What ended the last attempt.
        planned: Seconds to wait if the service does not say how long.
    """
    if not isinstance(error, ScorerError) or not error.retryable:
        return None
    if error.retry_after is None:
        return planned
    if error.retry_after > LONGEST_DELAY:
        return None
    # Never earlier than asked; spread, so that clients told the same do not return together.
    return error.retry_after * random.uniform(1.0, 1.1)  # noqa: S311 - no secret depends on it


def parse_retry_after(value: str | None) -> float | None:
    """Read a ``Retry-After`` header: seconds or an HTTP date (RFC 9110, section 10.2.3).

    Returns:
        Seconds from now, not below 0; None if there is no header or it cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError, TypeError):  # a year of eleven digits, for instance
            return None
        if moment.tzinfo is None:  # "-0000": UTC, place unknown
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
