"""Access to a store of scores that neither fails a search nor lets it wait."""

from __future__ import annotations

import asyncio
import atexit
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from rerank_core._combinators.stores import Entry, MemoryStore, Store
from rerank_core._concurrency import ProcessLock, in_thread
from rerank_core._errors import RerankError
from rerank_core._telemetry import warn_seldom
from rerank_core._time_limit import stoppable, time_left
from rerank_core._types import StopScoring

__all__ = ["StoreAccess"]

# Seconds for which a store is left alone after a failure; that a search waits until its scores are
# written, at most; that a deadline leaves for reading, at least; and that the end of a scorer or of
# the process waits for what is still to be written.
_PAUSE, _PATIENCE, _LEAST_TIME, _FLUSH_TIME = 5.0, 0.2, 0.05, 1.0
_MAX_PENDING = 100_000  # entries that wait to be written


class StoreAccess:
    """Reads and writes a store on behalf of searches.

    Entries are written by a thread of its own, which lives as long as there are any; until then
    they are read from memory. A store that fails is left alone for a few seconds, and a warning
    says so once a minute.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._needs_thread = type(store) is not MemoryStore
        self._lock = ProcessLock()
        self._pending: dict[bytes, Entry] = {}
        self._writer: threading.Thread | None = None
        self._late = False  # whether the writer has kept a search waiting
        self._overdue: threading.Event | None = None  # set at the end of a read that took too long
        self._paused_until = {"read": 0.0, "written": 0.0}

    def get(self, keys: Sequence[bytes]) -> dict[bytes, object]:
        """Return what is stored for the keys: an `Entry` each, unless the store is faulty."""
        found: dict[bytes, object] = {
            key: entry for key in keys if (entry := self._pending.get(key)) is not None
        }
        missing = [key for key in keys if key not in found]
        if missing and not self._paused("read"):
            try:
                stored = self.store.get(missing)
                found |= {key: stored[key] for key in missing if key in stored}
            except Exception as error:  # noqa: BLE001 - a user's store may raise anything
                self._fail("read", error)
        return found

    async def aget(self, keys: Sequence[bytes]) -> dict[bytes, object]:
        """Like `get`, without blocking the event loop, in half of a deadline's remaining time."""
        if not self._needs_thread or self._paused("read"):
            return self.get(keys)
        done = threading.Event()

        def read() -> dict[bytes, object]:
            try:
                return self.get(keys)
            finally:
                done.set()

        left = time_left()
        limit = None if left is None else max(left / 2, _LEAST_TIME)
        try:
            return await asyncio.wait_for(in_thread(read, self), limit)
        except TimeoutError:
            self._overdue = done
            self._fail("read", TimeoutError("it took too long"))
        except RerankError:  # no thread is free
            pass
        return {}

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Have entries written, and wait for a moment until they are."""
        if self._begin(entries):
            self._wait()

    async def aput(self, entries: Mapping[bytes, Entry]) -> None:
        """Like `put`, without blocking the event loop, and no longer than a deadline allows."""
        if self._begin(entries):
            with suppress(StopScoring, RerankError):
                async with stoppable():
                    await in_thread(self._wait, self)

    def flush(self, seconds: float = _FLUSH_TIME) -> bool:
        """Wait until everything is written; return whether it is."""
        writer = self._writer
        if writer is None:
            return True
        writer.join(seconds)
        return not writer.is_alive()

    def _begin(self, entries: Mapping[bytes, Entry]) -> bool:
        """Begin to write entries, and return whether to wait for that."""
        if not entries or self._paused("written"):
            return False
        try:
            if not self._needs_thread:
                self.store.put(entries)
                return False
            with self._lock:
                if len(self._pending) + len(entries) > _MAX_PENDING:
                    raise TimeoutError("too many scores wait for it")
                self._pending.update(entries)
                if self._writer is None or not self._writer.is_alive():
                    writer = threading.Thread(target=self._write, name="rerank-cache", daemon=True)
                    writer.start()
                    self._writer = writer
        except Exception as error:  # noqa: BLE001 - the search goes on, whatever it is
            self._fail("written", error)
            return False
        return not self._late

    def _wait(self) -> None:
        self._late = not self.flush(_PATIENCE)

    def _write(self) -> None:
        """Write what is pending, until nothing is or the store fails."""
        _writing.add(self)
        while True:
            with self._lock:
                if self._paused("written"):
                    self._pending.clear()
                if not self._pending:
                    self._writer, self._late = None, False
                    _writing.discard(self)
                    return
                batch = dict(self._pending)
            try:
                self.store.put(dict(batch))
            except BaseException as error:  # noqa: BLE001 - nobody else could do anything about it
                self._fail("written", error)
            with self._lock:
                for key, entry in batch.items():
                    if self._pending.get(key) is entry:
                        del self._pending[key]

    def _paused(self, action: str) -> bool:
        if action == "read" and self._overdue is not None and not self._overdue.is_set():
            return True  # one thread that waits for it is enough
        return time.monotonic() < self._paused_until[action]

    def _fail(self, action: str, error: BaseException) -> None:
        self._paused_until[action] = time.monotonic() + _PAUSE
        # The message of any other error comes from a user's store, and may quote a text.
        reason = error if isinstance(error, sqlite3.Error | OSError) else type(error).__name__
        message = "the score cache %r cannot be %s: %s"
        warn_seldom(f"{action} {self.store!r}", message, self.store, action, reason)

    def __reduce__(self) -> tuple[type[StoreAccess], tuple[Store]]:
        # Locks and threads cannot be pickled.
        return type(self), (self.store,)


_writing: set[StoreAccess] = set()


def _flush_all() -> None:
    """Wait for a short time for all writers, since the process ends."""
    end = time.monotonic() + _FLUSH_TIME
    for access in tuple(_writing):
        access.flush(max(0.0, end - time.monotonic()))


atexit.register(_flush_all)
