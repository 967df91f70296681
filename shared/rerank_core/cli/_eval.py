"""`rerank eval`: read, retrieve, score, compare, write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rerank_core._blend import make_blend
from rerank_core._errors import ConfigurationError
from rerank_core._loading import load_scorer
from rerank_core._profile import Profile
from rerank_core.cli._eval_table import keep_lines, report_lines
from rerank_core.cli._guard import interrupt_raised
from rerank_core.cli._output import check_target, output_console, progress_bar, write_lines
from rerank_core.cli._tasks import (
    TaskOptions,
    make_tasks,
    opened_journal,
    read_collections,
    refuse_twins,
    scorer_maker,
)
from rerank_core.cli._values import trimmers
from rerank_core.evaluation import (
    DEFAULT_METRICS,
    System,
    choose_keep,
    evaluate,
    plot,
)
from rerank_core.evaluation._metrics import check_metrics
from rerank_core.evaluation._plot import check_ending

__all__ = ["EvalOptions", "run_eval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions(TaskOptions):
    """The options of ``rerank eval``, by their names; see its help."""

    scorer: Sequence[str] | None
    profile: Path | None
    blend: Sequence[str] | None
    metric: Sequence[str] | None
    resamples: int
    examples: int
    cascade: tuple[str, str] | None
    trim: Sequence[str] | None
    top_n: int | None
    max_loss: float
    json: Path | None
    plot: Path | None


def run_eval(options: EvalOptions) -> None:
    """Evaluate, and write the report to standard output and to the files asked for.

    Raises:
        Failure: If a file cannot be written.
        RerankError: If an argument or a file is wrong, or a scorer fails.
        OSError: If reading or writing fails.
    """
    report_file = None if options.json == Path("-") else options.json
    for path in (None, report_file, options.plot):
        check_target(path)
    if options.plot is not None:
        check_ending(options.plot)
    metrics = check_metrics(options.metric or DEFAULT_METRICS)
    blends = [None, *dict.fromkeys(map(make_blend, options.blend or ()))]
    profile = options.profile and Profile.read(options.profile)
    make = scorer_maker(options.prices)
    labelled = [make(text) for text in options.scorer or (() if profile else ("nano",))]
    refuse_twins([label or scorer.name for label, scorer in labelled], "--scorer", "NAME=SCORER")
    systems = [System(scorer, blend, label) for label, scorer in labelled for blend in blends]
    if options.profile and profile:
        scorer = load_scorer(profile.scorer)
        systems.insert(0, System(scorer, profile.blend, options.profile.stem))
    trim = trimmers(options.trim) or [*(profile.trim if profile else ())]
    if options.top_n is not None and not trim:
        raise ConfigurationError("--top-n is for --trim: name a trimmer, too")
    pair = options.cascade and [make(text)[1] for text in options.cascade]
    collections = read_collections(options)
    with (
        opened_journal(options.resume) as journal,
        progress_bar("reading") as progress,
    ):
        depth = (profile and profile.depth) or 50
        tasks = make_tasks(collections, options, [depth], journal, progress)
        report = evaluate(
            tasks,
            systems,
            metrics=metrics,
            journal=journal,
            resamples=options.resamples,
            seed=options.seed,
            examples=options.examples,
            trim=trim,
            top_n=options.top_n,
            progress=progress,
        )
        choice = pair and choose_keep(
            tasks,
            *pair,
            max_loss=options.max_loss,
            metric=report.metrics[0],
            journal=journal,
            progress=progress,
        )
    if options.json is not None:
        found = report.to_json()
        if choice:
            found["cascade"] = choice.to_json()
        write_lines([json.dumps(found, indent=1, allow_nan=False)], report_file)
    if options.plot is not None:
        with interrupt_raised():
            plot(report, options.plot)
    if options.json is not None and report_file is None:
        return  # standard output has the report
    console = output_console(160)
    lines = report_lines(report, console)
    if choice and pair:
        names = [scorer.name for scorer in pair]
        lines += keep_lines(choice, names, options.max_loss, console)
    write_lines(lines, None)
