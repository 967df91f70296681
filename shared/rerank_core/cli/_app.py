"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rerank_core._version import __version__
from rerank_core.cli._export import ExportPrecision, run_export
from rerank_core.cli._guard import guarded
from rerank_core.cli._rank import OutputFormat, RankOptions, parse_blend, rank_file
from rerank_core.cli._records import InputFormat
from rerank_core.loading import load_scorer

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug shows a plain traceback, without local variables
    help="The second stage of retrieval: score candidates against a query, reorder, trim.",
)

ScorerOption = Annotated[
    str,
    typer.Option(
        "--scorer", "-s", help="What scores: nano (built in), onnx:…, torch:…, cohere:…, a hub id."
    ),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rerank {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Hold the options that come before a command."""


@app.command(
    help="Reorder candidates by how well each answers the query, best first.\n\n"
    'JSON Lines need a string "text". Every other field is kept as it is, and relevance_score is '
    "added or replaced; a candidate that was not scored, such as a blank text, gets none and comes "
    "last. Plain lines become objects with their line number as id. Bad lines are reported on "
    "standard error and skipped.",
    epilog="Exit codes: 0 done, perhaps with lines skipped; 1 failed, or a bad line with --strict; "
    "2 wrong argument or setting; 130 interrupted; 141 the reader of the output has gone.",
)
def rank(
    query: Annotated[str, typer.Option("--query", "-q", help="What the user asked.")],
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Candidates, one a line; - is standard input."),
    ] = "-",
    scorer: ScorerOption = "nano",
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", min=1, help="Keep at most this many.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Drop what scores lower; on the scale of the scorer, or of the blend."),
    ] = None,
    blend: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD:WEIGHT",
            help="Mix with the first stage: rrf (by position), minmax or zscore (by the field "
            "score); the weight of the first stage is 0.5 unless given.",
        ),
    ] = None,
    input_format: Annotated[
        InputFormat,
        typer.Option(help="auto: jsonl if the first line starts with a brace."),
    ] = InputFormat.AUTO,
    output_format: Annotated[
        OutputFormat,
        typer.Option("--format", "-f", help="auto: a table on a terminal, jsonl elsewhere."),
    ] = OutputFormat.AUTO,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this file, whole or not at all."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad line, and write nothing.")
    ] = False,
    usage: Annotated[
        bool, typer.Option("--usage", help="Tell on standard error what the scoring cost.")
    ] = False,
) -> None:
    """Reorder the candidates of a file."""
    with guarded():
        options = RankOptions(
            query=query,
            top_n=top_n,
            min_score=min_score,
            blend=parse_blend(blend),
            input_format=input_format,
            output_format=output_format,
            output=output,
            strict=strict,
            usage=usage,
        )
        rank_file(file, load_scorer(scorer), options)


@app.command()
def info(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show versions, providers, threads, models and settings found here."""
    from rerank_core.cli._info import show_info

    with guarded():
        show_info(as_json=as_json)


@app.command()
def demo(scorer: ScorerOption = "nano") -> None:
    """See what a second stage changes, on a small collection of texts."""
    with guarded():
        from rerank_core.cli.demo import run_demo

        run_demo(Console(), scorer=scorer)


@app.command(
    help="Turn a torch cross-encoder into an ONNX folder that needs no torch to run.\n\n"
    "The folder is compared with the original on built-in texts before it appears, complete or not "
    "at all; use it as --scorer onnx:DIR. An fp32 export whose logits differ by more than 0.001 is "
    "refused.",
    epilog="Exit codes: 0 done; 1 failed; 2 wrong argument, setting or installation; "
    "130 interrupted.",
)
def export(
    model: Annotated[str, typer.Argument(help="Folder or hub id of the cross-encoder.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    precision: Annotated[
        ExportPrecision,
        typer.Option(help="int8 is smaller and faster, and its order differs a little."),
    ] = ExportPrecision.FP32,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="Most tokens of a pair; the model's own unless given."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an earlier export, once the new one is done.")
    ] = False,
) -> None:
    """Turn a torch cross-encoder into an ONNX folder."""
    with guarded():
        run_export(model, out, precision, max_length=max_length, revision=revision, force=force)
