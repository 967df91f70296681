"""``rerank bulk`` and its options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rerank_core.cli._command import examples
from rerank_core.cli._values import (
    DepthOption,
    MinScoreOption,
    ScorerOption,
    TopNOption,
    choice,
    choices,
    suggested,
    trimmer_names,
    whole,
)

__all__ = ["EPILOG", "HELP", "bulk"]

HELP = (
    "Rerank the candidates of many queries, from files to files.\n\n"
    "INPUT is a file of JSON Lines or Parquet, or a folder of Parquet files, whose rows have a "
    "query and a list of candidates (texts, or objects with the field text); or a folder in "
    "BEIR's layout with --run. The results are parts in DIR/parts, each of which appears "
    "whole: candidates in their new order, relevance_scores, and positions in the first stage. "
    "Interrupted or killed, the same command continues from there. Rows that fail are in "
    "DIR/failures, with the reason."
)
EPILOG = (
    examples(
        "rerank bulk questions.jsonl --out reranked",
        "rerank bulk export.parquet --out reranked --candidates-column passages -n 10",
        "rerank bulk my-collection --run bm25 --out reranked",
        "rerank bulk export/ --out reranked -s torch:my-model --ray auto",
    )
    + "\n\n"
    "Exit codes: 0 done; 1 failed; 2 wrong argument, file or installation; 3 done, but some rows "
    "failed; 130 interrupted, 143 ended by SIGTERM (the same command continues from there)."
)


class BulkFormat(StrEnum):
    """The format of the output."""

    AUTO = "auto"
    """That of the input; trec for BEIR's layout."""
    JSONL = "jsonl"
    PARQUET = "parquet"
    TREC = "trec"


def bulk(
    input: Annotated[  # noqa: A002 - its name on the command line
        Path, typer.Argument(metavar="INPUT", help="The queries and their candidates.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the results.")],
    scorer: ScorerOption = "nano",
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="The first stage of a folder in BEIR's layout: NAME for run.NAME.tsv in it, or a "
            "path.",
        ),
    ] = None,
    depth: DepthOption = None,
    top_n: TopNOption = None,
    min_score: MinScoreOption = None,
    blend: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD:WEIGHT",
            autocompletion=suggested("rrf", "minmax", "zscore"),
            help="Mix in the first stage: rrf (by position), minmax or zscore (by the scores in "
            "the candidates' field score).",
        ),
    ] = None,
    trim: Annotated[
        list[str] | None,
        typer.Option(
            "--trim",
            metavar="TRIMMER",
            autocompletion=trimmer_names,
            help="What to leave out, as for rerank rank; may be repeated.",
        ),
    ] = None,
    query_column: Annotated[
        str, typer.Option(metavar="NAME", help="The column or field of the queries.")
    ] = "query",
    candidates_column: Annotated[
        str, typer.Option(metavar="NAME", help="The column or field of the candidates.")
    ] = "candidates",
    text_field: Annotated[
        str, typer.Option(metavar="NAME", help="The field of a candidate that holds its text.")
    ] = "text",
    id_field: Annotated[
        str, typer.Option(metavar="NAME", help="The field of rows and candidates with their id.")
    ] = "id",
    output_format: Annotated[
        BulkFormat,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            parser=choice(BulkFormat),
            autocompletion=suggested(*choices(BulkFormat)),
            help="jsonl, parquet or trec (a run, also as one file, run.trec); auto is that of the "
            "input, and trec for BEIR's layout.",
        ),
    ] = BulkFormat.AUTO,
    part_rows: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Queries of a part: what is scored again after a kill, and what is in memory.",
        ),
    ] = 64,
    max_requests: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="The most requests to a service at once, over all workers.",
        ),
    ] = 4,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            autocompletion=suggested("local", "auto"),
            help="Work on Ray: local (a cluster of this machine's cores, for this job), auto (the "
            "running one), or the address of a cluster that sees INPUT and DIR under these names.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole(1), help="Workers on Ray. Default: one for each core."
        ),
    ] = None,
    worker_cpus: Annotated[
        int,
        typer.Option(metavar="N", parser=whole(1), help="Cores, and so threads, of a worker."),
    ] = 1,
) -> None:
    """Rerank a file of queries."""
    from rerank_core.bulk._job import BulkJob
    from rerank_core.bulk._ray import RaySettings
    from rerank_core.cli._bulk import show_bulk

    options = {
        "query_column": query_column,
        "candidates_column": candidates_column,
        "text_field": text_field,
        "depth": depth,
        "top_n": top_n,
        "min_score": min_score,
        "blend": blend,
        "trim": trim or [],
        "max_requests": max_requests,
    }
    job = BulkJob(
        input=input,
        out=out,
        run=run,
        scorer=scorer,
        options=options,
        id_field=id_field,
        part_rows=part_rows,
        format=None if output_format is BulkFormat.AUTO else output_format.value,
    )
    settings = RaySettings(address=ray, workers=workers, worker_cpus=worker_cpus) if ray else None
    show_bulk(job, settings)
