"""Gain of training on half of a collection's queries, on the other half.

    python -m benchmarks.train --data DIR

`DIR` holds test collections in BEIR's layout; the candidates are BM25's first 50. Half of the
queries of each are held out. The teachers are summed after standardising; those that are named by
`--teacher` come beside judgements. Each line has nDCG@10 of the start and of the student on the
held-out half.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rerank_core import load_scorer
from rerank_core.evaluation import Task, first_stage, read_collection
from rerank_core.training import train


def main() -> None:
    """Train on each collection, and print one JSON line for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--collections", nargs="+", default=["cranfield", "scifact"])
    parser.add_argument("--teacher", nargs="*", default=["nano"])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--resume", type=Path)
    options = parser.parse_args()
    teachers = [load_scorer(name) for name in options.teacher]
    for name in options.collections:
        collection = read_collection(options.data / name)
        with tempfile.TemporaryDirectory() as folder:
            report = train(
                Task(collection, first_stage("bm25", collection, 50)),
                Path(folder, name),
                teachers=teachers,
                labels=True,
                minutes=options.minutes,
                held_out=0.5,
                resume=options.resume,
            )
        found = report.comparison
        line = {
            "collection": name,
            "before": report.before,
            "after": report.after,
            "difference": found.difference,
            "low": found.low,
            "high": found.high,
            "p": found.p,
            "trained": report.trained,
            "held_out": report.held_out,
            "steps": report.steps,
            "written": report.folder is not None,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
