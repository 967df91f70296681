"""Time limits of calls: when one is up, only the innermost waits end, and what is known is kept.

A `Deadline` that cancelled all of its scorer would lose what the scorers within it have already:
a cascade's cheap order, a cache's scores. So it ends the waits that nothing else waits within, such
as a request, and those who waited for them go on with what they have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from rerank_core._types import StopScoring

__all__ = ["TimeLimit", "stoppable", "time_left"]


class TimeLimit:
    """A limit on the time of everything that is awaited within `applied`.

    Args:
        end: When the time is up, on the clock of `time.monotonic`.

    Attributes:
        passed: Whether `stop` has been called.
    """

    def __init__(self, end: float) -> None:
        self.end = end
        self.passed = False
        self.loop = asyncio.get_running_loop()
        self.waits: set[stoppable] = set()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply the limit, besides those around it, to tasks that are made in the block."""
        token = _limits.set((*_limits.get(), self))
        try:
            yield
        finally:
            _limits.reset(token)

    def stop(self) -> None:
        """End the innermost waits now; a wait that begins from now on ends at once."""
        self.passed = True
        for wait in self.waits:
            if not wait.inner:
                wait.timeout.reschedule(self.loop.time())


class stoppable:  # noqa: N801 - used like a function
    """Let the time limits around the block end it, unless there is another such block within it.

    Raises:
        StopScoring: If one did, or had passed before.
    """

    # Not a generator: the event loop would close that in the middle of the block when it ends.

    async def __aenter__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._limits = _applying()
        if not self._limits:
            return
        if any(limit.passed for limit in self._limits):
            raise StopScoring
        outer = _innermost.get()
        self._outer = outer if outer is not None and outer.loop is self.loop else None
        self._token = _innermost.set(self)
        self.inner = 0  # blocks within this one
        self.timeout = asyncio.timeout(None)
        await self.timeout.__aenter__()
        for limit in self._limits:
            limit.waits.add(self)
        if self._outer is not None:
            self._outer.inner += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._limits:
            return
        _innermost.reset(self._token)
        for limit in self._limits:
            limit.waits.remove(self)
        if self._outer is not None:
            self._outer.inner -= 1
        try:
            await self.timeout.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            raise StopScoring from late


_limits: ContextVar[tuple[TimeLimit, ...]] = ContextVar("rerank_limits", default=())
_innermost: ContextVar[stoppable | None] = ContextVar("rerank_innermost_wait", default=None)


def time_left() -> float | None:
    """Return the seconds that the time limits leave; None if there is none."""
    limits = _applying()
    return min(limit.end for limit in limits) - time.monotonic() if limits else None


def _applying() -> list[TimeLimit]:
    """Return the limits of the running event loop: a thread's context may hold another's."""
    loop = asyncio.get_running_loop()
    return [limit for limit in _limits.get() if limit.loop is loop]
