"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from rerank_core.cli._values import scorers

__all__ = ["JsonOption", "ScorerOption"]

ScorerOption = Annotated[
    str,
    typer.Option(
        "--scorer",
        "-s",
        metavar="NAME",
        autocompletion=scorers,
        help="The scorer: nano (built in), onnx:…, torch:…, cohere:…, or a hub id.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
