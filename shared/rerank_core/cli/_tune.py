"""`rerank tune`: score, choose, confirm, write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core._checks import optional
from rerank_core._display import printable
from rerank_core._errors import ConfigurationError
from rerank_core.cli._guard import interrupt_raised, to_stderr
from rerank_core.cli._output import (
    check_target,
    output_console,
    progress_bar,
    rendered,
    write_lines,
)
from rerank_core.cli._tasks import (
    TaskOptions,
    make_tasks,
    opened_journal,
    read_collections,
    refuse_twins,
    scorer_maker,
)
from rerank_core.cli._values import duration
from rerank_core.evaluation import Tuning, plot, tune
from rerank_core.evaluation._metrics import check_metrics
from rerank_core.evaluation._plot import check_ending
from rerank_core.evaluation._tune import TUNE_BLENDS, TUNE_KEEPS
from rerank_core.evaluation._tune_calls import Calls, count_calls

__all__ = ["TuneOptions", "run_tune"]

_DEPTHS = (10, 20, 30, 50, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions(TaskOptions):
    """The options of ``rerank tune``, by their names, and the command itself; see its help."""

    command: str
    scorer: Sequence[str] | None
    blend: Sequence[str] | None
    keep: Sequence[int] | None
    max_latency: str | None
    max_cost: float | None
    metric: str
    resamples: int
    dry_run: bool
    out: Path | None
    json: Path | None
    plot: Path | None


def run_tune(options: TuneOptions) -> None:
    """Tune, and write the recommendation to standard output and to the files asked for.

    Raises:
        Failure: If a file cannot be written.
        RerankError: If an argument or a file is wrong, or a scorer fails.
        OSError: If reading or writing fails.
    """
    report_file = None if options.json == Path("-") else options.json
    for path in (None, report_file, options.plot, options.out):
        check_target(path)
    if options.plot is not None:
        check_ending(options.plot)
    check_metrics([options.metric])
    if options.sample and options.folders:
        raise ConfigurationError("--sample and DIR are two collections; a profile is for one")
    latency = optional(duration, options.max_latency, "--max-latency")
    make = scorer_maker(options.prices)
    labelled = [make(text) for text in options.scorer or ("nano",)]
    names = [label or scorer.name for label, scorer in labelled]
    refuse_twins(names, "--scorer", "NAME=SCORER")
    scorers = dict(zip(names, (scorer for _, scorer in labelled), strict=True))
    collections = read_collections(options)
    with opened_journal(options.resume) as journal, progress_bar("reading") as progress:
        (task,) = make_tasks(collections, options, _DEPTHS, journal, progress)
        calls = count_calls(task, scorers, journal, timed=latency is not None)
        if options.dry_run:
            write_lines([_told(call) for call in calls] or ["no service is asked"], None)
            return
        for call in calls:
            to_stderr(_told(call))
        tuning = tune(
            task,
            scorers,
            blends=[None, *options.blend] if options.blend else TUNE_BLENDS,
            keeps=options.keep or TUNE_KEEPS,
            metric=options.metric,
            max_latency=latency,
            max_cost=options.max_cost,
            journal=journal,
            resamples=options.resamples,
            seed=options.seed,
            progress=progress,
        )
    _write(tuning, options)
    if options.json is not None:
        write_lines([json.dumps(tuning.to_json(), indent=1, allow_nan=False)], report_file)
        if report_file is None:
            return  # standard output has the report
    write_lines(_lines(tuning, output_console(160)), None)


def _told(calls: Calls) -> str:
    price = "the price is not known" if calls.cost is None else f"about {calls.cost:.2g}"
    return f"{calls.name}: up to {calls.requests:,} requests with {calls.pairs:,} pairs, {price}"


def _write(tuning: Tuning, options: TuneOptions) -> None:
    """Write the profile and the plot."""
    if options.plot is not None:
        with interrupt_raised():
            plot(tuning, options.plot)
    if options.out is not None:
        profile = tuning.profile(options.command)
        if profile is None:
            to_stderr(f"no profile is written to {options.out}: the answer is not to rerank")
            return
        lines = json.dumps(profile.to_json(), indent=1, allow_nan=False)
        write_lines([lines], options.out)


def _lines(tuning: Tuning, console: Console) -> list[str]:
    """Lay the recommendation and the Pareto front out."""
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in (tuning.metric, "p95 ms", "cost of 1,000"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [row for row in tuning.rows if row.front or row is tuning.chosen]
    for row in sorted(rows, key=lambda row: (row.p95, row.value)):
        table.add_row(
            Text(printable(row.name), style="bold" if row is tuning.chosen else ""),
            f"{row.value:.4f}",
            f"{row.p95:,.0f}",
            "unknown" if row.cost is None else f"{row.cost:.3g}",
        )
    heading = Text(
        f"{printable(tuning.collection)}: {tuning.queries:,} queries, "
        f"{len(tuning.rows) - 1:,} configurations; those that no other one beats:",
        style="bold",
    )
    return rendered(console, heading, table, Text(printable(tuning.sentence)))
