"""A circuit breaker: leaves a dead service alone, and probes it again."""

from __future__ import annotations

import time

from rerank_core.locking import ProcessLock

__all__ = ["Breaker"]


class Breaker:
    """Opens after some failures in a row; then lets one call a cooldown through to probe.

    Nygard, "Release It!", 2nd edition, 2018, chapter 5. Safe from several threads.

    Args:
        failures: Failures in a row that open it.
        cooldown: Seconds until a probe, from the last failure or probe on.
    """

    def __init__(self, failures: int, cooldown: float) -> None:
        self._limit = failures
        self._cooldown = cooldown
        self._lock = ProcessLock()
        self._failed = 0
        self._next_probe = 0.0

    def allows(self) -> bool:
        """Say whether to call now; where it is open, only one caller a cooldown may."""
        with self._lock:
            if self._failed < self._limit:
                return True
            now = time.monotonic()
            if now < self._next_probe:
                return False
            self._next_probe = now + self._cooldown
            return True

    def succeeded(self) -> bool:
        """Close it, and say whether it was open."""
        with self._lock:
            was_open = self._failed >= self._limit
            self._failed = 0
            return was_open

    def failed(self) -> bool:
        """Count a failure, and say whether it opened it."""
        with self._lock:
            self._failed += 1
            self._next_probe = time.monotonic() + self._cooldown
            return self._failed == self._limit
