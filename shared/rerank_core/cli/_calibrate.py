"""`rerank calibrate`: measure a calibration, write it, and tell where to cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from rerank_core._combinators.calibration import Calibration
from rerank_core._display import printable
from rerank_core._errors import ConfigurationError
from rerank_core._loading import load_scorer
from rerank_core.cli._guard import interrupt_raised, on_interrupt
from rerank_core.cli._output import (
    check_target,
    output_console,
    progress_bar,
    rendered,
    write_lines,
)
from rerank_core.evaluation import (
    Collection,
    Journal,
    Task,
    calibrate,
    first_stage,
    plot,
    read_collection,
)
from rerank_core.evaluation._plot import check_ending

__all__ = ["CalibrateOptions", "run_calibrate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateOptions:
    """The options of ``rerank calibrate``, by their names; see its help."""

    folder: Path | None
    sample: bool
    scorer: str
    out: Path
    unjudged: Literal["skip", "negative"]
    depth: int
    first_stage: str
    qrels: str | None
    seed: int
    resamples: int
    resume: Path | None
    plot: Path | None


def run_calibrate(options: CalibrateOptions) -> None:
    """Calibrate, write the file, and tell on standard output what was found.

    Raises:
        Failure: If a file cannot be written.
        RerankError: If an argument or a file is wrong, labels do not suffice, or a scorer fails.
        OSError: If reading or writing fails.
    """
    for path in (None, options.out, options.plot):
        check_target(path)
    if options.plot is not None:
        check_ending(options.plot)
    if (options.folder is None) is not options.sample:
        raise ConfigurationError("name the folder of a collection, or give --sample")
    scorer = load_scorer(options.scorer)
    collection = (
        Collection.sample()
        if options.folder is None
        else read_collection(options.folder, qrels=options.qrels)
    )
    with (
        Journal(options.resume) as journal,
        on_interrupt(journal.close),
        progress_bar("reading") as progress,
    ):
        watch = partial(progress, f"{collection.name}: {options.first_stage}")
        stage = first_stage(
            options.first_stage, collection, options.depth, journal=journal, progress=watch
        )
        calibration = calibrate(
            [Task(collection, stage, (options.depth,))],
            scorer,
            unjudged=options.unjudged,
            resamples=options.resamples,
            seed=options.seed,
            journal=journal,
            progress=progress,
        )
    with interrupt_raised():
        calibration.write(options.out)
        if options.plot is not None:
            plot(calibration, options.plot)
    write_lines(_report(calibration, options.out, output_console(100)), None)


def _report(calibration: Calibration, out: Path, console: Console) -> list[str]:
    """Lay out the figures of a calibration."""
    found = calibration.figures
    parts: list[RenderableType] = [
        Text(f"{calibration.name} on {', '.join(found['collections'])}", style="bold"),
        Text(_labels(found)),
        Text(
            f"Over the ten best of each query: expected calibration error {_interval(found['ece'])}"
            f", Brier score {found['brier']:.3f}, skill against the base rate of "
            f"{found['base_rate']:.3f} {_interval(found['brier_skill'])}"
        ),
        Text(f"Method: {found['method']}; a greater score always gets a greater probability"),
        _thresholds(found),
    ]
    if found["nothing"]:
        parts += _nothing(found["nothing"])
    parts.append(Text(f"Written to {printable(str(out))}; use it as calibrated:{out}"))
    return rendered(console, *parts)


def _labels(found: Mapping[str, Any]) -> str:
    stages = ", ".join(found["first_stages"])
    text = (
        f"{found['queries']:,} queries, {found['texts']:,} candidates of {stages}, "
        f"{found['relevant']:,} of them relevant"
    )
    if not (holes := found["without_judgement"]):
        return text
    treated = {"skip": "skipped", "negative": "taken as not relevant"}[found["unjudged"]]
    return f"{text}; {holes:,} without a judgement, {treated}"


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _thresholds(found: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("cut at", justify="right")
    table.add_column("for")
    for name in ("precision", "recall", "false positives", "texts per query"):
        table.add_column(name, justify="right")
    for row in found["thresholds"]:
        if row["threshold"] is None:
            table.add_row("none", row["aim"], "", "", "", "")
        else:
            shares = (f"{row[name]:.1%}" for name in ("precision", "recall", "fpr"))
            cells = (f"{row['threshold']:.3f}", row["aim"], *shares, f"{row['kept']:.1f}")
            table.add_row(*cells)
    return table


def _nothing(found: Mapping[str, Any]) -> list[RenderableType]:
    heading = (
        "Nothing relevant: lists without their relevant texts are told from the same lists with "
        f"them with an area under the ROC curve of {found['area']:.3f}"
    )
    lines = [
        f"  from a probability of {row['threshold']:.3f}: {row['recall']:.1%} of the former, "
        f"{row['fpr']:.1%} of the latter"
        for row in found["thresholds"]
        if row["threshold"] is not None
    ]
    return [Text(heading), *map(Text, lines), Text("")]
