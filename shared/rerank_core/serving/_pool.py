"""The bounded pool of requests: so many are scored at once, so many wait, the others come later."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

__all__ = ["Busy", "Pool", "unless_gone"]

T = TypeVar("T")

_LONGEST_PAUSE = 60  # seconds that a client is asked to wait at most
_WEIGHT = 0.1  # of the latest request in the mean time of all


class Busy(Exception):
    """Raised where neither a place nor the queue has room.

    Attributes:
        retry_after: Whole seconds after which there will probably be room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Pool:
    """Places for requests that are scored, and a queue before them.

    Args:
        places: Requests at once.
        queue: Requests that wait for a place.

    Attributes:
        running: Requests that have a place.
        waiting: Requests in the queue.
    """

    def __init__(self, places: int, queue: int) -> None:
        self._places = places
        self._queue = queue
        self._free = asyncio.Semaphore(places)
        self._seconds = 0.0  # a request takes, on average
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def place(self, seconds: float | None) -> AsyncIterator[bool]:
        """Hold a place within the block.

        Args:
            seconds: Longest wait in the queue; None for no limit.

        Yields:
            Whether there was a place in time.

        Raises:
            Busy: If the queue is full.
        """
        if self._free.locked() and self.waiting >= self._queue:
            raise Busy(self._pause())
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._free.acquire()
        except TimeoutError:
            in_time = False
        else:
            in_time = True
        finally:
            self.waiting -= 1
        if not in_time:
            yield False
            return
        self.running += 1
        started = time.monotonic()
        try:
            yield True
        finally:
            self.running -= 1
            self._free.release()
            self._seconds += _WEIGHT * (time.monotonic() - started - self._seconds)

    def _pause(self) -> int:
        """Return the seconds until half of those who wait have had their turn."""
        return min(
            max(1, math.ceil(self._seconds * self.waiting / self._places / 2)), _LONGEST_PAUSE
        )


async def unless_gone(work: Awaitable[T], gone: Awaitable[object]) -> T | None:
    """Await work, and cancel it once the client is gone.

    Args:
        work: The work.
        gone: Returns once the client is gone.

    Returns:
        What it returns; None if the client is gone.
    """
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
