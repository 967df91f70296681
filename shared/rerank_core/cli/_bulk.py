"""`rerank bulk`: rerank with a progress bar, and tell what came of it."""

from __future__ import annotations

from functools import partial

import typer

from rerank_core._display import printable
from rerank_core.bulk._job import BulkJob, run_bulk
from rerank_core.bulk._ray import RaySettings
from rerank_core.cli._guard import on_interrupt, to_stderr
from rerank_core.cli._interrupts import interrupts
from rerank_core.cli._output import progress_bar

__all__ = ["show_bulk"]

_SOME_FAILED = 3


def show_bulk(job: BulkJob, ray: RaySettings | None) -> None:
    """Rerank, and report on standard error.

    Raises:
        Exit: With code 3 if rows failed.
        RerankError: If an argument or a file is wrong, or the scorer cannot work.
        OSError: If reading or writing fails.
    """
    place = printable(str(job.out))
    told = f"rerank: finished parts are in {place}; the same command continues from there\n"
    with (
        on_interrupt(partial(interrupts.write, told)),
        progress_bar("reranking queries") as progress,
    ):
        report = run_bulk(job, ray, partial(progress, "reranking queries"))
    resumed, rows = f"{report.resumed:,}", f"{report.rows:,}"
    before = f"; {resumed} of {rows} rows were done before" if report.resumed else ""
    to_stderr(f"{report.rows - report.failed:,} queries are in {place}/parts{before}")
    if report.failed:
        to_stderr(f"{report.failed:,} queries failed: {place}/failures has the reasons")
        raise typer.Exit(_SOME_FAILED)
