"""An event loop in a thread of its own, for synchronous callers that must cut a wait."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from rerank_core.locking import ProcessLock

__all__ = ["run_in_background"]

T = TypeVar("T")

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
