"""Time by which `Deadline` exceeds its budget: ``python -m benchmarks.deadline``.

The embedded model is cut at random moments of its work, and a service that never answers at
random budgets; sync and async in turn. Ends with exit code 1 if the 99th percentile for the model
is more than one of its batches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks._service import stand_in_service
from benchmarks._texts import Workload, make_workload
from rerank_core import CohereScorer, Deadline, OnnxCrossEncoder, Scorer, Scoring
from rerank_core._local.onnx import default_threads

__all__ = ["main"]


class _Cut(NamedTuple):
    """A call that was cut: seconds beyond its budget, and its batches' mean seconds."""

    beyond: float
    batch: float | None


def main() -> int:
    """Measure, print a table and JSON, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deadline", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    work = make_workload("mixed", options.candidates)

    model = OnnxCrossEncoder("nano")
    model.load()
    whole = min(model.score(work.query, work.texts).usage.seconds for _ in range(5))
    budgets = [whole * chance.uniform(0.2, 0.8) for _ in range(options.runs)]
    cuts = _cuts(model, work, budgets)
    nano = _summary([cut.beyond for cut in cuts])
    batch = statistics.median(cut.batch for cut in cuts if cut.batch is not None)
    nano["batch_ms"] = round(1e3 * batch, 2)
    nano["p99_in_batches"] = round(nano["p99_ms"] / nano["batch_ms"], 2)
    with stand_in_service("--hold") as url:
        service = CohereScorer("m", api_key="k-0123456789", base_url=url)
        service.score("warm", ["up"])
        budgets = [chance.uniform(0.05, 0.2) for _ in range(options.runs)]
        held = _summary([cut.beyond for cut in _cuts(service, work, budgets)])
    report = {
        "runs": options.runs,
        "candidates": options.candidates,
        "load": os.getloadavg()[0],
        "call_ms": round(1e3 * whole, 1),
        "nano": nano,
        "service": held,
    }
    print("| scorer | runs cut | p50 | p99 | worst |\n| --- | --- | --- | --- | --- |")
    for name, row in (("nano", nano), ("a service that never answers", held)):
        figures = " | ".join(f"{row[key]:.1f} ms" for key in ("p50_ms", "p99_ms", "worst_ms"))
        print(f"| {name} | {row['cut']} | {figures} |")
    print(json.dumps(report, indent=1))
    return 0 if nano["p99_in_batches"] <= 1 else 1


def _cuts(scorer: Scorer, work: Workload, budgets: Sequence[float]) -> list[_Cut]:
    """Call once with each budget, the second half asynchronously; leave out what was in time."""
    half = len(budgets) // 2
    found: list[_Cut] = []
    for seconds in budgets[:half]:
        clock = _Clock(seconds)
        scoring = Deadline(scorer, seconds).score(work.query, work.texts, progress=clock)
        found += clock.stop(scoring)

    async def others() -> None:
        for seconds in budgets[half:]:
            clock = _Clock(seconds)
            deadline = Deadline(scorer, seconds)
            found.extend(clock.stop(await deadline.ascore(work.query, work.texts, progress=clock)))

    asyncio.run(others())
    return found


class _Clock:
    """Clock for one call; batches are timed within it, as the machine's load comes and goes."""

    def __init__(self, seconds: float) -> None:
        self._batches: list[float] = []
        self._end = time.perf_counter() + seconds

    def __call__(self, _done: int, _total: int) -> None:
        self._batches.append(time.perf_counter())

    def stop(self, scoring: Scoring) -> list[_Cut]:
        beyond = time.perf_counter() - self._end
        if not scoring.degraded:
            return []
        gaps = len(self._batches) - 1
        # As many batches are computed at once as there are threads.
        between = (self._batches[-1] - self._batches[0]) / gaps if gaps > 2 else None
        return [_Cut(beyond, between and between * default_threads())]


def _summary(seconds: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "worst_ms": 1.0}
    return {"cut": len(ordered)} | {
        name: round(1e3 * _at(ordered, share), 2) for name, share in shares.items()
    }


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    sys.exit(main())
