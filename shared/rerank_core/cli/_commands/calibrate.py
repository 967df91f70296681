"""``rerank calibrate`` and its options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rerank_core.cli._command import examples
from rerank_core.cli._values import (
    FirstStageOption,
    QrelsOption,
    ResumeOption,
    SampleOption,
    ScorerOption,
    choice,
    choices,
    suggested,
    whole,
)

__all__ = ["EPILOG", "HELP", "calibrate"]


class UnjudgedTexts(StrEnum):
    """Uses of candidates without a judgement."""

    SKIP = "skip"
    NEGATIVE = "negative"


HELP = (
    "Turn scores into probabilities, and find where to cut.\n\n"
    "COLLECTION is a test collection in BEIR's layout, as for rerank eval. The file that is "
    "written calibrates this scorer, with this model, precision, maximum length and instruction: "
    "--scorer calibrated:FILE. Every figure is about queries that were left out of the fit."
)
EPILOG = (
    examples(
        "rerank calibrate my-collection --out nano.json",
        "rerank calibrate --sample --unjudged negative --out nano.json",
        "rerank calibrate my-collection -s cohere:rerank-v5.0-fast --out cohere.json",
        'rerank rank -q "How do plants eat?" texts.jsonl -s calibrated:nano.json',
    )
    + "\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong argument, file or installation, or labels that no "
    "calibration can be measured on; 130 interrupted, 143 ended by SIGTERM (with --resume, the "
    "same command continues from there)."
)


def calibrate(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[COLLECTION]", help="The test collection.")
    ] = None,
    sample: SampleOption = False,
    scorer: ScorerOption = "nano",
    unjudged: Annotated[
        UnjudgedTexts,
        typer.Option(
            metavar="HOW",
            parser=choice(UnjudgedTexts),
            autocompletion=suggested(*choices(UnjudgedTexts)),
            help="Candidates without a judgement: skip them, or take them as negative, not "
            "relevant.",
        ),
    ] = UnjudgedTexts.SKIP,
    depth: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Candidates of each query; take as many as you rerank.",
        ),
    ] = 50,
    first_stage: FirstStageOption = "bm25",
    qrels: QrelsOption = None,
    seed: Annotated[
        int, typer.Option(metavar="N", parser=whole(0), help="The seed of the folds.")
    ] = 0,
    resamples: Annotated[
        int, typer.Option(metavar="N", parser=whole(100), help="Resamples of the bootstrap.")
    ] = 1000,
    resume: ResumeOption = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw how far the probabilities hold, as PNG, SVG or PDF by the ending of FILE.",
        ),
    ] = None,
) -> None:
    """Measure what the scores of a scorer mean."""
    options = locals()
    from rerank_core.cli._calibrate import CalibrateOptions, run_calibrate

    run_calibrate(CalibrateOptions(**options))
