"""``rerank rank``: read, score, write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn
from rich.progress import Progress as ProgressBar

from rerank_core._checks import check_query
from rerank_core._display import printable
from rerank_core._errors import ConfigurationError
from rerank_core._ordering import Blend
from rerank_core._reranking import rerank
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Ranking
from rerank_core.cli._guard import Failure, erase, on_interrupt, tell
from rerank_core.cli._output import check_target, write_lines
from rerank_core.cli._records import InputFormat, Record, read_records
from rerank_core.cli._table import table_lines

__all__ = ["OutputFormat", "RankOptions", "parse_blend", "rank_file"]

EXAMPLES = 5
"""So many bad lines are shown, and the others counted."""

LONG = 100
"""Above this many candidates a progress bar is worth its flicker."""


class OutputFormat(StrEnum):
    """How a ranking is written."""

    AUTO = "auto"
    """A table on a terminal, JSON Lines elsewhere."""
    JSONL = "jsonl"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """What to do with the candidates of one file.

    Attributes:
        query: What the user asked.
        top_n: At most this many are written.
        min_score: Scored candidates below it are not written.
        blend: Mix with the first stage.
        input_format: How the candidates are written.
        text_field: The field or column that holds the text.
        output_format: How the ranking is written.
        output: Where to; None for standard output.
        strict: Whether the first bad line ends the run.
        usage: Whether to tell what the scoring cost.
    """

    query: str
    top_n: int | None = None
    min_score: float | None = None
    blend: Blend | None = None
    input_format: InputFormat = InputFormat.AUTO
    text_field: str = "text"
    output_format: OutputFormat = OutputFormat.AUTO
    output: Path | None = None
    strict: bool = False
    usage: bool = False


def parse_blend(text: str | None) -> Blend | None:
    """Read ``method`` or ``method:weight``, such as ``rrf`` or ``minmax:0.3``.

    Raises:
        ConfigurationError: If the method is unknown or the weight no number from 0 to 1.
    """
    if text is None:
        return None
    method, colon, weight = text.partition(":")
    fields: dict[str, Any] = {"method": method}
    if colon:
        try:
            fields["weight"] = float(weight)
        except ValueError:
            raise ConfigurationError(
                f"--blend {text}: the weight must be a number from 0 to 1, as in {method}:0.3"
            ) from None
    return Blend(**fields)


def rank_file(file: str, scorer: Scorer, options: RankOptions) -> None:
    """Rank the candidates of a file and write the result.

    Args:
        file: Its path, or ``-`` for standard input.
        scorer: What scores them.
        options: Everything else.

    Raises:
        Failure: If there is a bad line and `options.strict`, no good one among bad ones, or
            nowhere to write.
        RerankError: If an argument is wrong or the scorer fails.
        OSError: If reading or writing fails.
    """
    check_query(options.query)  # before a long wait for input
    check_target(options.output)
    records = _read(file, options)
    if not records:  # the scorer need not even be there
        write_lines([], options.output)
        return
    with _progress_bar(len(records)) as progress:
        ranking = rerank(
            options.query,
            [record.text for record in records],
            scorer,
            top_n=options.top_n,
            min_score=options.min_score,
            blend=options.blend,
            prior=[record.prior for record in records],
            progress=progress,
        )
    write_lines(_lines(ranking, records, options), options.output)
    _tell_about(ranking, options)


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

    with _opened(file) as lines:
        records = read_records(
            lines,
            options.input_format,
            with_priors=options.blend is not None and options.blend.method != "rrf",
            reject=reject,
            text_field=options.text_field,
            name=name,
            note=lambda message: tell(f"{name}: {message}"),
        )
    if bad and not records:
        raise Failure(f"{name}: none of the {bad} lines holds a candidate")
    if bad:
        shown = f" ({EXAMPLES} shown)" if bad > EXAMPLES else ""
        total = bad + len(records)
        tell(f"{name}: {bad} of {total} lines skipped{shown}; --strict stops at the first")
    if not records:
        tell(f"{name}: no candidates")
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
            tell("reading candidates from the terminal; end with Ctrl-D on a line of its own")
        yield sys.stdin.buffer


@contextmanager
def _progress_bar(count: int) -> Iterator[Progress | None]:
    if count <= LONG or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    columns = (*ProgressBar.get_default_columns(), MofNCompleteColumn())
    console = Console(stderr=True)
    with (
        on_interrupt(partial(erase, console)),
        ProgressBar(*columns, console=console, transient=True) as bar,
    ):
        task = bar.add_task("scoring", total=count)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(ranking: Ranking, records: list[Record], options: RankOptions) -> list[str]:
    to_terminal = options.output is None and sys.stdout is not None and sys.stdout.isatty()
    if options.output_format is OutputFormat.TABLE or (
        options.output_format is OutputFormat.AUTO and to_terminal
    ):
        console = Console(force_terminal=to_terminal)
        return table_lines(ranking, records, options.blend, console)
    return [records[item.index].to_json(item.score) for item in ranking]


def _tell_about(ranking: Ranking, options: RankOptions) -> None:
    usage = ranking.usage
    if ranking.degraded:
        tell(f"degraded: {ranking.degraded}")
    if usage.truncated:
        tell(f"{usage.truncated} texts were cut to the most that {ranking.scorer} reads")
    if options.usage:
        facts = [
            f"scale {ranking.scale}",
            f"pairs {usage.pairs}",
            f"tokens {usage.tokens}",
            f"padding {usage.padding}",
            f"truncated {usage.truncated}",
            f"requests {usage.requests}",
            f"cache hits {usage.cache_hits}",
            *(f"{unit} {amount:g}" for unit, amount in usage.billed_units.items()),
            f"cost {'unknown' if usage.cost is None else format(usage.cost, 'g')}",
            f"seconds {usage.seconds:.3f}",
        ]
        tell(f"{ranking.scorer}: {', '.join(facts)}")
