"""The commands and their options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import typer

from rerank_core._blend import make_blend
from rerank_core._errors import ConfigurationError
from rerank_core._loading import load_scorer
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
    help="Rerank retrieved candidates: score them against a query, reorder and trim them.",
)

ScorerOption = Annotated[
    str,
    typer.Option(
        "--scorer", "-s", help="The scorer: nano (built in), onnx:…, torch:…, cohere:…, a hub id."
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
    """Take the options that come before a command."""


@app.command(
    cls=Command,
    help="Sort candidates by how well each answers the query, best first.\n\n"
    "Reads JSON Lines, JSON arrays, CSV and TSV with a header, and plain lines, compressed by gzip "
    'or not. The text is in the field or column "text", unless --text-field names another. Writes '
    "JSON Lines: every field is kept as it is, and relevance_score is added or replaced. A "
    "candidate that was not scored, such as a blank text, has no score and comes last. Plain lines "
    "become objects with the line number as id. Bad lines are skipped and reported on standard "
    "error.",
    epilog="Exit codes: 0 done, perhaps with lines skipped; 1 failed, or a bad line with --strict; "
    "2 wrong argument or setting; 130 interrupted; 141 the reader of the output has gone; "
    "143 ended by SIGTERM.",
)
def rank(
    query: Annotated[str, typer.Option("--query", "-q", help="What the user asked.")],
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The candidates; - is standard input.")
    ] = "-",
    scorer: ScorerOption = "nano",
    depth: Annotated[
        int | None,
        typer.Option(min=1, help="Score only the first so many candidates; the others follow."),
    ] = None,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", min=1, help="Keep at most so many candidates.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            help="Drop candidates that score lower, on the scale of the scorer or the blend."
        ),
    ] = None,
    blend: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD:WEIGHT",
            help="Mix with the first stage: rrf (by position), minmax or zscore (by the field of "
            "--prior-key). The weight is that of the first stage, 0.5 unless given.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Keep at most so many tokens of text.")
    ] = None,
    count_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FUNCTION",
            help="The function that counts them. Default: the embedded model's tokenizer.",
        ),
    ] = None,
    score_key: Annotated[
        str, typer.Option(metavar="NAME", help="The field that gets the score.")
    ] = "relevance_score",
    span_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The field that gets the passages, if the scorer finds them."
        ),
    ] = None,
    prior_key: Annotated[
        str, typer.Option(metavar="NAME", help="The field that holds the first-stage score.")
    ] = "score",
    distinct_ids: Annotated[
        bool, typer.Option("--distinct-ids", help="Keep only the first candidate of each id.")
    ] = False,
    input_format: Annotated[
        InputFormat,
        typer.Option(
            help="auto: by the content, and where that cannot tell, by the file's ending."
        ),
    ] = InputFormat.AUTO,
    text_field: Annotated[
        str, typer.Option(metavar="NAME", help="The field or column that holds the text.")
    ] = "text",
    rank_fields: Annotated[
        list[str] | None,
        typer.Option(
            "--rank-fields",
            metavar="NAME",
            help="A field that is read before the text, as a line NAME: value; may be repeated.",
        ),
    ] = None,
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
        bool, typer.Option("--usage", help="Report on standard error what the scoring cost.")
    ] = False,
) -> None:
    """Reorder the candidates of a file."""
    options = locals()  # an option and its field have the same name
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the versions, providers, threads, models and settings found here."""
    from rerank_core.cli._facts import show_info

    with guarded():
        show_info(as_json=as_json)


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List recommended models, with sizes, licences and published figures."""
    from rerank_core.cli._models_table import show_models

    with guarded():
        show_models(as_json=as_json)


@app.command(cls=Command)
def demo(scorer: ScorerOption = "nano") -> None:
    """Show what reranking changes, on a few passages and on real documentation."""
    with guarded():
        from rerank_core.cli.demo import WholeConsole, run_demo

        run_demo(WholeConsole(), scorer=scorer)


@app.command(
    "eval",
    cls=Command,
    help="Find out whether reranking helps on your own queries.\n\n"
    "Each DIR is a test collection in BEIR's layout: corpus.jsonl, queries.jsonl and qrels.tsv "
    "(TREC's qrels and runs are read too). Every scorer, alone and with each blend, at each depth, "
    "is compared with the first stage and with the others: metrics of ir-measures, bootstrap "
    "intervals, a randomisation test with Holm's correction, latency, and the queries won and "
    "lost. COLLECTION=VALUE sets an option for one collection, as in --first-stage "
    "trec_dl19=run:bm25.",
    epilog="Exit codes: 0 done; 1 failed; 2 wrong argument, file or installation; "
    "130 interrupted, 143 ended by SIGTERM (with --resume, the same command continues from there).",
)
def evaluate(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR...", help="Test collections.")
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample", help="The collection that is built in: 146 questions about Python."
        ),
    ] = False,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            "--scorer",
            "-s",
            metavar="[NAME=]SCORER",
            help="A scorer; may be repeated: nano, onnx:…, torch:…, bi:…, cohere:…, a hub id. "
            "Default: nano.",
        ),
    ] = None,
    blend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD:WEIGHT",
            help="Also try each scorer mixed with the first stage, as in rrf:0.3.",
        ),
    ] = None,
    depth: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLLECTION=]N",
            help="Rerank the first N candidates; the others follow. Default: 50.",
        ),
    ] = None,
    first_stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLLECTION=]STAGE",
            help="bm25, run:NAME (run.NAME.tsv in DIR, or a path), or dense:… (a bi-encoder). "
            "Default: bm25 (k1 0.9, b 0.4, English).",
        ),
    ] = None,
    qrels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLLECTION=]FILE",
            help="The judgements, a path within DIR. Default: qrels.tsv, else qrels/test.tsv.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric of ir-measures; the first decides. RR(rel=2)@10 counts grades of 2 "
            "and above. "
            "Default: nDCG@10, RR@10, R@10, AP.",
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Sample so many queries of each collection.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the sample and the tests.")] = 0,
    resamples: Annotated[
        int, typer.Option(min=100, help="Resamples of the bootstrap and the randomisation test.")
    ] = 10_000,
    examples: Annotated[
        int, typer.Option(min=0, help="Queries won and lost to report for each system.")
    ] = 3,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Keep scores in this file, or in a file in this folder, for the next run."
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file of price tables by scorer: "
            '{"cohere:rerank-v5.0-fast": {"million_tokens": 0.02}}.'
        ),
    ] = None,
    cascade: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="CHEAP STRONG", help="Also find how many candidates a cascade should keep."
        ),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(min=0.0, help="What the cascade may lose of the deciding metric.")
    ] = 0.005,
    json: Annotated[Path | None, typer.Option(help="Write the whole report to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw quality against latency in this PNG file.")
    ] = None,
) -> None:
    """Compare scorers with the first stage and with each other."""
    options = locals()
    with guarded():
        from rerank_core.cli._eval import EvalOptions, run_eval

        run_eval(EvalOptions(**options))


@app.command(
    cls=Command,
    help="Turn a torch cross-encoder into an ONNX folder that needs no torch to run.\n\n"
    "The export is compared with the original on built-in texts, and the folder appears complete "
    "or not at all; use it as --scorer onnx:DIR. An fp32 export whose logits differ by more than "
    "0.001 is refused.",
    epilog="Exit codes: 0 done; 1 failed; 2 wrong argument, setting or installation; "
    "130 interrupted; 143 ended by SIGTERM.",
)
def export(
    model: Annotated[str, typer.Argument(help="The cross-encoder: a folder or a hub id.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    precision: Annotated[
        ExportPrecision,
        typer.Option(help="int8 is smaller and faster, and ranks slightly differently."),
    ] = ExportPrecision.FP32,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="The most tokens of a pair. Default: the model's own."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an earlier export once the new one is complete."),
    ] = False,
) -> None:
    """Turn a torch cross-encoder into an ONNX folder."""
    options = locals()
    with guarded():
        from rerank_core.cli._facts import run_export

        run_export(**options)
