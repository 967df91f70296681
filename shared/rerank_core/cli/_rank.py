"""`rerank rank`: read, score, write."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import BinaryIO

import typer
from rich.console import Console

from rerank_core._blend import Blend
from rerank_core._checks import check_name, check_query
from rerank_core._display import printable
from rerank_core._errors import ConfigurationError
from rerank_core._files import bounded_lines
from rerank_core._metadata import (
    ScoredText,
    check_fields,
    first_of_each_id,
    results,
    scored_text,
    shift_spans,
)
from rerank_core._reranking import rerank_passages
from rerank_core._scorer import Scorer
from rerank_core._trimming import Passage, Trimmer
from rerank_core._trimming.tokens import CounterLike
from rerank_core._types import Ranking
from rerank_core.cli._guard import Failure, to_stderr
from rerank_core.cli._output import (
    check_target,
    progress_bar,
    stdout_is_terminal,
    write_lines,
)
from rerank_core.cli._rank_table import rank_table
from rerank_core.cli._records import InputFormat, Record, read_records

__all__ = ["OutputFormat", "RankOptions", "rank_file"]

EXAMPLES = 5
"""The number of bad lines to show; the others are only counted."""

LONG = 100
"""The number of candidates above which a progress bar is shown."""

_TRIM_KEY = "trimmed"


class OutputFormat(StrEnum):
    """The format of the output."""

    AUTO = "auto"
    """A table on a terminal, JSON Lines elsewhere."""
    JSONL = "jsonl"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """The options of ``rerank rank``, by their names.

    Attributes:
        query: What the user asked.
        depth: The number of candidates to score; the others follow unscored.
        top_n: The most candidates to write.
        min_score: The lowest score to write; candidates without a score are always written.
        blend: How to mix with the first stage, if at all.
        max_tokens: The most tokens of text to write, by `count_tokens`.
        count_tokens: Counter of these tokens. Default: the embedded model's tokenizer.
        trim: Trimmers, as for `rerank`.
        score_key: The field that gets the score.
        span_key: The field that gets the relevant passages, where the scorer knows them.
        prior_key: The field that holds the first-stage score, for blends by score.
        distinct_ids: Keep only the first candidate of each id.
        input_format: The format of the input.
        text_field: The field or column that holds the text.
        rank_fields: Fields that are read before the text, as ``key: value`` lines.
        output_format: The format of the output.
        output: The file to write; None for standard output.
        strict: Fail at the first bad line.
        usage: Report what the scoring cost.
    """

    query: str
    depth: int | None = None
    top_n: int | None = None
    min_score: float | None = None
    blend: Blend | None = None
    max_tokens: int | None = None
    count_tokens: CounterLike | None = None
    trim: Sequence[Trimmer] = ()
    score_key: str = "relevance_score"
    span_key: str | None = None
    prior_key: str = "score"
    distinct_ids: bool = False
    input_format: InputFormat = InputFormat.AUTO
    text_field: str = "text"
    rank_fields: Sequence[str] | None = None
    output_format: OutputFormat = OutputFormat.AUTO
    output: Path | None = None
    strict: bool = False
    usage: bool = False


def rank_file(file: str, scorer: Scorer, options: RankOptions) -> None:
    """Rank the candidates of a file and write the result.

    Args:
        file: The file's path, or ``-`` for standard input.
        scorer: The scorer.
        options: The other options.

    Raises:
        Failure: If there is a bad line and `options.strict`, no good one among bad ones, or
            nowhere to write.
        RerankError: If an argument is wrong or the scorer fails.
        OSError: If reading or writing fails.
    """
    check_query(options.query)  # before a long wait for input
    rank_fields = _check_fields(options)
    check_target(options.output)
    records = _read(file, options)
    if not records:  # nothing to load a model for
        write_lines([], options.output)
        return
    total = len(records)
    read = [
        scored_text(record.text, record.metadata(rank_fields), rank_fields, None)
        for record in records
    ]
    passages = [
        Passage(record.text, scored.header, start=scored.start)
        for record, scored in zip(records, read, strict=True)
    ]
    with progress_bar("scoring", total, wanted=total > LONG) as progress:
        ranking = rerank_passages(
            options.query,
            [scored.text for scored in read],
            passages,
            scorer=scorer,
            depth=options.depth,
            top_n=options.top_n,
            min_score=options.min_score,
            blend=options.blend,
            max_tokens=options.max_tokens,
            count_tokens=options.count_tokens,
            trim=options.trim,
            prior=[record.prior for record in records],
            progress=partial(progress, "scoring"),
        )
    write_lines(_lines(_own_spans(ranking, read), records, options), options.output)
    _report(ranking, options)


def _own_spans(ranking: Ranking, read: list[ScoredText]) -> Ranking:
    """Count the relevant passages in the records' own texts."""
    items = []
    for item in ranking:
        spans = shift_spans(item.spans, read[item.index].start or 0, len(item.text))
        items.append(replace(item, spans=tuple(spans)))
    return replace(ranking, items=tuple(items))


def _check_fields(options: RankOptions) -> list[str]:
    """Return the fields to read, and refuse two that would overwrite each other."""
    owners: dict[str, str] = {}
    for option, name in (
        ("--text-field", options.text_field),
        ("--score-key", options.score_key),
        ("--span-key", options.span_key),
        ("--trim", _TRIM_KEY if options.trim or options.max_tokens else None),
    ):
        if name is None:
            continue
        check_name(name, option, "body")
        if name in owners:
            raise ConfigurationError(
                f"{owners[name]} and {option} are both {name!r}; give each a field of its own"
            )
        owners[name] = option
    if not options.rank_fields:
        return []
    fields = check_fields(options.rank_fields, "--rank-fields")
    if taken := next((name for name in fields if name in owners), None):
        raise ConfigurationError(
            f"--rank-fields names {taken!r}, which is {owners[taken]}; name other fields"
        )
    return fields


def _read(file: str, options: RankOptions) -> list[Record]:
    name = printable("stdin" if file == "-" else file)
    bad = 0

    def reject(number: int, reason: str) -> None:
        nonlocal bad
        message = f"{name}:{number}: {printable(reason)}"
        if options.strict:
            raise Failure(message)
        bad += 1
        if bad <= EXAMPLES:
            typer.echo(message, err=True)

    by_score = options.blend is not None and options.blend.method != "rrf"
    with _opened(file) as stream:
        records = read_records(
            bounded_lines(stream, name),
            options.input_format,
            prior_field=options.prior_key if by_score else None,
            reject=reject,
            text_field=options.text_field,
            name=name,
            note=lambda message: to_stderr(f"{name}: {message}"),
        )
    if bad and not records:
        raise Failure(f"{name}: no candidate in {bad} line{'s' * (bad > 1)}")
    if bad:
        shown = f" ({EXAMPLES} shown)" if bad > EXAMPLES else ""
        total = bad + len(records)
        to_stderr(f"{name}: {bad} of {total} lines skipped{shown}; --strict stops at the first")
    if not records:
        to_stderr(f"{name}: no candidates")
    if options.distinct_ids:
        records = first_of_each_id(records, lambda record: record.label or None)
    return records


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file != "-":
        with Path(file).open("rb") as stream:
            yield stream
    elif sys.stdin is None:
        raise Failure("standard input is closed; name a FILE")
    else:
        if sys.stdin.isatty():
            to_stderr("reading candidates from the terminal; end with Ctrl-D on a line of its own")
        yield sys.stdin.buffer


def _lines(ranking: Ranking, records: list[Record], options: RankOptions) -> list[str]:
    to_terminal = options.output is None and stdout_is_terminal()
    if options.output_format is OutputFormat.TABLE or (
        options.output_format is OutputFormat.AUTO and to_terminal
    ):
        labels = [record.label for record in records]
        return rank_table(ranking, labels, options.blend, Console(force_terminal=to_terminal))
    trim_key = _TRIM_KEY if options.trim or options.max_tokens else None
    keys = {"score_key": options.score_key, "span_key": options.span_key, "trim_key": trim_key}
    written = [key for key in keys.values() if key is not None]
    lines = []
    for item in ranking:
        fields = results(item, item.spans, **keys)
        changed = [options.text_field] if item.kept else []
        if changed:
            fields[options.text_field] = item.excerpt
        lines.append(records[item.index].to_json(fields, [*changed, *written]))
    return lines


def _report(ranking: Ranking, options: RankOptions) -> None:
    usage = ranking.usage
    if ranking.degraded:
        to_stderr(f"degraded: {ranking.degraded}")
    if ranking.nothing_relevant:
        to_stderr(f"nothing relevant: {ranking.nothing_relevant}")
    least, best = options.min_score, ranking.best_score
    if least is not None and best is not None and best < least:
        to_stderr(f"--min-score {least:g} drops every scored candidate; the best scores {best:.6g}")
    if usage.truncated:
        to_stderr(f"{usage.truncated} texts were cut to the most that {ranking.scorer} reads")
    if usage.truncated_queries:
        to_stderr(f"the query is too long for {ranking.scorer}, and was read without its middle")
    if options.usage:
        facts = [
            f"scale {ranking.scale}",
            f"pairs {usage.pairs}",
            f"tokens {usage.tokens}",
            f"padding {usage.padding}",
            f"truncated {usage.truncated}",
            f"truncated queries {usage.truncated_queries}",
            f"requests {usage.requests}",
            f"cache hits {usage.cache_hits}",
            *(f"{unit} {amount:g}" for unit, amount in usage.billed_units.items()),
            f"cost {'unknown' if usage.cost is None else format(usage.cost, 'g')}",
            f"seconds {usage.seconds:.3f}",
        ]
        if ranking.tokens_before is not None:
            facts.append(f"text tokens {ranking.tokens_after} of {ranking.tokens_before}")
        to_stderr(f"{ranking.scorer}: {', '.join(facts)}")
