"""`rerank train`: train a student, and tell whether it is better."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import typer

from rerank_core import evaluation
from rerank_core._display import printable
from rerank_core._loading import load_scorer
from rerank_core.cli._guard import interrupt_raised, on_interrupt, to_stderr
from rerank_core.cli._interrupts import interrupts
from rerank_core.cli._output import progress_bar, two_columns, write_lines
from rerank_core.training import TrainReport, train

__all__ = ["run_train"]

_UNPROVED = 3  # exit code
_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}
"""Settings of libraries that would show a bar for every state that is saved."""


def run_train(
    folder: Path,
    *,
    teacher: Sequence[str] | None,
    depth: int,
    first_stage: str,
    qrels: str | None,
    resume: Path | None,
    **options: Any,
) -> None:
    """Train on a collection, and write the result to standard output.

    Args:
        folder: The collection.
        teacher: Names of scorers.
        depth: Candidates of each query.
        first_stage: Name of the first stage.
        qrels: File of the judgements within the folder.
        resume: Folder that keeps scores and states.
        **options: For `train`.

    Raises:
        RerankError: If an argument is wrong, or the training fails.
        OSError: If reading or writing fails.
        typer.Exit: With 3 if no gain was proved.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    teachers = [load_scorer(name) for name in teacher or ()]
    collection = evaluation.read_collection(folder, qrels=qrels)
    if teachers:
        names = ", ".join(scorer.name for scorer in teachers)
        to_stderr(f"a model learns from {names}: check that the terms of use allow it")
    with (
        on_interrupt(partial(_point_to, resume)),
        interrupt_raised() as check,
        progress_bar("reading") as shown,
    ):

        def progress(label: str, done: int, of: int) -> None:
            check()
            shown(label, done, of)

        stage = evaluation.first_stage(
            first_stage, collection, depth, progress=partial(progress, first_stage)
        )
        report = train(
            evaluation.Task(collection, stage, (depth,)),
            teachers=teachers,
            resume=resume,
            progress=progress,
            **options,
        )
    write_lines(two_columns(_rows(report)), None)
    if report.folder is None:
        to_stderr("nothing written: no gain over the start is proved on the held-out queries")
        raise typer.Exit(_UNPROVED)


def _point_to(resume: Path | None) -> None:
    """Print at Ctrl-C where the work so far is."""
    if resume is not None:
        path = printable(str(resume))
        interrupts.write(f"rerank: the work so far is in {path}; the same command continues it\n")


def _rows(report: TrainReport) -> list[tuple[str, str]]:
    found = report.comparison
    interval = "" if found.low is None else f", 95% interval {found.low:+.4f} to {found.high:+.4f}"
    return [
        ("trained on", f"{report.trained} queries, {report.steps} steps"),
        ("held out", f"{len(report.held_out)} queries"),
        ("  nDCG@10 before", f"{report.before:.4f}"),
        ("  nDCG@10 after", f"{report.after:.4f}"),
        ("  difference", f"{found.difference:+.4f}{interval}, p = {found.p:.3g}"),
        ("written", "nothing" if report.folder is None else str(report.folder)),
    ]
