"""Where `Cached` keeps scores: in memory, or in one SQLite file that processes share."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rerank_core._checks import check_whole
from rerank_core._concurrency import ProcessLock
from rerank_core._types import Span

__all__ = ["DiskStore", "Entry", "MemoryStore", "Store"]


class Entry(NamedTuple):
    """One text's score, and its relevant passages where the scorer knows them."""

    score: float
    spans: tuple[Span, ...] = ()


class Store(ABC):
    """Keeps entries by key; safe from several threads. What it lost counts as never known.

    `Cached` logs what either method raises, and does without the store.
    """

    @abstractmethod
    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the entries that are there."""

    @abstractmethod
    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Keep entries, perhaps in the place of others that were used longest ago."""


class MemoryStore(Store):
    """Keeps the entries used last, in this process.

    Args:
        max_items: How many. Default: 100,000, about 20 MB.
    """

    def __init__(self, max_items: int = 100_000) -> None:
        self._max_items = check_whole(max_items, "max_items")
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._lock = ProcessLock()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the entries that are there, and count them as used."""
        with self._lock:
            found = {key: self._entries[key] for key in keys if key in self._entries}
            for key in found:
                self._entries.move_to_end(key)
            return found

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Keep entries; those used longest ago make room."""
        with self._lock:
            self._entries.update(entries)
            for key in entries:
                self._entries.move_to_end(key)
            while len(self._entries) > self._max_items:
                self._entries.popitem(last=False)

    def __reduce__(self) -> tuple[type[MemoryStore], tuple[int]]:
        # What is cached stays where it is; a copy starts empty.
        return type(self), (self._max_items,)

    def __repr__(self) -> str:
        return f"MemoryStore({self._max_items})"


class DiskStore(Store):
    """Keeps entries in one SQLite file, which threads and processes may share.

    Only hashes, scores and offsets are written: no text, and nothing that is unpickled on the
    way back, unlike in common disk caches.

    Args:
        path: The file; its folder must exist.
        max_items: How many entries are kept; the oldest make room. Default: 1,000,000, about
            100 MB.
    """

    def __init__(self, path: str | os.PathLike[str], max_items: int = 1_000_000) -> None:
        self.path = Path(path)
        self._max_items = check_whole(max_items, "max_items")

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        """Return the entries that are there.

        Raises:
            sqlite3.Error: If the file cannot be read.
        """
        found: dict[bytes, Entry] = {}
        with _Session(self.path) as connection:
            for start in range(0, len(keys), 500):  # SQLite's limit on variables is 999 or more
                some = keys[start : start + 500]
                marks = ", ".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT key, score, spans FROM entries WHERE key IN ({marks})",  # noqa: S608 - question marks only
                    some,
                )
                for key, *values in rows:
                    entry = _read(*values)
                    if entry is not None:
                        found[key] = entry
        return found

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        """Keep entries; the oldest make room.

        Raises:
            sqlite3.Error: If the file cannot be written.
        """
        rows = [
            (key, entry.score, json.dumps(entry.spans) if entry.spans else None)
            for key, entry in entries.items()
        ]
        with _Session(self.path) as connection:
            connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
            connection.execute(
                "DELETE FROM entries WHERE rowid <= (SELECT max(rowid) FROM entries) - ?",
                (self._max_items,),
            )

    def __repr__(self) -> str:
        return f"DiskStore({str(self.path)!r})"


def _read(score: object, spans: object) -> Entry | None:
    """Return an entry, or None if the file holds something else in its place."""
    if not isinstance(score, float) or not math.isfinite(score):
        return None
    if spans is None:
        return Entry(score)
    try:
        read = tuple(Span(*span) for span in json.loads(str(spans)))
    except (TypeError, ValueError, RecursionError):
        return None
    return Entry(score, read) if all(map(_is_span, read)) else None


def _is_span(span: Span) -> bool:
    start, end, score = span
    known = score is None or (isinstance(score, float) and math.isfinite(score))
    return type(start) is int and type(end) is int and 0 <= start < end and known


class _Session:
    """One connection for one call: none is shared between threads, or carried over a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        self._connection = sqlite3.connect(self._path, timeout=10)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS entries "
                "(key BLOB UNIQUE NOT NULL, score REAL NOT NULL, spans TEXT)"
            )
        except BaseException:
            self._connection.close()
            raise
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._connection.commit()
        finally:
            self._connection.close()
