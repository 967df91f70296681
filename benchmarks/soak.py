"""Threads and an async swarm against a service with bad days: ``python -m benchmarks.soak``.

All share one ``Deadline(Cached(Fallback(CohereScorer, nano)))``. Each ranking must hold every
candidate exactly once, and memory, threads and open files must not grow. Ends with exit code 1 if
one of these is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._service import stand_in_service
from benchmarks._texts import QUERIES, standard_library_chunks
from rerank_core import (
    Cached,
    CohereScorer,
    Deadline,
    Fallback,
    MemoryStore,
    OnnxCrossEncoder,
    Ranking,
    Scorer,
    arerank,
    rerank,
)

__all__ = ["main"]

_WARM_UP = 0.3  # share of the time before growth counts
_BUDGET = 1.0  # seconds of the deadline
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class _Tally:
    """Outcome of the calls; lists and counters are only added to, which threads may do."""

    calls: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, mode: str, ranking: Ranking, texts: list[str], seconds: float) -> None:
        self.calls[mode] += 1
        self.calls["degraded" if ranking.degraded else "whole"] += 1
        self.calls["cache hits"] += ranking.usage.cache_hits
        self.calls.update(ranking.causes)
        self.seconds.append(seconds)
        found = [(item.index, item.text) for item in ranking]
        if sorted(found) != list(enumerate(texts)):
            self.wrong.append(f"{mode}: {len(texts)} candidates, but {len(found)} came back")


@dataclass(frozen=True)
class _Sample:
    at: float
    memory: int
    threads: int
    files: int

    @classmethod
    def now(cls, started: float) -> _Sample:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            time.monotonic() - started,
            pages * _PAGE,
            threading.active_count(),
            sum(1 for _ in Path("/proc/self/fd").iterdir()),
        )


def main() -> int:
    """Run the soak, print a table and JSON, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--tasks", type=int, default=32, help="of the async swarm")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        parser.error("memory and open files are read from /proc: Linux only")
    with stand_in_service("--seed", str(options.seed)) as url:
        report = _soak(url, options)
    print(_table(report))
    print(json.dumps(report, indent=1))
    return 0 if all(row["held"] for row in report["checks"]) else 1


def _soak(url: str, options: argparse.Namespace) -> dict[str, Any]:
    # A pause before a second attempt would outlast the deadline, and nano never have its turn.
    service = CohereScorer("m", api_key="k-0123456789", base_url=url, timeout=0.4, max_retries=0)
    local = OnnxCrossEncoder("nano")
    local.load()
    chain = Fallback(service, local, failures=8, cooldown=0.25)
    scorer = Deadline(Cached(chain, MemoryStore(2000)), _BUDGET)
    supply = [chunk.text for chunk in standard_library_chunks()]
    tally, failures = _Tally(), list[BaseException]()
    started = time.monotonic()
    end = started + options.seconds
    samples = [_Sample.now(started)]

    def guard(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:  # noqa: BLE001 - it is what is looked for
            failures.append(error)

    def one_thread(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            query, texts = _draw(chance, supply)
            began = time.monotonic()
            ranking = rerank(query, texts, scorer)
            tally.add("sync", ranking, texts, time.monotonic() - began)

    async def one_task(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            query, texts = _draw(chance, supply)
            began = time.monotonic()
            ranking = await _maybe_cancelled(query, texts, scorer, chance)
            if ranking is None:
                tally.calls["cancelled"] += 1
                continue
            tally.add("async", ranking, texts, time.monotonic() - began)

    async def swarm() -> None:
        await asyncio.gather(*(one_task(1000 + seed) for seed in range(options.tasks)))

    workers = [
        threading.Thread(target=guard, args=(one_thread, seed)) for seed in range(options.threads)
    ]
    workers.append(threading.Thread(target=guard, args=(asyncio.run, swarm())))
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        workers[-1].join(timeout=0.5)
        samples.append(_Sample.now(started))
    took = time.monotonic() - started
    return _report(options, took, tally, failures, samples)


def _draw(chance: random.Random, supply: list[str]) -> tuple[str, list[str]]:
    """Draw a question and passages, some of them twice; enough repetition for the cache."""
    first = chance.randrange(len(supply) - 40)
    return chance.choice(QUERIES), chance.choices(supply[first : first + 40], k=12)


async def _maybe_cancelled(
    query: str, texts: list[str], scorer: Scorer, chance: random.Random
) -> Ranking | None:
    """Give up waiting now and then, as a user who closes the page does."""
    if chance.random() > 0.05:
        return await arerank(query, texts, scorer)
    try:
        return await asyncio.wait_for(arerank(query, texts, scorer), chance.uniform(0, _BUDGET))
    except TimeoutError:
        return None


def _report(
    options: argparse.Namespace,
    took: float,
    tally: _Tally,
    failures: list[BaseException],
    samples: list[_Sample],
) -> dict[str, Any]:
    # The last half second is left out: by then some workers have ended.
    steady = [s for s in samples if took * _WARM_UP < s.at < options.seconds - 0.5]
    quarter = max(1, len(steady) // 4)
    early, late = steady[:quarter], steady[-quarter:]

    def typical(part: list[_Sample], what: str) -> float:
        return float(statistics.median(getattr(sample, what) for sample in part))

    grown = typical(late, "memory") - typical(early, "memory")
    checks = [
        _check("lost or doubled candidates", len(tally.wrong), 0),
        _check("exceptions", len(failures), 0),
        _check("growth of memory, MB", round(grown / 1e6, 1), 10),
        _check("growth of threads", typical(late, "threads") - typical(early, "threads"), 4),
        # Requests in flight differ from moment to moment.
        _check("growth of open files", typical(late, "files") - typical(early, "files"), 32),
        # The deadline's loop, its pool (asyncio's default: CPUs + 4), and the model's threads.
        _check(
            "threads left", samples[-1].threads - samples[0].threads, 5 + 2 * (os.cpu_count() or 1)
        ),
    ]
    ordered = sorted(tally.seconds)
    return {
        "seconds": round(took, 1),
        "threads": options.threads,
        "tasks": options.tasks,
        "seed": options.seed,
        "calls": dict(tally.calls),
        "deadline": _BUDGET,
        "latency": {
            name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        },
        "memory_mb": {
            "early": round(typical(early, "memory") / 1e6, 1),
            "late": round(typical(late, "memory") / 1e6, 1),
            "peak": round(max(sample.memory for sample in samples) / 1e6, 1),
        },
        "peak_threads": max(sample.threads for sample in samples),
        "peak_files": max(sample.files for sample in samples),
        "checks": checks,
        "problems": [*tally.wrong[:5], *(repr(failure) for failure in failures[:5])],
    }


def _check(name: str, found: float, allowed: float) -> dict[str, Any]:
    return {"check": name, "found": found, "allowed": allowed, "held": found <= allowed}


def _table(report: dict[str, Any]) -> str:
    lines = ["| check | found | allowed | held |", "| --- | --- | --- | --- |"]
    for row in report["checks"]:
        held = "yes" if row["held"] else "**no**"
        lines.append(f"| {row['check']} | {row['found']:g} | {row['allowed']:g} | {held} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
