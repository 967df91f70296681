"""Locks, threads and event loops, and the switch that removes waiting in tests."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

__all__ = [
    "Lazy",
    "ProcessLock",
    "importing",
    "in_thread",
    "no_waiting",
    "run_in_background",
    "waits",
]

T = TypeVar("T")


class ProcessLock:
    """A lock of each process: one that a thread held during a fork is held for ever in the child.

    What it guards must be whole between any two steps, as a fork may come between them.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}

    def __enter__(self) -> None:
        # setdefault is atomic, so all threads of a process get the same lock.
        self._locks.setdefault(os.getpid(), threading.Lock()).acquire()

    def __exit__(self, *_: object) -> None:
        self._locks[os.getpid()].release()


class Lazy(Generic[T]):
    """A value that is made at its first use, once for all threads of a process.

    A forked child waits for no thread of its parent. It keeps the parent's value, unless a thread
    was using it during the fork and may have left it in any state: then it makes its own.
    """

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._process = os.getpid()
        self._value: T | None = None
        self._users: set[object] = set()

    def get(self, make: Callable[[], T]) -> T:
        """Return the value, made by `make` if there is none."""
        with self._lock:
            if self._process != os.getpid():
                if self._users:
                    self._value = None
                self._users = set()
                self._process = os.getpid()
            if self._value is None:
                self._value = make()
            return self._value

    @contextmanager
    def use(self, make: Callable[[], T]) -> Iterator[T]:
        """Yield the value, and note that it is in use within the block."""
        value, user = self.get(make), object()
        self._users.add(user)
        try:
            yield value
        finally:
            self._users.discard(user)

    def clear(self) -> T | None:
        """Forget the value, and return it if there was one."""
        with self._lock:
            value, self._value = self._value, None
            return value


# The open blocks of `importing`: their threads, and whether they do other things besides.
_importing: dict[object, tuple[int, bool]] = {}


@contextmanager
def importing(*, lazily: bool = False) -> Iterator[None]:
    """Hold back forks while the block imports modules, at most a minute.

    What a thread has half imported during a fork, the child can never import: it would wait for
    the thread, which it does not have.

    Args:
        lazily: Whether the block does other things besides, so that forks are held back only while
            a module is half imported.
    """
    block = object()
    _importing[block] = threading.get_ident(), lazily
    try:
        yield
    finally:
        _importing.pop(block, None)


def _wait_for_imports() -> None:
    # Without a lock, which would be one more that a child could find held.
    end, own = time.monotonic() + 60, threading.get_ident()
    while time.monotonic() < end:
        lazily = [lazily for thread, lazily in [*_importing.values()] if thread != own]
        if not lazily:
            return
        if all(lazily) and not any(map(_is_half_imported, [*sys.modules.values()])):
            return
        time.sleep(0.002)


def _is_half_imported(module: object) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_imports, after_in_child=_importing.clear)


class _Abandoned(Exception):
    """Stops a worker thread between batches once nobody waits for its result."""


async def in_thread(
    work: Callable[[Callable[[int, int], None]], T], progress: Callable[[int, int], None]
) -> T:
    """Do work in a thread; if nobody waits for it any more, it ends where it calls progress."""
    abandoned = threading.Event()

    def checked(done: int, total: int) -> None:
        if abandoned.is_set():
            raise _Abandoned
        progress(done, total)

    try:
        return await asyncio.to_thread(work, checked)
    except asyncio.CancelledError:
        abandoned.set()
        raise


_lock = ProcessLock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a fork keeps no threads


def run_in_background(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the background loop, and wait for it.

    An interrupted wait, such as by Ctrl-C, cancels it.

    Args:
        work: The coroutine.

    Returns:
        What it returns.
    """
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = asyncio.new_event_loop()
            _loops[os.getpid()] = loop
            thread = threading.Thread(target=loop.run_forever, name="rerank-loop", daemon=True)
            thread.start()
            atexit.register(_end, os.getpid(), loop, thread)
        return loop


def _end(process: int, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """Close what was opened in the loop, such as connections, before the interpreter goes."""
    if process != os.getpid():
        return
    asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(timeout=5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=5)
    loop.close()


_not_waiting: list[object] = []  # one entry for each open block of `no_waiting`


@contextmanager
def no_waiting() -> Iterator[None]:
    """Remove waiting in the whole process, all its threads and event loops, while tests run.

    Within the block a request that failed is sent again without a pause, as often as before, and
    log messages that are said once a minute are said every time. Time limits still hold: those of
    a service, of a `Deadline`, and the cooldown of a `Fallback`. Blocks can be nested.

    Example:
        ```python
        from rerank_core import CohereScorer, ServiceError
        from rerank_core.testing import no_waiting

        scorer = CohereScorer("m", base_url="http://127.0.0.1:9", api_key="test", max_retries=5)
        with no_waiting():
            try:
                scorer.score("query", ["text"])  # six attempts, at once
            except ServiceError as error:
                assert error.retryable
        ```
    """
    block = object()
    _not_waiting.append(block)  # append and remove are atomic
    try:
        yield
    finally:
        _not_waiting.remove(block)


def waits() -> bool:
    """Return whether to pause and to hold messages back: False in a block of `no_waiting`."""
    return not _not_waiting
