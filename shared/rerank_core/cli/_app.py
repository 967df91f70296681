"""The commands and their options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import typer

from rerank_core._errors import ConfigurationError
from rerank_core._loading import load_scorer
from rerank_core._ordering import make_blend
from rerank_core._version import __version__
from rerank_core.cli._guard import Command, guarded
from rerank_core.cli._rank import OutputFormat, RankOptions, rank_file
from rerank_core.cli._records import InputFormat

__all__ = ["app"]


class ExportPrecision(StrEnum):
    """The precision of an exported model."""

    FP32 = "fp32"
    INT8 = "int8"


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
    cls=Command,
    help="Reorder candidates by how well each answers the query, best first.\n\n"
    "Reads JSON Lines, a JSON array, CSV or TSV with a header, and plain lines, compressed by gzip "
    'or not. The text is in the field or column "text", unless --text-field says otherwise. Writes '
    "JSON Lines: every other field is kept as it is, and relevance_score is added or replaced; a "
    "candidate that was not scored, such as a blank text, gets none and comes last. Plain lines "
    "become objects with their line number as id. Bad lines are reported on standard error and "
    "skipped.",
    epilog="Exit codes: 0 done, perhaps with lines skipped; 1 failed, or a bad line with --strict; "
    "2 wrong argument or setting; 130 interrupted; 141 the reader of the output has gone.",
)
def rank(
    query: Annotated[str, typer.Option("--query", "-q", help="What the user asked.")],
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Candidates; - is standard input."),
    ] = "-",
    scorer: ScorerOption = "nano",
    depth: Annotated[
        int | None,
        typer.Option(min=1, help="Score only so many of the first; the rest follow unscored."),
    ] = None,
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
            help="Mix with the first stage: rrf (by position), minmax or zscore (by the field of "
            "--prior-key); the weight of the first stage is 0.5 unless given.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Keep at most so many tokens of text.")
    ] = None,
    count_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="Counts them; unless given, the embedded model's tokenizer does.",
        ),
    ] = None,
    score_key: Annotated[
        str, typer.Option(metavar="NAME", help="The field that gets the score.")
    ] = "relevance_score",
    span_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The field that gets the passages, where the scorer knows them."
        ),
    ] = None,
    prior_key: Annotated[
        str, typer.Option(metavar="NAME", help="The field that holds the first-stage score.")
    ] = "score",
    distinct_ids: Annotated[
        bool, typer.Option("--distinct-ids", help="Keep only the first of each id.")
    ] = False,
    input_format: Annotated[
        InputFormat,
        typer.Option(help="auto: what the content shows, else what the file's ending says."),
    ] = InputFormat.AUTO,
    text_field: Annotated[
        str, typer.Option(metavar="NAME", help="The field or column that holds the text.")
    ] = "text",
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
    options = locals()
    with guarded():
        source, scorer_name = options.pop("file"), options.pop("scorer")
        options["blend"] = make_blend(blend)
        options["count_tokens"] = count_tokens and _function(count_tokens)
        rank_file(source, load_scorer(scorer_name), RankOptions(**options))


def _function(name: str) -> Callable[[str], int]:
    """Import the function of ``--count-tokens``, also from a file in this folder."""
    sys.path.insert(0, "")
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"--count-tokens {name}: {error}; it must be MODULE:FUNCTION"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"--count-tokens {name}: is no function")
    return found  # type: ignore[no-any-return]


@app.command()
def info(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show versions, providers, threads, models and settings found here."""
    from rerank_core.cli._facts import show_info

    with guarded():
        show_info(as_json=as_json)


@app.command(cls=Command)
def demo(scorer: ScorerOption = "nano") -> None:
    """See what a second stage changes, on a small collection of texts."""
    with guarded():
        from rerank_core.cli.demo import WholeConsole, run_demo

        run_demo(WholeConsole(), scorer=scorer)


@app.command(
    "eval",
    cls=Command,
    help="Find out whether reranking helps on your own queries.\n\n"
    "Each DIR is a test collection in BEIR's layout: corpus.jsonl, queries.jsonl and qrels.tsv "
    "(TREC's qrels and runs are read too). Every scorer, without and with each blend, at each "
    "depth, is compared with the first stage and with the others: metrics of ir-measures, "
    "bootstrap intervals, a randomisation test with Holm's correction, latency, and the queries "
    "won and lost. What is written COLLECTION=VALUE holds for that collection only, such as "
    "--first-stage trec_dl19=run:bm25.",
    epilog="Exit codes: 0 done; 1 failed; 2 wrong argument, file or installation; "
    "130 interrupted (with --resume the same command goes on from there).",
)
def evaluate(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Test collections.")],
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            "--scorer",
            "-s",
            metavar="[NAME=]SCORER",
            help="What scores, as often as you like: nano, onnx:…, torch:…, bi:…, cohere:…, a hub "
            "id. Default: nano.",
        ),
    ] = None,
    blend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD:WEIGHT",
            help="Try each scorer also mixed with the first stage, such as rrf:0.3.",
        ),
    ] = None,
    depth: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLLECTION=]N",
            help="Rerank so many candidates; those behind follow. Default: 50.",
        ),
    ] = None,
    first_stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLLECTION=]STAGE",
            help="bm25, run:NAME for run.NAME.tsv in DIR or a path, dense:… for a bi-encoder. "
            "Default: bm25 (k1 0.9, b 0.4, English).",
        ),
    ] = None,
    qrels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLLECTION=]FILE",
            help="Judgements, a path from DIR. Default: qrels.tsv, else qrels/test.tsv.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Of ir-measures; the first decides. RR(rel=2)@10 counts grades from 2 on. "
            "Default: nDCG@10, RR@10, R@10, AP.",
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Use a sample of so many queries of each.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample and of the tests.")] = 0,
    resamples: Annotated[
        int, typer.Option(min=100, help="Of the bootstrap and the randomisation test.")
    ] = 10_000,
    examples: Annotated[
        int, typer.Option(min=0, help="Queries won and lost to put into the report.")
    ] = 3,
    resume: Annotated[
        Path | None,
        typer.Option(help="A file, or a folder for one, that keeps scores from run to run."),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file of price tables by scorer: "
            '{"cohere:rerank-v3.5": {"search_unit": 0.002}}.'
        ),
    ] = None,
    cascade: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="CHEAP STRONG", help="Also find how many candidates a cascade should pass on."
        ),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0.0, help="What that may lose of the deciding metric.")
    ] = 0.005,
    json: Annotated[Path | None, typer.Option(help="Write the whole report to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw quality against latency into this PNG.")
    ] = None,
) -> None:
    """Compare ways to rerank with the first stage and with each other."""
    options = locals()
    with guarded():
        from rerank_core.cli._eval import EvalOptions, run_eval

        run_eval(EvalOptions(**options))


@app.command(
    cls=Command,
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
    options = locals()
    with guarded():
        from rerank_core.cli._facts import run_export

        run_export(**options)
