"""Stores of `Cached`: in memory, or in an SQLite file that several processes may share."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeGuard

from rerank_core._checks import check_whole
from rerank_core._concurrency import ProcessLock
from rerank_core._types import Span

__all__ = ["MAX_SPANS", "DiskStore", "Entry", "MemoryStore", "Store", "read_entry"]


MAX_SPANS = 100
"""Passages of a text that an entry may have; `Cached` keeps no scoring with more."""
_MAX_SPANS_BYTES = 100 * MAX_SPANS  # of their JSON

# Seconds to wait for another process: a search waits for what is read, nobody for what is written.
_READ_TIMEOUT, _WRITE_TIMEOUT = 0.2, 5.0
# A file may hold a view or a trigger without an end: seconds that the work itself may take, and
# bytes of one value.
_READ_LIMIT, _WRITE_LIMIT = 1.0, 10.0
_MAX_VALUE_BYTES = 2**20


class Entry(NamedTuple):
    """A text's score, and its relevant passages if the scorer reports them."""

    score: float
    spans: tuple[Span, ...] = ()


def read_entry(score: object, spans: object, length: int = sys.maxsize) -> Entry | None:
    """Return an entry of values that a store holds, or None if they are invalid.

    Args:
        score: The score; a finite number.
        spans: The passages; lists or tuples of start, end and perhaps a score.
        length: Number of characters of the text, where known.
    """
    if not _is_score(score) or not isinstance(spans, list | tuple) or len(spans) > MAX_SPANS:
        return None
    found = []
    for span in spans:
        if not isinstance(span, list | tuple) or not 2 <= len(span) <= 3:
            return None
        start, end, own = (*span, None)[:3]
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= length:
            return None
        if own is not None and not _is_score(own):
            return None
        found.append(Span(start, end, None if own is None else float(own)))
    return Entry(float(score), tuple(found))


def _is_score(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


class Store(ABC):
    """Base class for stores of scores, which several threads may use at once.

    A store may drop entries at any time. If a method raises an exception, `Cached` logs it and
    goes on without the store for a few seconds. What it returns is checked; an entry that does not
    fit its text is as good as missing. `put` may be called in another thread, after the scores have
    been returned.

    Example:
        ```python
        from rerank_core import Cached, OnnxCrossEncoder, Store

        class DictStore(Store):
            entries = {}

            def get(self, keys):
                return {key: self.entries[key] for key in keys if key in self.entries}

            def put(self, entries):
                self.entries.update(entries)

        Cached(OnnxCrossEncoder("nano"), DictStore()).score("What purrs?", ["Cats purr."])
        assert len(DictStore.entries) == 1
        ```
    """

    @abstractmethod
    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the stored entries of these keys; keys without one are left out."""

    @abstractmethod
    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Store entries, which may replace those that were used least recently."""


class MemoryStore(Store):
    """Keeps the most recently used entries in memory.

    Args:
        max_items: Maximum number of entries. Default: 100,000, about 20 MB.

    Example:
        ```python
        from rerank_core import Cached, MemoryStore, OnnxCrossEncoder

        cached = Cached(OnnxCrossEncoder("nano"), MemoryStore(max_items=1000))
        cached.score("What purrs?", ["Cats purr."])
        assert cached.score("What purrs?", ["Cats purr."]).usage.cache_hits == 1
        ```
    """

    def __init__(self, max_items: int = 100_000) -> None:
        self._max_items = check_whole(max_items, "max_items")
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._lock = ProcessLock()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the stored entries of these keys, and mark them as used."""
        with self._lock:
            found = {key: self._entries[key] for key in keys if key in self._entries}
            for key in found:
                self._entries.move_to_end(key)
            return found

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Store entries; beyond `max_items`, the least recently used ones are dropped."""
        with self._lock:
            self._entries.update(entries)
            for key in entries:
                self._entries.move_to_end(key)
            while len(self._entries) > self._max_items:
                self._entries.popitem(last=False)

    def __reduce__(self) -> tuple[type[MemoryStore], tuple[int]]:
        # A copy starts empty.
        return type(self), (self._max_items,)

    def __repr__(self) -> str:
        return f"MemoryStore({self._max_items})"


class DiskStore(Store):
    """Keeps entries in an SQLite file, which several threads and processes may share.

    Only hashes, scores and offsets are written: no text, and nothing that is unpickled when it is
    read, unlike in common disk caches.

    Args:
        path: The file; its folder must exist.
        max_items: Maximum number of entries; beyond it the oldest are dropped. Default:
            1,000,000, about 100 MB.

    Example:
        ```python
        from pathlib import Path
        from tempfile import TemporaryDirectory

        from rerank_core import Cached, DiskStore, OnnxCrossEncoder

        with TemporaryDirectory() as folder:
            cached = Cached(OnnxCrossEncoder("nano"), DiskStore(Path(folder, "scores.sqlite")))
            cached.score("What purrs?", ["Cats purr."])
            assert cached.score("What purrs?", ["Cats purr."]).usage.cache_hits == 1
        ```
    """

    def __init__(self, path: str | os.PathLike[str], max_items: int = 1_000_000) -> None:
        self.path = Path(path)
        self._max_items = check_whole(max_items, "max_items")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the stored entries of these keys; keys without one are left out.

        Raises:
            sqlite3.Error: If the file cannot be read.
        """
        found: dict[bytes, Entry] = {}
        with _open(self.path, _READ_TIMEOUT, _READ_LIMIT) as connection:
            connection.text_factory = bytes  # one row that is no UTF-8 must not hide the others
            for start in range(0, len(keys), 500):  # SQLite's limit on variables is 999 or more
                chunk = keys[start : start + 500]
                marks = ", ".join("?" * len(chunk))
                rows = connection.execute(
                    f"SELECT key, score, spans FROM entries WHERE key IN ({marks}) "  # noqa: S608 - question marks only
                    f"AND (spans IS NULL OR length(spans) <= {_MAX_SPANS_BYTES})",
                    chunk,
                )
                for key, score, spans in rows:
                    with suppress(ValueError, TypeError, RecursionError):
                        entry = read_entry(score, [] if spans is None else json.loads(spans))
                        if entry is not None:
                            found[key] = entry
        return found

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Store entries; beyond `max_items`, the oldest are dropped.

        Raises:
            sqlite3.Error: If the file cannot be written.
        """
        rows = [
            (key, entry.score, json.dumps(entry.spans) if entry.spans else None)
            for key, entry in entries.items()
        ]
        with _open(self.path, _WRITE_TIMEOUT, _WRITE_LIMIT) as connection:
            connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
            connection.execute(
                "DELETE FROM entries WHERE rowid <= (SELECT max(rowid) FROM entries) - ?",
                (self._max_items,),
            )

    def __repr__(self) -> str:
        return f"DiskStore({str(self.path)!r})"


@contextmanager
def _open(path: Path, timeout: float, limit: float) -> Iterator[sqlite3.Connection]:
    """Open a connection for one call: none is shared between threads, or survives a fork."""
    end = time.monotonic() + timeout + limit
    with closing(sqlite3.connect(path, timeout=timeout)) as connection, connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS entries "
            "(key BLOB UNIQUE NOT NULL, score REAL NOT NULL, spans TEXT)"
        )
        yield connection
