"""Event loops in threads of their own, in which synchronous and asynchronous calls meet."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, TypeVar

from rerank_core._concurrency import NameLookups, ProcessLock, no_thread
from rerank_core._errors import ScorerError

__all__ = ["BackgroundLoop", "calls", "requests"]

T = TypeVar("T")

_GRACE = 1.0  # seconds to close what was opened in a loop before the process ends


class BackgroundLoop:
    """An event loop in a daemon thread, started at first use in each process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = ProcessLock()
        # By process, as a fork keeps no threads.
        self._started: dict[int, tuple[asyncio.AbstractEventLoop, threading.Thread]] = {}
        atexit.register(self._end)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop, and wait for it.

        An interrupted wait, such as by Ctrl-C, cancels it.

        Args:
            work: The coroutine.

        Returns:
            What it returns.

        Raises:
            ScorerError: If this is the loop's own thread, which would wait for itself.
        """
        try:
            loop, thread = self._start()
            if threading.current_thread() is thread:
                raise ScorerError(
                    "a synchronous call was made within the event loop that it would wait for",
                    hint="In async code and its progress callbacks, await ascore or arerank",
                )
        except ScorerError:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine that runs in the loop.

        A cancelled wait cancels it, and lasts until it has ended, but no longer than a second.

        Args:
            work: The coroutine.

        Returns:
            What it returns.
        """
        loop, _ = self._start()
        if asyncio.get_running_loop() is loop:
            return await work
        started: Future[asyncio.Task[T]] = Future()
        ended: Future[T] = Future()

        def start() -> None:
            task = loop.create_task(work)
            task.add_done_callback(lambda task: _copy(task, ended))
            started.set_result(task)

        loop.call_soon_threadsafe(start)
        waiting = asyncio.wrap_future(ended)
        # Or asyncio would log an error that nobody waits for any more.
        waiting.add_done_callback(lambda future: future.cancelled() or future.exception())
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            loop.call_soon_threadsafe(lambda: started.result().cancel())
            await asyncio.wait({waiting}, timeout=_GRACE)
            raise

    def close(self, generator: AsyncGenerator[Any, None], loop: asyncio.AbstractEventLoop) -> None:
        """Close a generator, from any thread and without waiting.

        Args:
            generator: A generator that was started in this loop.
            loop: The loop as it was then; that of the process which has forked this one is left
                alone.
        """
        if loop is self._started.get(os.getpid(), (None,))[0]:
            loop.call_soon_threadsafe(lambda: loop.create_task(_close(generator)))

    def _start(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        with self._lock:
            if os.getpid() not in self._started:
                # Not the policy's: uvloop looks up names in four threads that hang together.
                loop = asyncio.SelectorEventLoop()
                loop.set_default_executor(NameLookups(1))
                thread = threading.Thread(target=_serve, args=[loop], name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    loop.close()
                    raise no_thread(str(error)) from error
                self._started[os.getpid()] = loop, thread
            return self._started[os.getpid()]

    def _end(self) -> None:
        """Close what was opened in the loop, such as connections, before the interpreter goes."""
        loop, thread = self._started.pop(os.getpid(), (None, None))
        if loop is None or thread is None:
            return
        closed = asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop)
        wait([closed], timeout=_GRACE)
        loop.call_soon_threadsafe(loop.stop)
        if closed.done():  # else a scorer blocks the thread
            thread.join(_GRACE)
        if not thread.is_alive():
            loop.close()


def _copy(task: asyncio.Task[T], future: Future[T]) -> None:
    if task.cancelled():
        future.cancel()
    elif error := task.exception():
        future.set_exception(error)
    else:
        future.set_result(task.result())


async def _close(generator: AsyncGenerator[Any, None]) -> None:
    await generator.aclose()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped; an exit that a scorer asks for is for the one who waits."""
    while True:
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
            return


requests = BackgroundLoop("rerank-requests")  # runs nothing but HTTP, so that nothing blocks it
calls = BackgroundLoop("rerank-calls")  # runs scorers, whoever has written them
