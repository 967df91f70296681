"""Values of options: how they are read, and what a shell suggests for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from rerank_core._checks import check_choice, check_number, check_whole
from rerank_core._errors import ConfigurationError
from rerank_core._models import list_models
from rerank_core._trimming import Trimmer, make_trimmers

__all__ = [
    "DepthOption",
    "FirstStageOption",
    "ForceOption",
    "MinScoreOption",
    "PricesOption",
    "QrelsOption",
    "ResamplesOption",
    "ResumeOption",
    "SampleOption",
    "ScorerOption",
    "TopNOption",
    "choice",
    "choices",
    "duration",
    "hub_models",
    "number",
    "output_file",
    "scorers",
    "suggested",
    "trimmer_names",
    "trimmers",
    "whole",
]

T = TypeVar("T")
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s)")
Completion = Callable[[str], list[str]]


def whole(least: int) -> Callable[[object], int]:
    """Return a parser of whole numbers that are large enough."""
    return lambda value: _checked(lambda: check_whole(_converted(int, value), "", least=least))


def number(least: float | None = None) -> Callable[[object], float]:
    """Return a parser of finite numbers that are large enough."""
    return lambda value: _checked(lambda: check_number(_converted(float, value), "", least=least))


def duration(text: object, option: str) -> float:
    """Read a time with its unit, such as ``200ms`` or ``0.2s``, in seconds.

    Raises:
        ConfigurationError: If it is no such time, or no time at all.
    """
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise ConfigurationError(
            f"{option} {text!r} must be a time with its unit, such as 200ms or 0.2s"
        )
    return check_number(float(match[1]) / (1000 if match[2] == "ms" else 1), option, above=0)


def choice(kind: type[StrEnum]) -> Callable[[object], StrEnum]:
    """Return a parser of the values of an enumeration."""
    return lambda value: _checked(lambda: kind(check_choice(str(value), "", choices(kind))))


def choices(kind: type[StrEnum]) -> list[str]:
    """Return the values of an enumeration."""
    return [known.value for known in kind]


def output_file(value: object) -> Path | None:
    """Read the name of a file to write; None for standard output, which is ``-``."""
    return None if str(value) == "-" else Path(str(value))


def _converted(kind: type[int] | type[float], value: object) -> object:
    """Convert the text of a number; any other text is left to the check."""
    with suppress(ValueError):
        return kind(str(value))
    return value


def _checked(check: Callable[[], T]) -> T:
    try:
        return check()
    except ConfigurationError as error:
        raise typer.BadParameter(str(error).strip()) from None


def suggested(*values: str) -> Completion:
    """Return the completion of values that are known in advance."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


trimmer_names = suggested("excerpt", "budget=", "distinct", "adaptive", "arrange=")


def trimmers(names: Iterable[str] | None) -> list[Trimmer]:
    """Make the trimmers of ``--trim``."""
    return [made for name in names or () for made in make_trimmers(name, argument="--trim")]


_IDS = [model.name for model in list_models() if "/" in model.name]
hub_models = suggested(*_IDS)
scorers = suggested(*(model.name for model in list_models()), *(f"torch:{name}" for name in _IDS))


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

SampleOption = Annotated[
    bool,
    typer.Option("--sample", help="Use the built-in collection: 146 questions about Python."),
]
FirstStageOption = Annotated[
    str,
    typer.Option(
        metavar="STAGE",
        autocompletion=suggested("bm25"),
        help="bm25 (k1 0.9, b 0.4, English), run:NAME (run.NAME.tsv in the collection, or a path), "
        "or dense:… (a bi-encoder).",
    ),
]
QrelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="The judgements, a path within the collection. Default: qrels.tsv, else "
        "qrels/test.tsv.",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Keep scores in this file, or in a file in this folder, for the next run.",
    ),
]
PricesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A JSON file with the prices of each scorer: "
        '{"cohere:rerank-v5.0-fast": {"million_tokens": 0.02}}.',
    ),
]
ResamplesOption = Annotated[
    int,
    typer.Option(
        metavar="N",
        parser=whole(100),
        help="Resamples of the bootstrap and the randomisation test.",
    ),
]
DepthOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole(1),
        help="Score only the first N candidates; the rest follow, unscored.",
    ),
]
TopNOption = Annotated[
    int | None,
    typer.Option(
        "--top-n", "-n", metavar="N", parser=whole(1), help="Keep only the N best candidates."
    ),
]
MinScoreOption = Annotated[
    float | None,
    typer.Option(
        metavar="SCORE",
        parser=number(),
        help="Drop candidates that score lower, on the scale of the scorer or of the blend.",
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace an earlier export once the new one is complete.")
]
