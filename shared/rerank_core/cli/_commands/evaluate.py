"""``rerank eval`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_core.cli._command import examples as _examples
from rerank_core.cli._values import (
    PricesOption,
    ResamplesOption,
    ResumeOption,
    number,
    scorers,
    suggested,
    trimmer_names,
    whole,
)

__all__ = ["EPILOG", "HELP", "evaluate"]

HELP = (
    "Find out whether reranking helps on your own queries.\n\n"
    "Each DIR is a test collection in BEIR's layout: corpus.jsonl, queries.jsonl and qrels.tsv "
    "(TREC's qrels and runs are read too). Every scorer, alone and with each blend, at each depth, "
    "is compared with the first stage and with the others: metrics of ir-measures, bootstrap "
    "intervals, a randomisation test with Holm's correction, latency, and the queries won and "
    "lost. COLLECTION=VALUE sets an option for one collection only, as in --first-stage "
    "trec_dl19=run:bm25."
)
EPILOG = (
    _examples(
        "rerank eval --sample --queries 20",
        "rerank eval my-collection",
        "rerank eval my-collection -s nano -s torch:my-model --resume scores.jsonl",
        "rerank eval my-collection --blend rrf:0.3 --depth 50 --plot quality.svg",
        "rerank eval my-collection --trim excerpt --trim budget=2000 --top-n 5",
    )
    + "\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong argument, file or installation; 130 interrupted, "
    "143 ended by SIGTERM (with --resume, the same command continues from there)."
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
            "Default: nano, unless there is a --profile.",
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also compare the scorer and the blend of a profile, as rerank tune writes it. "
            "Its depth and trimmers are the defaults of --depth and --trim; its threshold is not "
            "evaluated.",
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
    resamples: ResamplesOption = 10_000,
    examples: Annotated[
        int,
        typer.Option(
            metavar="N", parser=whole(0), help="Queries won and lost to report for each system."
        ),
    ] = 3,
    resume: ResumeOption = None,
    prices: PricesOption = None,
    cascade: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="CHEAP STRONG",
            autocompletion=scorers,
            help="Also find how many candidates a cascade of two scorers should keep.",
        ),
    ] = None,
    trim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRIMMER",
            autocompletion=trimmer_names,
            help="Also tell what this leaves of the reranked candidates, in tokens, relevant texts "
            "and answers: excerpt, budget=TOKENS, distinct, adaptive; may be repeated.",
        ),
    ] = None,
    top_n: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole(1), help="With --trim, at most N candidates stay."),
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
