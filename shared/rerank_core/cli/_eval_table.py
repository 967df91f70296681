"""An evaluation for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rerank_core._display import printable
from rerank_core._usage import Usage
from rerank_core.evaluation import (
    FIRST_STAGE,
    MEAN,
    CollectionReport,
    Comparison,
    KeepChoice,
    Moved,
    QueryChange,
    Report,
    SystemReport,
)

__all__ = ["keep_lines", "report_lines"]

_SNIPPET = 90


class _Row(NamedTuple):
    """A line of a table: a system, or the first stage, with its numbers by column."""

    name: str
    cells: Mapping[str, str]


def report_lines(report: Report, console: Console) -> list[str]:
    """Lay a report out: a table for each collection, verdicts, means, and what changed most.

    Args:
        report: What was found.
        console: Gives the width and says whether there are colours; nothing is printed on it.

    Returns:
        The lines, without line ends.
    """
    with console.capture() as capture:
        for collection in report.collections:
            _show_collection(report, collection, console)
        if len(report.collections) > 1:
            _show_mean(report, console)
        _show_pairs(report, console)
    return [line.rstrip() for line in capture.get().rstrip().split("\n")]


def keep_lines(
    choice: KeepChoice, scorers: Sequence[str], max_loss: float, console: Console
) -> list[str]:
    """Lay out how many candidates a cascade should pass on."""
    cheap, strong = map(printable, scorers)
    table = Table(box=box.SIMPLE)
    for name in ("keep", choice.metric, "loss", "pairs saved"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in choice.rows:
        table.add_row(
            str(row.keep), f"{row.value:.4f}", f"{row.loss:+.4f}", f"{100 * row.saved:.0f}%"
        )
    with console.capture() as capture:
        console.print(Text(f"Cascade of {cheap}, then {strong}", style="bold"))
        console.print(
            Text(
                f"{cheap} alone {choice.cheap:.4f}, {strong} on all candidates "
                f"{choice.strong:.4f}. The smallest keep that loses at most {max_loss:g}: "
                f"{choice.keep}"
            )
        )
        console.print(table)
    return ["", *(line.rstrip() for line in capture.get().rstrip().split("\n"))]


def _show_collection(report: Report, collection: CollectionReport, console: Console) -> None:
    first = collection.first_stage
    console.print(
        Text(
            f"{printable(collection.name)}: {collection.queries:,} queries, "
            f"{collection.documents:,} documents, first stage {printable(first.name)}, "
            f"top {first.depth}",
            style="bold",
        )
    )
    for note in collection.notes:
        console.print(Text(f"  note: {printable(note)}"))
    against = _against_first(report, collection.name)
    rows = [_Row(first.name, _values(report.metrics, first.values))]
    for system in collection.systems:
        cells = _values(report.metrics, system.values) | _difference(against[system.name])
        rows.append(_Row(system.name, cells | _times(system)))
    _show_rows(rows, report.metrics, console)
    for system in collection.systems:
        console.print(Text(f"{printable(system.name)}: {against[system.name].sentence}"))
        for line in _details(system):
            console.print(Text(f"  {line}"))
    console.print()


def _show_mean(report: Report, console: Console) -> None:
    console.print(Text(f"Mean of {len(report.collections)} collections", style="bold"))
    against = _against_first(report, MEAN)
    rows = []
    for name, values in report.mean.items():
        difference = {} if name == FIRST_STAGE else _difference(against[name])
        rows.append(_Row(name, _values(report.metrics, values) | difference))
    _show_rows(rows, report.metrics, console)
    for name, found in against.items():
        console.print(Text(f"{printable(name)}: {found.sentence}"))
    console.print()


def _show_pairs(report: Report, console: Console) -> None:
    """Systems against each other, over everything that was measured."""
    place = MEAN if len(report.collections) > 1 else report.collections[0].name
    pairs = [
        found
        for found in report.comparisons
        if found.collection == place and found.baseline != FIRST_STAGE
    ]
    if pairs:
        console.print(Text("Systems with each other", style="bold"))
    for found in pairs:
        console.print(Text(f"{printable(found.system)}: {printable(found.sentence)}"))


def _show_rows(rows: Sequence[_Row], metrics: Sequence[str], console: Console) -> None:
    """Print a table of whole names and whole numbers, with the columns that there is room for.

    Where a name leaves no room even for the deciding metric and the difference, each name stands
    on a line of its own, above its numbers.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row.cells))
    lesser = ["p", "pairs/s", "p95 ms", "95% interval", *reversed(metrics[1:]), "p50 ms"]
    droppable = [name for name in lesser if name in columns]
    left_out = []
    table = _table(columns, rows)
    while _width(table, console) > console.width and droppable:
        left_out.append(droppable.pop(0))
        table = _table([name for name in columns if name not in left_out], rows)
    if _width(table, console) > console.width:
        for row in rows:
            console.print(Text(printable(row.name), overflow="fold"))
            cells = ", ".join(f"{name} {cell}" for name, cell in row.cells.items())
            console.print(Padding(Text(cells), (0, 0, 0, 2)))
        console.print()
        return
    console.print(table)
    if left_out:
        note = f"  no room for {', '.join(left_out)}: widen the terminal, or see --json"
        console.print(Text(f"{note}\n", style="dim"))


def _table(columns: Sequence[str], rows: Sequence[_Row]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(printable(row.name)), *(row.cells.get(name, "") for name in columns))
    return table


def _width(table: Table, console: Console) -> int:
    """Return the width at which nothing of a table is cut."""
    return console.measure(table, options=console.options.update(width=10_000)).maximum


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
        return dict.fromkeys(("p50 ms", "p95 ms", "pairs/s"), "-")
    about = "~" if found.estimated else ""
    rate = "-" if found.pairs_per_second is None else f"{found.pairs_per_second:,.0f}"
    return {
        "p50 ms": f"{about}{found.p50:,.0f}",
        "p95 ms": f"{about}{found.p95:,.0f}",
        "pairs/s": rate,
    }


def _against_first(report: Report, place: str) -> dict[str, Comparison]:
    return {
        found.system: found
        for found in report.comparisons
        if found.collection == place and found.baseline == FIRST_STAGE
    }


def _details(system: SystemReport) -> Iterator[str]:
    if system.counts is not None:
        counts = ", ".join(f"{count} {name}" for name, count in system.counts.items())
        yield f"queries: {counts}"
    for reason, count in (system.degraded or {}).items():
        yield f"degraded for {count} queries: {printable(reason)}"
    if system.usage is not None:
        yield f"usage: {_usage(system.usage)}"
    for word, shown in (("won most", system.wins[:1]), ("lost most", system.losses[:1])):
        for change in shown:
            yield from _change(word, change)


def _change(word: str, change: QueryChange) -> Iterator[str]:
    yield f"{word}: {printable(change.text)[:_SNIPPET]} ({change.before:.2f} to {change.after:.2f})"
    for direction, moved in (("up", change.up), ("down", change.down)):
        if moved is not None:
            yield f"  {direction}: {_moved(moved)}"


def _moved(moved: Moved) -> str:
    grade = "not judged" if moved.grade is None else f"grade {moved.grade}"
    text = printable(moved.text)[:_SNIPPET]
    return f"{moved.before} to {moved.after} ({grade}): {printable(moved.id)}: {text}"


def _usage(usage: Usage) -> str:
    facts = [f"{usage.pairs:,} pairs", f"{usage.tokens:,} tokens", f"{usage.truncated:,} truncated"]
    if usage.requests:
        facts.append(f"{usage.requests:,} requests")
        facts.append(f"cost {'unknown' if usage.cost is None else format(usage.cost, 'g')}")
    facts += [f"{unit} {amount:g}" for unit, amount in usage.billed_units.items()]
    facts += [f"{usage.cache_hits:,} cache hits"] if usage.cache_hits else []
    facts += [f"{usage.saved:,} saved"] if usage.saved else []
    return ", ".join([*facts, f"{usage.seconds:,.1f} s"])
