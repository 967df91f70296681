"""An evaluation for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core.cli._text import printable
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
from rerank_core.types import Usage

__all__ = ["keep_lines", "report_lines"]

_SNIPPET = 90


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
    table = _table(report.metrics, timed=True)
    table.add_row(Text(printable(first.name)), *_values(report.metrics, first.values))
    against = _against_first(report, collection.name)
    for system in collection.systems:
        found = against[system.name]
        table.add_row(
            Text(printable(system.name)),
            *_values(report.metrics, system.values),
            *_difference(found),
            *_times(system),
        )
    console.print(table)
    for system in collection.systems:
        console.print(Text(f"{printable(system.name)}: {against[system.name].sentence}"))
        for line in _details(system):
            console.print(Text(f"  {line}"))
    console.print()


def _show_mean(report: Report, console: Console) -> None:
    console.print(Text(f"Mean of {len(report.collections)} collections", style="bold"))
    table = _table(report.metrics, timed=False)
    against = _against_first(report, MEAN)
    for name, values in report.mean.items():
        difference = () if name == FIRST_STAGE else _difference(against[name])
        table.add_row(Text(printable(name)), *_values(report.metrics, values), *difference)
    console.print(table)
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


def _table(metrics: Sequence[str], *, timed: bool) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("", overflow="fold")
    names = [*metrics, "difference", "95% interval", "p"]
    names += ["p50 ms", "p95 ms", "pairs/s"] if timed else []
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _values(metrics: Sequence[str], values: Mapping[str, float]) -> list[str]:
    return [f"{values[metric]:.4f}" for metric in metrics]


def _difference(found: Comparison) -> tuple[str, str, str]:
    interval = "-" if found.low is None else f"{found.low:+.4f} {found.high:+.4f}"
    return f"{found.difference:+.4f}", interval, f"{found.p_corrected:.2g}"


def _times(system: SystemReport) -> tuple[str, str, str]:
    found = system.latency
    if found is None:
        return "-", "-", "-"
    about = "~" if found.estimated else ""
    rate = "-" if found.pairs_per_second is None else f"{found.pairs_per_second:,.0f}"
    return f"{about}{found.p50:,.0f}", f"{about}{found.p95:,.0f}", rate


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
