"""The report of an evaluation, laid out for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rerank_core._display import printable
from rerank_core._usage import Usage
from rerank_core.cli._output import rendered
from rerank_core.evaluation import (
    FIRST_STAGE,
    MEAN,
    CollectionReport,
    Comparison,
    KeepChoice,
    QueryChange,
    Report,
    SystemReport,
    Trimming,
)

__all__ = ["keep_lines", "report_lines"]

_SNIPPET = 90
_TIMES = ("p50 ms", "p95 ms", "pairs/s")

_Cells = Mapping[str, str]
"""The numbers of one row, by column."""


def report_lines(report: Report, console: Console) -> list[str]:
    """Lay a report out: a table for each collection, verdicts, means, and what changed most.

    Args:
        report: The report.
        console: Its width and colours are used; nothing is printed on it.

    Returns:
        The lines, without line ends.
    """
    parts = [part for found in report.collections for part in _collection(report, found, console)]
    if len(report.collections) > 1:
        parts += _mean(report, console)
    return rendered(console, *parts, *_pairs(report))


def keep_lines(
    choice: KeepChoice, scorers: Sequence[str], max_loss: float, console: Console
) -> list[str]:
    """Lay out how many candidates a cascade should pass on."""
    cheap, strong = map(printable, scorers)
    table = Table(box=box.SIMPLE)
    for name in ("keep", choice.metric, "loss", "pairs saved"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in choice.rows:
        saved = f"{100 * row.saved:.0f}%"
        table.add_row(str(row.keep), f"{row.value:.4f}", f"{row.loss:+.4f}", saved)
    heading = _bold(f"Cascade of {cheap}, then {strong}")
    verdict = (
        f"{cheap} alone {choice.cheap:.4f}, {strong} on all candidates {choice.strong:.4f}. "
        f"The smallest keep that loses at most {max_loss:g}: {choice.keep}"
    )
    return ["", *rendered(console, heading, Text(verdict), table)]


def _collection(
    report: Report, collection: CollectionReport, console: Console
) -> Iterator[RenderableType]:
    first = collection.first_stage
    yield _bold(
        f"{collection.name}: {collection.queries:,} queries, {collection.documents:,} documents, "
        f"first stage {first.name}, top {first.depth}"
    )
    for note in collection.notes:
        yield _text(f"note: {note}", indent=2)
    against = _against_first(report, collection.name)
    rows: list[tuple[str, _Cells]] = [(first.name, _values(report.metrics, first.values))]
    for system in collection.systems:
        cells = _values(report.metrics, system.values) | _difference(against[system.name])
        rows.append((system.name, cells | _times(system)))
    yield from _table(rows, report.metrics, console)
    for system in collection.systems:
        yield _text(f"{system.name}: {against[system.name].sentence}")
        yield from _details(system)
    yield ""
    trimmed = [(s.name, _trimmed(s.trimming)) for s in collection.systems if s.trimming is not None]
    if trimmed:
        yield _bold(f"After trimming: {_trimmers(report.settings)}")
        yield from _table(trimmed, (), console)


def _mean(report: Report, console: Console) -> Iterator[RenderableType]:
    yield _bold(f"Mean of {len(report.collections)} collections")
    against = _against_first(report, MEAN)
    rows: list[tuple[str, _Cells]] = []
    for name, values in report.mean.items():
        difference = {} if name == FIRST_STAGE else _difference(against[name])
        rows.append((name, _values(report.metrics, values) | difference))
    yield from _table(rows, report.metrics, console)
    for name, found in against.items():
        yield _text(f"{name}: {found.sentence}")
    yield ""


def _pairs(report: Report) -> list[RenderableType]:
    """Compare the systems with each other, over everything that was measured."""
    place = MEAN if len(report.collections) > 1 else report.collections[0].name
    pairs: list[RenderableType] = [
        _text(f"{found.system}: {found.sentence}")
        for found in report.comparisons
        if found.collection == place and found.baseline != FIRST_STAGE
    ]
    return [_bold("Systems with each other"), *pairs] if pairs else []


def _table(
    rows: Sequence[tuple[str, _Cells]], metrics: Sequence[str], console: Console
) -> Iterator[RenderableType]:
    """Make a table of whole names and whole numbers, with the columns that there is room for.

    Where a name leaves no room even for the deciding metric and the difference, each name stands
    on a line of its own, above its numbers.
    """
    columns = list(dict.fromkeys(name for _, cells in rows for name in cells))
    lesser = ["p", "pairs/s", "p95 ms", "95% interval", *reversed(metrics[1:]), "p50 ms"]
    left_out: list[str] = []
    for dropped in [None, *(name for name in lesser if name in columns)]:
        left_out += [dropped] if dropped else []
        table = _grid([name for name in columns if name not in left_out], rows)
        unlimited = console.options.update(width=10_000)
        if console.measure(table, options=unlimited).maximum <= console.width:
            yield table
            if left_out:
                note = f"no room for {', '.join(left_out)}: widen the terminal, or see --json"
                yield Padding(Text(note, style="dim"), (0, 0, 1, 2))
            return
    for name, cells in rows:
        yield Text(printable(name), overflow="fold")
        yield _text(", ".join(f"{column} {cell}" for column, cell in cells.items()), indent=2)
    yield ""


def _grid(columns: Sequence[str], rows: Sequence[tuple[str, _Cells]]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, cells in rows:
        table.add_row(_text(name), *(cells.get(column, "") for column in columns))
    return table


def _text(text: str, indent: int = 0) -> RenderableType:
    shown = Text(printable(text))  # a plain string would be read as markup
    return Padding(shown, (0, 0, 0, indent)) if indent else shown


def _bold(text: str) -> Text:
    return Text(printable(text), style="bold")


def _values(metrics: Sequence[str], values: Mapping[str, float]) -> dict[str, str]:
    return {metric: f"{values[metric]:.4f}" for metric in metrics}


def _difference(found: Comparison) -> dict[str, str]:
    interval = "-" if found.low is None else f"{found.low:+.4f} {found.high:+.4f}"
    return {
        "difference": f"{found.difference:+.4f}",
        "95% interval": interval,
        "p": f"{found.p_corrected:.2g}",
    }


def _times(system: SystemReport) -> dict[str, str]:
    found = system.latency
    if found is None:
        return dict.fromkeys(_TIMES, "-")
    about = "~" if found.estimated else ""
    rate = "-" if found.pairs_per_second is None else f"{found.pairs_per_second:,.0f}"
    times = (f"{about}{found.p50:,.0f}", f"{about}{found.p95:,.0f}", rate)
    return dict(zip(_TIMES, times, strict=True))


def _trimmers(settings: Mapping[str, Any]) -> str:
    # The kind and its first argument, as --trim takes them.
    names = ["=".join(map(str, [*options.values()][:2])) for options in settings["trim"]]
    return ", ".join([*names, f"top {settings['top_n']}"] if settings["top_n"] else names)


def _trimmed(found: Trimming) -> dict[str, str]:
    cells = {"texts": f"{found.candidates_before:.1f} to {found.candidates_after:.1f}"}
    if found.tokens_before is not None:
        cells["tokens"] = f"{found.tokens_before:,.0f} to {found.tokens_after:,.0f}"
        cells["saved"] = _share(found.saved)
    cells["relevant kept"] = _share(found.relevant_kept)
    if found.answered_before is not None:
        cells["answered"] = f"{_share(found.answered_before)} to {_share(found.answered_after)}"
        cells["answers kept"] = _share(found.answers_kept)
        if found.low is not None:
            cells["95% interval"] = f"{_share(found.low)} {_share(found.high)}"
    if found.empty:
        cells["empty"] = str(found.empty)
    return cells


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _against_first(report: Report, place: str) -> dict[str, Comparison]:
    return {
        found.system: found
        for found in report.comparisons
        if found.collection == place and found.baseline == FIRST_STAGE
    }


def _details(system: SystemReport) -> Iterator[RenderableType]:
    if system.counts is not None:
        counts = ", ".join(f"{count} {name}" for name, count in system.counts.items())
        yield _text(f"queries: {counts}", indent=2)
    for reason, count in (system.degraded or {}).items():
        yield _text(f"degraded for {count} queries: {reason}", indent=2)
    if system.trimming is not None:
        yield _text(f"usage of trimming: {_usage(system.trimming.usage)}", indent=2)
        for reason, count in (system.trimming.degraded or {}).items():
            yield _text(f"trimming degraded for {count} queries: {reason}", indent=2)
    if system.usage is not None:
        yield _text(f"usage: {_usage(system.usage)}", indent=2)
    for word, changes in (("won", system.wins), ("lost", system.losses)):
        for change in changes[:1]:
            yield from _change(f"{word} most", change)


def _change(word: str, change: QueryChange) -> Iterator[RenderableType]:
    query = printable(change.text)[:_SNIPPET]
    yield _text(f"{word}: {query} ({change.before:.2f} to {change.after:.2f})", indent=2)
    for direction, moved in (("up", change.up), ("down", change.down)):
        if moved is not None:
            grade = "not judged" if moved.grade is None else f"grade {moved.grade}"
            place = f"{moved.before} to {moved.after} ({grade})"
            text = printable(moved.text)[:_SNIPPET]
            yield _text(f"{direction}: {place}: {moved.id[:_SNIPPET]}: {text}", indent=4)


def _usage(usage: Usage) -> str:
    facts = [f"{usage.pairs:,} pairs", f"{usage.tokens:,} tokens", f"{usage.truncated:,} truncated"]
    if usage.requests:
        facts.append(f"{usage.requests:,} requests")
        facts.append(f"cost {'unknown' if usage.cost is None else format(usage.cost, 'g')}")
    facts += [f"{unit} {amount:g}" for unit, amount in usage.billed_units.items()]
    facts += [f"{usage.cache_hits:,} cache hits"] if usage.cache_hits else []
    facts += [f"{usage.saved:,} saved"] if usage.saved else []
    return ", ".join([*facts, f"{usage.seconds:,.1f} s"])
