"""A ranking for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core._display import printable
from rerank_core._ordering import Blend
from rerank_core._types import RankedItem, Ranking, Scale
from rerank_core.cli._records import Record

__all__ = ["table_lines"]

_MEANING = {
    Scale.LOGIT: "logit: any real number, not a probability",
    Scale.UNIT: "0 to 1, not a probability",
    Scale.PROBABILITY: "calibrated probability",
}


def table_lines(
    ranking: Ranking, records: Sequence[Record], blend: Blend | None, console: Console
) -> list[str]:
    """Lay a ranking out as a table: rank, first-stage position, score, id and text.

    Args:
        ranking: What to show.
        records: The candidates it was made from, in first-stage order.
        blend: How it was blended, for the heading.
        console: Gives the width and says whether there are colours; nothing is printed on it.

    Returns:
        The lines, without line ends.
    """
    table = Table(box=box.SIMPLE)
    for name in ("rank", "was"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("id", no_wrap=True, overflow="ellipsis", max_width=16)
    table.add_column("text")  # the only one that gives way on a narrow terminal
    for rank, item in enumerate(ranking, start=1):
        # `Text` throughout: a plain string would be read as markup.
        table.add_row(
            str(rank),
            str(item.index + 1),
            _shift(item.index + 1 - rank),
            "-" if item.score is None else f"{item.score:.4f}",
            Text(printable(records[item.index].label[:100])),
            Text(_snippet(item), no_wrap=True, overflow="ellipsis"),
        )
    with console.capture() as capture:
        console.print(table)
    return [
        _heading(ranking, blend),
        *(line.rstrip() for line in capture.get().rstrip().split("\n")),
    ]


def _heading(ranking: Ranking, blend: Blend | None) -> str:
    meaning = _MEANING[ranking.scale]
    if blend is not None:
        meaning = f"{blend.method} with the first stage at {blend.weight:g}; only within this list"
    return f"{printable(ranking.scorer)} ({meaning})"


def _shift(places: int) -> Text:
    if places == 0:
        return Text("=", style="dim")
    return Text(f"↑{places}", style="green") if places > 0 else Text(f"↓{-places}", style="red")


def _snippet(item: RankedItem) -> str:
    """The text from its best passage on, no longer than the widest terminal."""
    start = item.span.start if item.span else 0
    return ("…" if start else "") + printable(item.text[start : start + 500])
