"""``rerank rank`` and its options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import typer

from rerank_core._blend import make_blend
from rerank_core._errors import ConfigurationError
from rerank_core._loading import load_scorer
from rerank_core._profile import Profile
from rerank_core._trimming.tokens import NAMED_COUNTERS
from rerank_core.cli._command import examples
from rerank_core.cli._rank import OutputFormat, RankOptions, rank_file
from rerank_core.cli._records import InputFormat
from rerank_core.cli._values import (
    DepthOption,
    MinScoreOption,
    TopNOption,
    choice,
    choices,
    output_file,
    scorers,
    suggested,
    trimmer_names,
    trimmers,
    whole,
)

__all__ = ["EPILOG", "HELP", "rank"]

HELP = (
    "Sort candidates by how well each answers a query, best first.\n\n"
    "Reads JSON Lines, JSON arrays, CSV and TSV with a header, and plain lines, compressed with "
    'gzip or not. The text is in the field or column "text" unless --text-field names another. '
    "Writes JSON Lines: every field is kept as it is, and relevance_score is added or replaced. "
    "Candidates that were not scored, such as blank texts, have no score and come last. Plain "
    "lines become objects with the line number as id. Bad lines are skipped and reported on "
    "standard error."
)
EPILOG = (
    examples(
        'rerank rank -q "How do plants eat?" -n 5 candidates.jsonl',
        'rerank rank -q "How do plants eat?" --text-field body docs.csv -o best.jsonl',
        'rerank rank -q "How do plants eat?" -s cohere:rerank-v5.0-fast texts.txt',
    )
    + "\n\n"
    "Exit codes: 0 done, perhaps with lines skipped; 1 failed, or a bad line with --strict; "
    "2 wrong argument or setting; 130 interrupted; 141 the reader of the output has gone; "
    "143 ended by SIGTERM."
)


def rank(
    query: Annotated[
        str, typer.Option("--query", "-q", metavar="TEXT", help="What the user asked.")
    ],
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The candidates; - is standard input.")
    ] = "-",
    scorer: Annotated[
        str | None,
        typer.Option(
            "--scorer",
            "-s",
            metavar="NAME",
            autocompletion=scorers,
            help="The scorer: nano (built in), onnx:…, torch:…, cohere:…, or a hub id. "
            "Default: nano.",
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A profile, as rerank tune writes it: scorer, depth, blend, threshold and "
            "trimmers. The options here replace what it says.",
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
            autocompletion=trimmer_names,
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
    options["blend"] = make_blend(blend)
    if count_tokens is not None and count_tokens not in NAMED_COUNTERS:
        options["count_tokens"] = _function(count_tokens)
    options["trim"] = trimmers(trim)
    del options["profile"]
    if profile is not None:
        for name, value in Profile.read(profile).options.items():
            if options[name] in (None, []):
                options[name] = value
    source, wanted = options.pop("file"), options.pop("scorer")
    rank_file(source, load_scorer("nano" if wanted is None else wanted), RankOptions(**options))


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
