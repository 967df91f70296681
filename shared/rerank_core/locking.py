"""A lock that a forked child never finds held."""

from __future__ import annotations

import os
import threading

__all__ = ["ProcessLock"]


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
