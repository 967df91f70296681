"""Command line of the recipe: ``python -m training STEP --data DIR``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.evaluate import card, evaluate
from training.export import export
from training.label import label
from training.mining import mine
from training.prepare import prepare
from training.settings import Settings, load_settings
from training.start import start
from training.teachers import embed
from training.train import train

_HERE = Path(__file__).parent


class Step(StrEnum):
    """Steps in the order in which ``all`` runs them."""

    PREPARE = "prepare"
    EMBED = "embed"
    MINE = "mine"
    LABEL = "label"
    START = "start"
    TRAIN = "train"
    EXPORT = "export"
    EVALUATE = "evaluate"
    CARD = "card"
    ALL = "all"


_STEPS: dict[Step, Callable[[Settings], None]] = {
    Step.PREPARE: prepare,
    Step.EMBED: embed,
    Step.MINE: mine,
    Step.LABEL: label,
    Step.START: start,
    Step.TRAIN: train,
    Step.EXPORT: export,
    Step.EVALUATE: evaluate,
    Step.CARD: card,
}


def main(
    step: Annotated[Step, typer.Argument(help="Step to run; a step that was stopped resumes.")],
    data: Annotated[Path, typer.Option(help="Folder with train/, pretrain/ and eval/.")],
    work: Annotated[Path, typer.Option(help="Folder for the output of the steps.")] = _HERE
    / "work",
    config: Annotated[Path, typer.Option(help="Configuration file.")] = _HERE / "config.toml",
) -> None:
    """Make the embedded model."""
    settings = load_settings(config, data, work)
    for name, run in _STEPS.items():
        if step in (Step.ALL, name):
            print(f"== {name}", flush=True)
            run(settings)


if __name__ == "__main__":
    typer.run(main)
