"""The one retry policy: exponential waits with jitter, or what ``Retry-After`` asks for."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from rerank_core.errors import ScorerError

__all__ = ["Attempt", "attempts", "parse_retry_after", "pause"]

LONGEST_PAUSE = 60.0  # seconds; a longer Retry-After is raised at once, for the caller to decide


class Attempt(AbstractContextManager[None, bool | None], Protocol):
    """One of several attempts; swallows an error that will be retried."""

    @property
    def num(self) -> int:
        """Its number, from 1."""


class Attempts(Iterable[Attempt], AsyncIterable[Attempt], Protocol):
    """Attempts for ``for`` and for ``async for``."""


def attempts(max_retries: int) -> Attempts:
    """Return the attempts for one request; the last error of all is raised unchanged."""
    import stamina

    return stamina.retry_context(
        on=pause,
        attempts=max_retries + 1,
        timeout=None,  # bounded by the attempts, each of which has its own time limit
        wait_initial=0.5,
        wait_max=10.0,
        wait_jitter=1.0,
    )


def pause(error: Exception) -> bool | float:
    """Say whether to try again: False, True (wait as planned), or the seconds to wait."""
    if not isinstance(error, ScorerError) or not error.retryable:
        return False
    if error.retry_after is None:
        return True
    if error.retry_after > LONGEST_PAUSE:
        return False
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
        except ValueError:
            return None
        if moment.tzinfo is None:  # "-0000": UTC, place unknown
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
