"""Gain of training on half of a collection's queries, on the other half.

    python -m benchmarks.train --data DIR --teacher nano bi:FOLDER

`DIR` holds test collections in BEIR's layout; the candidates are BM25's first 50. Half of the
queries of each are held out. The student learns from judgements, and from the teachers that are
named by `--teacher`; without any, from judgements and nano itself. Each line has nDCG@10 of the
start, of the student and of the teachers' sum on the held-out half. `--labels no` leaves out the
judgements. With `--resume`, a second run pays for no score twice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from rerank_core import Scorer, load_scorer
from rerank_core.evaluation import Journal, Task, first_stage, read_collection
from rerank_core.evaluation._metrics import measure
from rerank_core.training import train
from rerank_core.training._lists import read_candidates


def main() -> None:
    """Train on each collection, and print one JSON line for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--collections", nargs="+", default=["cranfield", "scifact"])
    parser.add_argument("--teacher", nargs="*", default=[])
    parser.add_argument("--labels", choices=["yes", "no"], default="yes")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", type=Path, help="folder for scores, one within for each")
    options = parser.parse_args()
    teachers = [load_scorer(name) for name in options.teacher]
    for name in options.collections:
        collection = read_collection(options.data / name)
        task = Task(collection, first_stage("bm25", collection, 50))
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            kept = Path(scratch if options.resume is None else options.resume, f"{name}-kept")
            kept.mkdir(parents=True, exist_ok=True)
            report = train(
                task,
                Path(scratch, name),
                teachers=teachers,
                labels=options.labels == "yes",
                minutes=options.minutes,
                held_out=0.5,
                resume=kept,
                seed=options.seed,
            )
            seconds = time.monotonic() - began
            taught = None
            if teachers:
                with Journal(kept) as journal:
                    taught = _taught(task, report.held_out, teachers, journal)
        found = report.comparison
        line = {
            "collection": name,
            "before": report.before,
            "after": report.after,
            "teachers": taught,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "p": found.p,
            "trained": report.trained,
            "held_out": len(report.held_out),
            "steps": report.steps,
            "seconds": round(seconds),
            "written": report.folder is not None,
        }
        print(json.dumps(line), flush=True)


def _taught(
    task: Task, queries: tuple[str, ...], teachers: list[Scorer], journal: Journal
) -> float:
    """Return nDCG@10 of the teachers' sum."""
    found = read_candidates(task, queries, teachers, journal, labels=False, progress=None)
    ids = {text: name for name, text in task.collection.documents.items()}
    orders = {
        query: [ids[item.texts[place]] for place in np.argsort(-item.targets, kind="stable")]
        for query, item in found.items()
    }
    judgements = {query: task.collection.judgements[query] for query in queries}
    (values,) = measure(["nDCG@10"], judgements, orders).values()
    return float(np.mean(list(values.values())))


if __name__ == "__main__":
    main()
