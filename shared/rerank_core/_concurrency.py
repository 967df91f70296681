"""Locks and threads, and the switch that removes waiting in tests."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import _bootstrap
from typing import Any, Generic, TypeAlias, TypeVar

from rerank_core._errors import ScorerError

__all__ = [
    "Lazy",
    "NameLookups",
    "ProcessLock",
    "in_thread",
    "no_forks",
    "no_thread",
    "no_waiting",
    "score_in_thread",
    "waits",
]

T = TypeVar("T")

_RUNNING = 32  # threads that work for one owner at a time; as many as asyncio's own pool has
_WAITING = 10_000  # calls of one owner that wait for a thread
_IDLE = 10.0  # seconds until a thread without work ends
_GRACE = 1.0  # seconds that work under way has to end when the process does


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


# The open blocks of `no_forks`: their threads, and whether they do other things besides.
_blocks: dict[object, tuple[int, bool]] = {}


@contextmanager
def no_forks(*, lazily: bool = False) -> Iterator[None]:
    """Hold back forks while the block imports modules or makes sessions, at most a minute.

    What a thread has half imported during a fork, the child can never import: it would wait for
    the thread, which it does not have. The same holds for a lock within a library.

    Args:
        lazily: Whether the block does other things besides, so that forks are held back only while
            a module is half imported.
    """
    block = object()
    _blocks[block] = threading.get_ident(), lazily
    try:
        yield
    finally:
        _blocks.pop(block, None)


def _wait_for_blocks() -> None:
    # Without a lock, which would be one more that a child could find held.
    end, own = time.monotonic() + 60, threading.get_ident()
    while time.monotonic() < end:
        lazily = [lazily for thread, lazily in [*_blocks.values()] if thread != own]
        if not lazily:
            return
        if all(lazily) and not _imports_of_others(own):
            return
        time.sleep(0.002)


def _imports_of_others(own: int) -> bool:
    """Return whether another thread is importing a module, be it only looking for its file.

    It must be quick: the thread can begin the next import while this one looks.
    """
    locks = [reference() for reference in [*getattr(_bootstrap, "_module_locks", {}).values()]]
    return any(lock is not None and lock.owner not in (None, own) for lock in locks)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_blocks, after_in_child=_blocks.clear)


_Job: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"


class _Threads:
    """Daemon threads, started as needed and reused.

    What hangs in one keeps neither the process from ending nor the work of other owners waiting.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, int] = {}
        self._waiting: dict[Hashable, dict[Future[Any], _Job]] = {}
        self._idle = threading.Semaphore(0)  # threads without work, which get it from the queue
        self._queue: queue.SimpleQueue[tuple[Hashable, _Job]] = queue.SimpleQueue()

    def submit(self, owner: Hashable, work: Callable[[], T]) -> Future[T]:
        """Start work in a thread, or once less is under way for its owner.

        Raises:
            ScorerError: If too much waits already, or the system has no thread left.
        """
        future: Future[T] = Future()
        job = future, work
        with self._lock:
            running = self._running.get(owner, 0)
            if running >= _RUNNING:
                waiting = self._waiting.setdefault(owner, {})
                if len(waiting) >= _WAITING:
                    raise no_thread(f"{running} calls are under way and {_WAITING} wait")
                waiting[future] = job
            else:
                self._start(owner, job)
                self._running[owner] = running + 1
        future.add_done_callback(partial(self._forget, owner))
        return future

    def finish(self, seconds: float) -> None:
        """Wait until all work has ended, but no longer than some seconds."""
        end = time.monotonic() + seconds
        while self._running and time.monotonic() < end:
            time.sleep(0.01)

    def _start(self, owner: Hashable, job: _Job) -> None:
        if self._idle.acquire(blocking=False):
            self._queue.put((owner, job))
            return
        work, name = partial(self._work, owner, job), "rerank-worker"
        try:
            threading.Thread(target=work, name=name, daemon=True).start()
        except RuntimeError as error:  # too many of them, or the interpreter is ending
            raise no_thread(str(error)) from error

    def _work(self, owner: Hashable, job: _Job | None) -> None:
        while True:
            while job is not None:
                _run(*job)
                job = self._next(owner)
            self._idle.release()
            try:
                owner, job = self._queue.get(timeout=_IDLE)
            except queue.Empty:
                if self._idle.acquire(blocking=False):
                    return
                owner, job = self._queue.get()  # it was on its way

    def _next(self, owner: Hashable) -> _Job | None:
        """Return what has waited longest for a thread of this owner, if anything does."""
        with self._lock:
            if waiting := self._waiting.get(owner):
                return waiting.pop(next(iter(waiting)))
            self._waiting.pop(owner, None)
            self._running[owner] -= 1
            if not self._running[owner]:
                del self._running[owner]
            return None

    def _forget(self, owner: Hashable, future: Future[Any]) -> None:
        with self._lock:
            self._waiting.get(owner, {}).pop(future, None)


def no_thread(reason: str) -> ScorerError:
    """Return the error of a call that gets no thread."""
    hint = "Make fewer calls at once, or find out why they do not end"
    return ScorerError(f"there is no thread for this call: {reason}", retryable=True, hint=hint)


def _run(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it belongs to the one who waits
        future.set_exception(error)
    else:
        future.set_result(result)


_pools: dict[int, _Threads] = {}  # by process: a fork keeps no threads


def _threads() -> _Threads:
    return _pools.get(os.getpid()) or _pools.setdefault(os.getpid(), _Threads())


class NameLookups(ThreadPoolExecutor):
    """Executor for the name look-ups of an event loop, which asyncio wants to be of this type.

    Hung look-ups of one name leave threads for others.
    """

    def submit(self, work: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        return _threads().submit(("look-up", *args[:1]), partial(work, *args, **options))


async def in_thread(work: Callable[[], T], owner: object | None = None) -> T:
    """Do work in a thread, in the context of the caller.

    Args:
        work: The work. It must keep its owner alive.
        owner: What the number of threads is limited for, such as a scorer. Default: no limit.

    Returns:
        What it returns.

    Raises:
        ScorerError: If too much work of this owner waits already.
    """
    run = partial(contextvars.copy_context().run, work)
    key = object() if owner is None else id(owner)
    return await asyncio.wrap_future(_threads().submit(key, run))


class _Abandoned(Exception):
    """Stops a worker thread between batches once nobody waits for its result."""


async def score_in_thread(
    work: Callable[[Callable[[int, int], None]], T],
    progress: Callable[[int, int], None],
    owner: object,
) -> T:
    """Do work in a thread; if nobody waits for it any more, it ends where it calls progress."""
    abandoned = threading.Event()

    def checked(done: int, total: int) -> None:
        if abandoned.is_set():
            raise _Abandoned
        progress(done, total)

    try:
        return await in_thread(partial(work, checked), owner)
    except asyncio.CancelledError:
        abandoned.set()
        raise


@atexit.register
def _end() -> None:
    """Let work that is under way end; native code may not bear to be cut off."""
    if pool := _pools.get(os.getpid()):
        pool.finish(_GRACE)


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
