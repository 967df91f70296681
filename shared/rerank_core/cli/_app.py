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
from rerank_core._trimming import make_trimmers
from rerank_core._trimming.tokens import NAMED_COUNTERS
from rerank_core._version import __version__
from rerank_core.cli._command import Command, Group, examples
from rerank_core.cli._rank import OutputFormat, RankOptions, rank_file
from rerank_core.cli._records import InputFormat
from rerank_core.cli._values import (
    choice,
    choices,
    hub_models,
    number,
    output_file,
    scorers,
    suggested,
    whole,
)

__all__ = ["app"]


class ExportPrecision(StrEnum):
    """The precision of an exported model."""

    FP32 = "fp32"
    INT8 = "int8"


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


@app.command(
    cls=Command,
    help="Sort candidates by how well each answers a query, best first.\n\n"
    "Reads JSON Lines, JSON arrays, CSV and TSV with a header, and plain lines, compressed with "
    'gzip or not. The text is in the field or column "text" unless --text-field names another. '
    "Writes JSON Lines: every field is kept as it is, and relevance_score is added or replaced. "
    "Candidates that were not scored, such as blank texts, have no score and come last. Plain "
    "lines become objects with the line number as id. Bad lines are skipped and reported on "
    "standard error.",
    epilog=examples(
        'rerank rank -q "How do plants eat?" -n 5 candidates.jsonl',
        'rerank rank -q "How do plants eat?" --text-field body docs.csv -o best.jsonl',
        'rerank rank -q "How do plants eat?" -s cohere:rerank-v5.0-fast texts.txt',
    )
    + "\n\n"
    "Exit codes: 0 done, perhaps with lines skipped; 1 failed, or a bad line with --strict; "
    "2 wrong argument or setting; 130 interrupted; 141 the reader of the output has gone; "
    "143 ended by SIGTERM.",
)
def rank(
    query: Annotated[
        str, typer.Option("--query", "-q", metavar="TEXT", help="What the user asked.")
    ],
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The candidates; - is standard input.")
    ] = "-",
    scorer: ScorerOption = "nano",
    depth: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Score only the first N candidates; the rest follow, unscored.",
        ),
    ] = None,
    top_n: Annotated[
        int | None,
        typer.Option(
            "--top-n", "-n", metavar="N", parser=whole(1), help="Keep only the N best candidates."
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE",
            parser=number(),
            help="Drop candidates that score lower, on the scale of the scorer or of the blend.",
        ),
    ] = None,
    blend: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD:WEIGHT",
            autocompletion=suggested("rrf", "minmax", "zscore"),
            help="Mix in the first stage: rrf (by position), minmax or zscore (by the scores in "
            "the field of --prior-key). WEIGHT is the share of the first stage, 0.5 if left out.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Keep the best N tokens of text; the same as --trim budget=N.",
        ),
    ] = None,
    count_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="COUNTER",
            autocompletion=suggested(*NAMED_COUNTERS),
            help="What counts the tokens of --max-tokens: nano (built in, approximate), an "
            "encoding of tiktoken, or MODULE:FUNCTION.",
        ),
    ] = None,
    trim: Annotated[
        list[str] | None,
        typer.Option(
            "--trim",
            metavar="TRIMMER",
            autocompletion=suggested("excerpt", "budget=", "distinct", "adaptive", "arrange="),
            help="What to leave out: excerpt (sentences that do not answer), budget=TOKENS, "
            "distinct (near-duplicates), adaptive (scores far below the best); or the order to "
            "write: arrange=edges. May be repeated. A text that is shortened keeps its field; the "
            "whole text is in the field trimmed.",
        ),
    ] = None,
    score_key: Annotated[
        str, typer.Option(metavar="FIELD", help="The field to write the score to.")
    ] = "relevance_score",
    span_key: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="The field to write the best passages to, if the scorer finds any.",
        ),
    ] = None,
    prior_key: Annotated[
        str, typer.Option(metavar="FIELD", help="The field that holds the first-stage score.")
    ] = "score",
    distinct_ids: Annotated[
        bool, typer.Option("--distinct-ids", help="Keep only the first candidate with each id.")
    ] = False,
    input_format: Annotated[
        InputFormat,
        typer.Option(
            metavar="FORMAT",
            parser=choice(InputFormat),
            autocompletion=suggested(*choices(InputFormat)),
            help="jsonl, json, csv, tsv or lines; auto decides by the content, then by the name "
            "of the file.",
        ),
    ] = InputFormat.AUTO,
    text_field: Annotated[
        str, typer.Option(metavar="FIELD", help="The field or column that holds the text.")
    ] = "text",
    rank_fields: Annotated[
        list[str] | None,
        typer.Option(
            "--rank-fields",
            metavar="FIELD",
            help="A field to read before the text, as a line FIELD: value; may be repeated.",
        ),
    ] = None,
    output_format: Annotated[
        OutputFormat,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            parser=choice(OutputFormat),
            autocompletion=suggested(*choices(OutputFormat)),
            help="jsonl or table; auto writes a table to a terminal, jsonl elsewhere.",
        ),
    ] = OutputFormat.AUTO,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=output_file,
            help="Write to this file, whole or not at all; - is standard output.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first bad line and write nothing.")
    ] = False,
    usage: Annotated[
        bool, typer.Option("--usage", help="Report on standard error what the scoring cost.")
    ] = False,
) -> None:
    """Reorder the candidates of a file."""
    options = locals()  # an option and its field have the same name
    source, scorer_name = options.pop("file"), options.pop("scorer")
    options["blend"] = make_blend(blend)
    if count_tokens is not None and count_tokens not in NAMED_COUNTERS:
        options["count_tokens"] = _function(count_tokens)
    options["trim"] = [
        made for name in trim or () for made in make_trimmers(name, argument="--trim")
    ]
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
        raise ConfigurationError(f"--count-tokens {name}: is not a function")
    return found  # type: ignore[no-any-return]


@app.command(
    "eval",
    cls=Command,
    help="Find out whether reranking helps on your own queries.\n\n"
    "Each DIR is a test collection in BEIR's layout: corpus.jsonl, queries.jsonl and qrels.tsv "
    "(TREC's qrels and runs are read too). Every scorer, alone and with each blend, at each depth, "
    "is compared with the first stage and with the others: metrics of ir-measures, bootstrap "
    "intervals, a randomisation test with Holm's correction, latency, and the queries won and "
    "lost. COLLECTION=VALUE sets an option for one collection only, as in --first-stage "
    "trec_dl19=run:bm25.",
    epilog=examples(
        "rerank eval --sample --queries 20",
        "rerank eval my-collection",
        "rerank eval my-collection -s nano -s torch:my-model --resume scores.jsonl",
        "rerank eval my-collection --blend rrf:0.3 --depth 50 --plot quality.svg",
    )
    + "\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong argument, file or installation; 130 interrupted, "
    "143 ended by SIGTERM (with --resume, the same command continues from there).",
)
def evaluate(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="DIR", help="Test collections.")
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample", help="Also use the built-in collection: 146 questions about Python."
        ),
    ] = False,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            "--scorer",
            "-s",
            metavar="[NAME=]SCORER",
            autocompletion=scorers,
            help="A scorer: nano, onnx:…, torch:…, bi:…, cohere:…, or a hub id; may be repeated. "
            "Default: nano.",
        ),
    ] = None,
    blend: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD:WEIGHT",
            autocompletion=suggested("rrf", "minmax", "zscore"),
            help="Also try each scorer mixed with the first stage, as in rrf:0.3; may be repeated.",
        ),
    ] = None,
    depth: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLLECTION=]N",
            help="Rerank the first N candidates; the rest follow. May be repeated. Default: 50.",
        ),
    ] = None,
    first_stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[COLLECTION=]STAGE",
            autocompletion=suggested("bm25"),
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
            metavar="METRIC",
            autocompletion=suggested("nDCG@10", "RR@10", "R@10", "AP"),
            help="A metric of ir-measures; may be repeated, and the first decides. RR(rel=2)@10 "
            "counts grades of 2 and above. Default: nDCG@10, RR@10, R@10, AP.",
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole(1), help="Take a sample of N queries of each collection."
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(0), help="The seed of the sample and the tests."),
    ] = 0,
    resamples: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(100),
            help="Resamples of the bootstrap and the randomisation test.",
        ),
    ] = 10_000,
    examples: Annotated[
        int,
        typer.Option(
            metavar="N", parser=whole(0), help="Queries won and lost to report for each system."
        ),
    ] = 3,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep scores in this file, or in a file in this folder, for the next run.",
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A JSON file with the prices of each scorer: "
            '{"cohere:rerank-v5.0-fast": {"million_tokens": 0.02}}.',
        ),
    ] = None,
    cascade: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="CHEAP STRONG",
            autocompletion=scorers,
            help="Also find how many candidates a cascade of two scorers should keep.",
        ),
    ] = None,
    max_loss: Annotated[
        float,
        typer.Option(
            metavar="LOSS",
            parser=number(0),
            help="How much of the deciding metric the cascade may lose.",
        ),
    ] = 0.005,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the whole report to this file; - prints it instead of the tables.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw quality against latency, as PNG, SVG or PDF by the ending of FILE.",
        ),
    ] = None,
) -> None:
    """Compare scorers with the first stage and with each other."""
    options = locals()
    from rerank_core.cli._eval import EvalOptions, run_eval

    run_eval(EvalOptions(**options))


@app.command(
    cls=Command,
    help="Turn a torch cross-encoder into an ONNX folder.\n\n"
    "The folder needs no torch to run: use it as --scorer onnx:DIR. It is compared with the "
    "original on built-in texts, and appears complete or not at all. An fp32 export whose logits "
    "differ by more than 0.001 is refused.",
    epilog=examples(
        "rerank export cross-encoder/ms-marco-MiniLM-L6-v2 --out minilm",
        "rerank export my-model --out my-model-int8 --precision int8",
    )
    + "\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong argument, setting or installation; 130 interrupted; "
    "143 ended by SIGTERM.",
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
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an earlier export once the new one is complete."),
    ] = False,
) -> None:
    """Turn a torch cross-encoder into an ONNX folder."""
    options = locals()
    from rerank_core.cli._export import run_export

    run_export(**options)


@app.command(cls=Command, epilog=examples("rerank models", "rerank models --json"))
def models(as_json: JsonOption = False) -> None:
    """List recommended models, with sizes, licences and published figures."""
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
