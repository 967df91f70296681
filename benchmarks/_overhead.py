"""Cost of the adapters beside scoring: with a scorer that takes no time, against `rerank`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks.calls import ByLength, adapter_calls
from rerank_core import rerank

__all__ = ["adapter_overhead"]


def adapter_overhead(query: str, texts: Sequence[str], repeats: int) -> dict[str, float]:
    """Time both adapters and the core in turns.

    Args:
        query: The question.
        texts: The candidates.
        repeats: Calls of each.

    Returns:
        Microseconds per document that each adapter adds to `rerank`, by the framework's name.
    """
    scorer = ByLength()
    calls: dict[str, Callable[[], object]] = {
        "core": lambda: rerank(query, texts, scorer),
        **adapter_calls(query, texts),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if number:  # the first one warms up
                seconds[name].append(time.perf_counter() - started)
    core = statistics.median(seconds.pop("core"))
    return {
        name: 1e6 * (statistics.median(taken) - core) / len(texts)
        for name, taken in seconds.items()
    }
