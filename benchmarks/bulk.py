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
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = _write(folder / "in.jsonl", options.queries, options.candidates)
        save_minilm(folder / "torch")
        export_model(folder / "torch", folder / "int8", precision="int8")
        models = {"nano": "nano", "MiniLM-L6 int8": f"onnx:{folder / 'int8'}"}
        print(f"| model | Ray over one process, {cores} cores | pairs/s of a core | ", end="")
        print(f"core hours for {_QUERIES:,} x {_CANDIDATES} |\n| --- | --- | --- | --- |")
        for model, scorer in models.items():
            job = BulkJob(input=source, out=folder, scorer=scorer, part_rows=_PART)
            ratios, rates = [], []
            for _ in range(options.rounds):
                here, seconds = _run(job, None, cores)
                there, _ = _run(job, RaySettings(workers=cores), cores)
                ratios.append(there / here)
                rates.append(options.queries * options.candidates / seconds)
            ratio, rate = statistics.median(ratios), statistics.median(rates)
            passed &= ratio >= _LEAST
            hours = _QUERIES * _CANDIDATES / rate / 3600
            spread = f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {model} | {spread} | {rate:.0f} | {hours:.0f} |", flush=True)
            report[model] = {"ratios": ratios, "pairs_per_core_second": rates}
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


def _run(job: BulkJob, settings: RaySettings | None, workers: int) -> tuple[float, float]:
    """Return the rows per second after the first part of every worker, and this process's time."""
    marks: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory(dir=job.out) as out:
        used = time.process_time()
        run_bulk(
            replace(job, out=Path(out)),
            settings,
            lambda done, _: marks.append((time.perf_counter(), done)),
        )
        used = time.process_time() - used
    (start, before), (end, done) = marks[workers], marks[-1]
    return (done - before) / (end - start), used


if __name__ == "__main__":
    raise SystemExit(main())
