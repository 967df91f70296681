"""``rerank train`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_core.cli._command import examples
from rerank_core.cli._values import (
    FirstStageOption,
    ForceOption,
    QrelsOption,
    number,
    scorers,
    suggested,
    whole,
)

__all__ = ["EPILOG", "HELP", "train"]

HELP = (
    "Train a small cross-encoder on your own collection.\n\n"
    "DIR is a test collection in BEIR's layout, as for rerank eval. Some of its queries are held "
    "out; from the candidates of the others the student learns to score as the teachers do, to "
    "prefer what is judged relevant, or both. It is written as an int8 folder, for --scorer "
    "onnx:DIR, only if it is proved better than its start on the queries that were held out."
)
EPILOG = (
    examples(
        "rerank train my-collection --labels --out my-nano",
        "rerank train my-collection --labels -t cohere:rerank-v3.5 --out my-nano",
        "rerank train my-collection -t torch:my-model --out my-nano --resume kept",
    )
    + "\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong argument, file or installation; 3 nothing written, as "
    "no gain was proved; 130 interrupted, 143 ended by SIGTERM (with --resume, the same command "
    "continues from there)."
)


def train(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The collection.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    start: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            autocompletion=suggested("nano"),
            help="The model to begin with: nano, or a cross-encoder by folder or hub id.",
        ),
    ] = "nano",
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--teacher",
            "-t",
            metavar="SCORER",
            autocompletion=scorers,
            help="A scorer to learn from, which scores every candidate once; of several, the sum "
            "counts. Check that its terms allow it. May be repeated.",
        ),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Learn from the collection's judgements.")
    ] = False,
    minutes: Annotated[
        float,
        typer.Option(
            metavar="N",
            parser=number(),
            help="Maximum time for training. The teachers and the comparison come on top.",
        ),
    ] = 30,
    depth: Annotated[
        int, typer.Option(metavar="N", parser=whole(2), help="Candidates of each query.")
    ] = 50,
    first_stage: FirstStageOption = "bm25",
    qrels: QrelsOption = None,
    held_out: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            parser=number(),
            help="Share of the queries to hold out, from 0.1 to 0.9.",
        ),
    ] = 0.3,
    seed: Annotated[
        int, typer.Option(metavar="N", parser=whole(0), help="The seed of the random numbers.")
    ] = 0,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the teachers' scores and the state of the training in this folder.",
        ),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Train a small cross-encoder on your own collection."""
    options = locals()
    from rerank_core.cli._train import run_train

    run_train(**options)
