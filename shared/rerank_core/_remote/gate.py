"""A limit on the requests under way, and pauses that a service asks for and all observe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Protocol

from rerank_core._concurrency import waits
from rerank_core._remote.retry import LONGEST_DELAY, parse_retry_after

if TYPE_CHECKING:
    import httpx

__all__ = ["Gate", "RequestGate", "admission", "request_gate"]

_SLACK = 5.0  # seconds that a request may take beyond its time limit


class Gate(Protocol):
    """Admits requests, here or in another process."""

    async def enter(self, seconds: float) -> int:
        """Wait until a request may be sent, and return its ticket, which lasts so long."""

    async def leave(self, ticket: int, pause: float) -> None:
        """Give a ticket back, and admit nothing for so many seconds."""


request_gate: ContextVar[Gate | None] = ContextVar("request_gate", default=None)
"""The gate of the requests that are sent in this context."""


@asynccontextmanager
async def admission(
    gate: Gate | None, seconds: float
) -> AsyncIterator[Callable[[httpx.Response], None]]:
    """Wait for a gate before a request, and tell it afterwards of the pause that was asked for.

    Args:
        gate: The gate; None for no limit.
        seconds: The time limit of the request.

    Yields:
        A function to call with the answer, as soon as its headers have come.
    """
    if gate is None:
        yield lambda _response: None
        return
    pause = 0.0

    def answered(response: httpx.Response) -> None:
        nonlocal pause
        if response.status_code >= 400:
            asked = parse_retry_after(response.headers.get("retry-after"))
            pause = min(asked or 0.0, LONGEST_DELAY)

    ticket = await gate.enter(seconds + _SLACK)
    try:
        yield answered
    finally:
        await gate.leave(ticket, pause)


class RequestGate:
    """Admits so many requests at once; all its calls must come from one event loop.

    The ticket of a caller that is gone, such as a process that was killed, runs out.

    Args:
        limit: The most requests at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._numbers = count()
        self._tickets: dict[int, float] = {}  # when each runs out
        self._opens = 0.0
        self._changed = asyncio.Condition()

    async def enter(self, seconds: float) -> int:
        """Wait until a request may be sent, and return its ticket, which lasts so long."""
        async with self._changed:
            while (wait := self._wait()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait)
            ticket = next(self._numbers)
            self._tickets[ticket] = asyncio.get_running_loop().time() + seconds
            return ticket

    async def leave(self, ticket: int, pause: float) -> None:
        """Give a ticket back, and admit nothing for so many seconds."""
        async with self._changed:
            self._tickets.pop(ticket, None)
            if waits():
                self._opens = max(self._opens, asyncio.get_running_loop().time() + pause)
            self._changed.notify_all()

    def _wait(self) -> float:
        """Return the seconds until a request may be sent, if nothing changes before."""
        now = asyncio.get_running_loop().time()
        self._tickets = {ticket: end for ticket, end in self._tickets.items() if end > now}
        full = len(self._tickets) >= self._limit
        return max(self._opens, min(self._tickets.values()) if full else 0.0) - now
