"""A job on Ray that kills two of its workers and then itself; the same command goes on."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path

import psutil

from rerank_core.bulk._job import BulkJob, run_bulk
from rerank_core.bulk._ray import RaySettings
from rerank_core.testing import OverlapScorer


def main(source: str, out: str, seed: str) -> None:
    """Run the job.

    Args:
        source: The input.
        out: The folder of the results.
        seed: Of the moments to kill at and of the workers to kill; empty to kill nothing.
    """
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(100, 1500), 3)) if seed else []

    def progress(done: int, total: int) -> None:
        if not moments or done < moments[0]:
            return
        moments.pop(0)
        if not moments:
            os.kill(os.getpid(), signal.SIGKILL)
        workers = [
            process
            for process in psutil.Process().children(recursive=True)
            if any("MapWorker" in word for word in process.cmdline())
        ]
        victim = chance.choice(workers)
        sys.stdout.write(f"killed {victim.pid} at {done}\n")
        sys.stdout.flush()
        victim.kill()

    job = BulkJob(input=Path(source), out=Path(out), scorer=OverlapScorer(), part_rows=20)
    sys.stdout.write(f"{run_bulk(job, RaySettings(workers=2), progress)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
