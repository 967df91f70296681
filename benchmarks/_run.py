"""The measurements: systems take turns in every round, so that all feel the same disturbances."""

from __future__ import annotations

import math
import os
import platform
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks._environments import installed, interpreter
from benchmarks._overhead import adapter_overhead
from benchmarks._statistics import agreement
from benchmarks._systems import BASELINE, System
from benchmarks._texts import Workload, make_workload
from benchmarks._workers import Worker, WorkerError, first_scores

__all__ = ["FULL", "QUICK", "Plan", "Results", "compare_modular", "conditions", "measure"]

Results: TypeAlias = dict[str, Any]
"""Everything measured, in JSON's types."""

_COUNTS = (10, 50, 100, 500)


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Attributes:
        workloads: Names and numbers of candidates, as for `make_workload`.
        rounds: Turns of every system at each workload, after one to warm up.
        starts: New processes of every system.
        calls: Calls of each adapter.
    """

    workloads: tuple[tuple[str, int], ...]
    rounds: int
    starts: int
    calls: int


QUICK = Plan((("mixed", 50), ("short", 50)), rounds=3, starts=3, calls=100)
FULL = Plan(
    (
        *((name, count) for name in ("mixed", "short") for count in _COUNTS),
        *((str(tokens), 50) for tokens in (25, 50, 100, 200, 400)),
    ),
    rounds=5,
    starts=7,
    calls=500,
)


def measure(
    systems: Sequence[System], plan: Plan, environments: Path, report: Callable[[str], None]
) -> Results:
    """Measure everything.

    Args:
        systems: The baseline among them.
        plan: What to measure.
        environments: Folder of the peers' environments.
        report: Called with what is going on.

    Returns:
        The results. A system that fails at a workload is left out there, and its error is kept.

    Raises:
        WorkerError: If the baseline fails.
    """
    rows: dict[str, Any] = {}
    for system in systems:
        python = interpreter(system.environment, environments)
        found = installed(python, system.packages)
        rows[system.label] = {
            "ours": system.ours,
            "own_weights": system.own_weights,
            "versions": found["versions"],
            "installed_bytes": found["bytes"],
            "errors": {},
            "peak_bytes": 0,
        }
    results: Results = {"conditions": conditions(plan), "systems": rows, "workloads": []}
    with ExitStack() as stack:
        workers = {
            system.label: stack.enter_context(_worker(system, environments)) for system in systems
        }
        for name, count in plan.workloads:
            report(f"{name}, {count} candidates")
            results["workloads"].append(
                _compare(workers, rows, make_workload(name, count), plan.rounds)
            )
    report("cold starts")
    _start(systems, rows, plan.starts, environments)
    report("adapters")
    results["overhead"] = {}
    for count in _COUNTS:
        workload = make_workload("mixed", count)
        results["overhead"][str(count)] = adapter_overhead(
            workload.query, workload.texts, plan.calls
        )
    return results


def compare_modular(
    shapes: Mapping[str, Sequence[System]],
    rounds: int,
    environments: Path,
    report: Callable[[str], None],
) -> Results:
    """Time models without a classification head, at 50 candidates of mixed lengths.

    Args:
        shapes: For the name of each shape, its systems, the baseline among them.
        rounds: Turns of every system, after one to warm up.
        environments: Folder of the peers' environments.
        report: Called with what is going on.

    Returns:
        For the name of each shape, what was found at the workload, and errors.

    Raises:
        WorkerError: If the baseline fails.
    """
    found: Results = {}
    workload = make_workload("mixed", 50)
    for name, systems in shapes.items():
        report(f"{name}, mixed, 50 candidates")
        rows: Results = {system.label: {"errors": {}, "peak_bytes": 0} for system in systems}
        with ExitStack() as stack:
            workers = {
                system.label: stack.enter_context(_worker(system, environments))
                for system in systems
            }
            found[name] = _compare(workers, rows, workload, rounds)
        found[name]["name"] = f"{name}, {workload.name}"
        found[name]["errors"] = {label: row["errors"] for label, row in rows.items()}
    return found


def _worker(system: System, environments: Path) -> Worker:
    return Worker(interpreter(system.environment, environments), system.kind, system.model)


def _compare(
    workers: Mapping[str, Worker], rows: Results, workload: Workload, rounds: int
) -> Results:
    seconds: dict[str, list[float]] = {label: [] for label in workers}
    scores: dict[str, list[float]] = {}
    failed: set[str] = set()
    cold: set[str] = set()
    for number in range(rounds + 1):
        # In a new order each time, so that nobody always follows the same one.
        for label in random.Random(number).sample(list(workers), len(workers)):
            row, worker = rows[label], workers[label]
            if label in failed:
                continue
            try:
                if number and label in cold:
                    worker.ask(workload.query, workload.texts)
                answer = worker.ask(workload.query, workload.texts)
            except WorkerError as error:
                if label == BASELINE:
                    raise  # there is nothing to compare with
                row["errors"][f"{workload.name}, {len(workload.texts)}"] = str(error)
                failed.add(label)
                worker.restart()
                continue
            if answer.peak_bytes > _memory() / 8:  # all of them together must fit
                cold.add(label)
                worker.restart()
            row["threads"] = answer.threads
            row["peak_bytes"] = max(row["peak_bytes"], answer.peak_bytes)
            scores[label] = answer.scores
            if number:  # the first round warms up
                seconds[label].append(answer.seconds)
    first = [workload.texts.index(text) for text in dict.fromkeys(workload.texts)]
    distinct = {label: [found[place] for place in first] for label, found in scores.items()}
    return {
        "name": workload.name,
        "candidates": len(workload.texts),
        "distinct": len(first),
        "tokens": workload.tokens,
        "padded": workload.padded,
        "seconds": {label: taken for label, taken in seconds.items() if len(taken) == rounds},
        "agreement": {
            label: agreement(distinct[BASELINE], found)._asdict()
            for label, found in distinct.items()
        },
    }


def _memory() -> float:
    """Bytes of the machine's memory, where that can be known."""
    if not hasattr(os, "sysconf"):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _start(systems: Sequence[System], rows: Results, starts: int, environments: Path) -> None:
    workload = make_workload("short", 10)
    for system in systems:
        rows[system.label].update(first_seconds=[], first_peak_bytes=0)
    for _ in range(starts):
        for system in systems:
            row = rows[system.label]
            python = interpreter(system.environment, environments)
            try:
                taken, peak = first_scores(
                    python, system.kind, system.model, workload.query, workload.texts
                )
            except WorkerError as error:
                row["errors"]["cold start"] = str(error)
                continue
            row["first_seconds"].append(taken)
            row["first_peak_bytes"] = max(row["first_peak_bytes"], peak)


def conditions(plan: Plan) -> Results:
    from rerank_core._local.files import cpu_features
    from rerank_core._local.onnx import default_threads

    return {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "cpus": default_threads(),
        "load_before": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "cpu_features": list(cpu_features()),
        "plan": asdict(plan),
    }
