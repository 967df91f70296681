"""The program: its commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from rerank_core._version import __version__
from rerank_core.cli._command import Command, Group, examples
from rerank_core.cli._commands import bulk, calibrate, evaluate, export, rank, serve, train, tune
from rerank_core.cli._values import ScorerOption

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug shows a plain traceback, without local variables
    rich_markup_mode=None,  # its tables of options are unreadable in narrow terminals
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Rerank retrieved candidates: score them against a query, reorder and trim them.",
    epilog=examples(
        'rerank rank -q "How do plants eat?" candidates.jsonl',
        "rerank rank --help",
        "rerank demo",
    ),
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rerank {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that come before a command."""


for _name, _function, _help, _epilog in (
    ("rank", rank.rank, rank.HELP, rank.EPILOG),
    ("bulk", bulk.bulk, bulk.HELP, bulk.EPILOG),
    ("eval", evaluate.evaluate, evaluate.HELP, evaluate.EPILOG),
    ("tune", tune.tune, tune.HELP, tune.EPILOG),
    ("calibrate", calibrate.calibrate, calibrate.HELP, calibrate.EPILOG),
    ("export", export.export, export.HELP, export.EPILOG),
    ("train", train.train, train.HELP, train.EPILOG),
    ("serve", serve.serve, serve.HELP, serve.EPILOG),
):
    app.command(_name, cls=Command, help=_help, epilog=_epilog)(_function)


@app.command(cls=Command, epilog=examples("rerank models", "rerank models --json"))
def models(as_json: JsonOption = False) -> None:
    """List recommended models: sizes, licences and published figures."""
    from rerank_core.cli._models_table import show_models

    show_models(as_json=as_json)


@app.command(cls=Command, epilog=examples("rerank info", "rerank info --json"))
def info(as_json: JsonOption = False) -> None:
    """Show the versions, models and settings found here."""
    from rerank_core.cli._facts import show_info

    show_info(as_json=as_json)


@app.command(cls=Command, epilog=examples("rerank demo", "rerank demo -s onnx:minilm"))
def demo(scorer: ScorerOption = "nano") -> None:
    """Show what reranking changes on real documentation."""
    from rerank_core.cli.demo import WholeConsole, run_demo

    run_demo(WholeConsole(), scorer=scorer)
