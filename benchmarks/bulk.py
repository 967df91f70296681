"""Bulk jobs on Ray beside the same ones in one process: ``python -m benchmarks.bulk``.

Both work on the same files in turn, on as many cores, and their rates are taken once every worker
has done its first part, so that neither start-up counts. Ends with exit code 1 if the median of
Ray's rate over that of one process is below 0.9 for a model. Needs the extras ``export`` and
``ray``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psutil
import ray

from benchmarks._texts import QUERIES, make_workload
from benchmarks._weights import save_minilm
from rerank_core._local.onnx import default_threads
from rerank_core.bulk._job import BulkJob, run_bulk
from rerank_core.bulk._ray import RaySettings
from rerank_core.export import export_model

__all__ = ["main"]

_LEAST = 0.9
_QUERIES, _CANDIDATES = 1_000_000, 100  # of the job whose cost is told
_PART = 1  # query


def main() -> int:
    """Measure, print tables and JSON, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--candidates", type=int, default=_CANDIDATES)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cores = default_threads()
    report: dict[str, object] = {"cores": cores, "load": os.getloadavg()[0], **vars(options)}
    passed = True
    # Else Ray's workers would leave the cores to whatever else runs on the machine.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - so it is called
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = _write(folder / "in.jsonl", options.queries, options.candidates)
        save_minilm(folder / "torch")
        export_model(folder / "torch", folder / "int8", precision="int8")
        models = {"nano": "nano", "MiniLM-L6 int8": f"onnx:{folder / 'int8'}"}
        print(f"| model | Ray's rate over one process's, {cores} cores | per CPU time | ", end="")
        print(f"pairs/s of a core | core hours for {_QUERIES:,} x {_CANDIDATES} |")
        print(f"|{' --- |' * 5}", flush=True)
        for model, scorer in models.items():
            job = BulkJob(input=source, out=folder, scorer=scorer, part_rows=_PART)
            rates, efforts, pairs = [], [], []
            for _ in range(options.rounds):
                here = _run(job, None, cores)
                there = _run(job, RaySettings(workers=cores), cores)
                rates.append(there.rate / here.rate)
                efforts.append(here.effort / there.effort)
                pairs.append(options.candidates / here.effort)
            passed &= statistics.median(rates) >= _LEAST
            speed = statistics.median(pairs)
            hours = _QUERIES * _CANDIDATES / speed / 3600
            row = (model, _spread(rates), _spread(efforts), f"{speed:.0f}", f"{hours:.0f}")
            print(f"| {' | '.join(row)} |", flush=True)
            report[model] = {"rates": rates, "efforts": efforts, "pairs": pairs}
    ray.shutdown()
    print(json.dumps(report, indent=1))
    return 0 if passed else 1


def _write(path: Path, queries: int, candidates: int) -> Path:
    """Write rows with texts of 20 to 400 tokens, in another order for each query."""
    texts = make_workload("mixed", candidates).texts
    with path.open("w") as stream:
        for number in range(queries):
            shift = number % candidates
            row = {
                "query": f"{QUERIES[number % len(QUERIES)]} ({number})",
                "candidates": texts[shift:] + texts[:shift],
            }
            stream.write(f"{json.dumps(row)}\n")
    return path


class _Run(NamedTuple):
    """Queries per second, and seconds of CPU for a query, once all workers have begun."""

    rate: float
    effort: float


def _run(job: BulkJob, settings: RaySettings | None, workers: int) -> _Run:
    marks: list[tuple[int, float, float]] = []

    def mark(done: int, total: int) -> None:
        # While all workers are there: Ray ends the first that has nothing more to do.
        if done in (workers, total - workers):
            marks.append((done, time.perf_counter(), _cpu_seconds()))

    with tempfile.TemporaryDirectory(dir=job.out) as out:
        run_bulk(replace(job, out=Path(out)), settings, mark)
    (before, start, used), (done, end, used_in_all) = marks
    queries = done - before
    return _Run(queries / (end - start), (used_in_all - used) / queries)


def _cpu_seconds() -> float:
    """Return the time that this process and those of the cluster have computed for."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    raise SystemExit(main())
