"""``python -m training STEP --data DIR``: one command a step, or ``all``."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.settings import Settings, load_settings

_HERE = Path(__file__).parent
_CARD = _HERE.parent / "shared" / "rerank_core" / "models" / "nano" / "README.md"


class Step(StrEnum):
    """The steps, in their order."""

    PREPARE = "prepare"
    EMBED = "embed"
    MINE = "mine"
    TRAIN = "train"
    EXPORT = "export"
    EVALUATE = "evaluate"
    CARD = "card"
    ALL = "all"


def _prepare(settings: Settings) -> None:
    from training.prepare import prepare

    prepare(settings)


def _embed(settings: Settings) -> None:
    from training.teachers import TEACHERS, embed

    for teacher in TEACHERS:
        embed(settings, teacher)


def _mine(settings: Settings) -> None:
    from training.mining import mine

    mine(settings)


def _train(settings: Settings) -> None:
    from training.train import train

    train(settings)


def _export(settings: Settings) -> None:
    from training.export import export

    export(settings)


def _evaluate(settings: Settings) -> None:
    from training.evaluate import evaluate

    evaluate(settings)


def _card(settings: Settings) -> None:
    from training.evaluate import card

    card(settings, _CARD)


_STEPS: dict[Step, Callable[[Settings], None]] = {
    Step.PREPARE: _prepare,
    Step.EMBED: _embed,
    Step.MINE: _mine,
    Step.TRAIN: _train,
    Step.EXPORT: _export,
    Step.EVALUATE: _evaluate,
    Step.CARD: _card,
}


def main(
    step: Annotated[Step, typer.Argument(help="What to do; each goes on where it was stopped.")],
    data: Annotated[Path, typer.Option(help="Folder with train/, pretrain/ and eval/.")],
    work: Annotated[Path, typer.Option(help="Folder for what the steps write.")] = _HERE / "work",
    config: Annotated[Path, typer.Option(help="The configuration.")] = _HERE / "config.toml",
) -> None:
    """Make the embedded model."""
    settings = load_settings(config, data, work)
    for name, run in _STEPS.items():
        if step in (Step.ALL, name):
            print(f"== {name}", flush=True)
            run(settings)


if __name__ == "__main__":
    typer.run(main)
