"""``rerank tune`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_core.cli._command import as_typed, examples
from rerank_core.cli._values import (
    FirstStageOption,
    PricesOption,
    QrelsOption,
    ResamplesOption,
    ResumeOption,
    SampleOption,
    number,
    scorers,
    suggested,
    whole,
)

__all__ = ["EPILOG", "HELP", "tune"]

HELP = (
    "Choose a scorer, a depth and a blend by measurement.\n\n"
    "DIR is a test collection, as for rerank eval. Every pair is scored once, at the greatest "
    "depth; each scorer and each cascade of two of them, with each blend, at each depth, is "
    "computed from these scores. What is chosen is confirmed on queries that had no part in the "
    "choice, and written as a profile. What services will be asked for, and about what it costs, "
    "is told before the first request."
)
EPILOG = (
    examples(
        "rerank tune my-collection --out profile.json",
        "rerank tune my-collection -s nano -s bi:my-model --max-latency 200ms --plot front.png",
        "rerank tune my-collection -s nano -s cohere:rerank-v5.0-fast --prices prices.json "
        "--max-cost 0.5 --resume scores.jsonl",
        "rerank tune my-collection -s cohere:rerank-v5.0-fast --dry-run",
    )
    + "\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong argument, file or installation; 130 interrupted, "
    "143 ended by SIGTERM (with --resume, the same command continues from there)."
)


def tune(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The test collection.")
    ] = None,
    sample: SampleOption = False,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            "--scorer",
            "-s",
            metavar="[NAME=]SCORER",
            autocompletion=scorers,
            help="A scorer to choose among; may be repeated. Default: nano.",
        ),
    ] = None,
    depth: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N", help="A depth to try; may be repeated. Default: 10, 20, 30, 50 and 100."
        ),
    ] = None,
    blend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD:WEIGHT",
            autocompletion=suggested("rrf:", "minmax:", "zscore:"),
            help="A blend to try beside none; may be repeated. Default: rrf with a weight of 0.1, "
            "0.2, 0.3, 0.5 and 0.7.",
        ),
    ] = None,
    keep: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="How many candidates a cascade passes on; may be repeated. Default: 10, 20, 30 "
            "and 50.",
        ),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Keep the 95th percentile of the time of a query below this on this machine, as "
            "in 200ms; what is chosen is measured again.",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            metavar="COST", parser=number(0), help="Keep the price of 1,000 queries below this."
        ),
    ] = None,
    first_stage: FirstStageOption = "bm25",
    qrels: QrelsOption = None,
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            autocompletion=suggested("nDCG@10", "RR@10", "R@10", "AP"),
            help="The metric of ir-measures that decides.",
        ),
    ] = "nDCG@10",
    queries: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole(1), help="Take a sample of N queries."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(0), help="The seed of the sample and the folds."),
    ] = 0,
    resamples: ResamplesOption = 10_000,
    resume: ResumeOption = None,
    prices: PricesOption = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell what services would be asked for, and stop."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the profile to this file, unless the answer is not to rerank.",
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write all figures to this file; - prints them instead of the table.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw quality against latency and cost, as PNG, SVG or PDF by the ending of FILE.",
        ),
    ] = None,
) -> None:
    """Choose a scorer, a depth and a blend."""
    options = locals()
    del options["context"]
    from rerank_core.cli._tune import TuneOptions, run_tune

    options["folders"] = [found] if (found := options.pop("folder")) else None
    options["first_stage"] = [options["first_stage"]]
    options["qrels"] = [qrels] if qrels else None
    run_tune(TuneOptions(**options, command=as_typed(context)))
