"""``rerank export`` and its options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rerank_core.cli._command import examples
from rerank_core.cli._values import (
    ForceOption,
    choice,
    choices,
    hub_models,
    suggested,
    whole,
)

__all__ = ["EPILOG", "HELP", "export"]


class ExportPrecision(StrEnum):
    """The precision of an exported model."""

    FP32 = "fp32"
    INT8 = "int8"


HELP = (
    "Turn a torch cross-encoder into an ONNX folder.\n\n"
    "The folder needs no torch to run: use it as --scorer onnx:DIR. It is compared with the "
    "original on built-in texts, and appears complete or not at all. An fp32 export whose logits "
    "differ by more than 0.001 is refused."
)
EPILOG = (
    examples(
        "rerank export cross-encoder/ms-marco-MiniLM-L6-v2 --out minilm",
        "rerank export my-model --out my-model-int8 --precision int8",
    )
    + "\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong argument, setting or installation; 130 interrupted; "
    "143 ended by SIGTERM."
)


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            autocompletion=hub_models,
            help="The cross-encoder: a folder or a hub id.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    precision: Annotated[
        ExportPrecision,
        typer.Option(
            metavar="PRECISION",
            parser=choice(ExportPrecision),
            autocompletion=suggested(*choices(ExportPrecision)),
            help="fp32 or int8, which is smaller and faster, and ranks slightly differently.",
        ),
    ] = ExportPrecision.FP32,
    max_length: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="The most tokens of a pair. Default: the model's own limit.",
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="REVISION", help="A branch, tag or commit on the hub."),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Turn a torch cross-encoder into an ONNX folder."""
    options = locals()
    from rerank_core.cli._export import run_export

    run_export(**options)
