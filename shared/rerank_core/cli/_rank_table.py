"""The table of `rerank rank`."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core._blend import Blend
from rerank_core._display import change_of_place, printable
from rerank_core._types import RankedItem, Ranking
from rerank_core.cli._output import rendered

__all__ = ["rank_table"]

_COLOURS = {1: "green", 0: "dim", -1: "red"}
"""The colours of a candidate that moved up, stayed or moved down."""


def rank_table(
    ranking: Ranking, labels: Sequence[str], blend: Blend | None, console: Console
) -> list[str]:
    """Lay a ranking out: rank, first-stage position, change, score, id and text.

    Args:
        ranking: The ranking.
        labels: The ids of all candidates, in first-stage order.
        blend: The blend that was used, if any.
        console: Decides the width, and whether there are colours.
    """
    table = Table(box=box.SIMPLE)
    for name in ("rank", "was"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("id", no_wrap=True, overflow="ellipsis", max_width=16)
    table.add_column("text")  # the only column that gives way on a narrow terminal
    for rank, item in enumerate(ranking, start=1):
        change = item.index + 1 - rank
        # `Text` throughout: a plain string would be read as markup.
        table.add_row(
            str(rank),
            str(item.index + 1),
            Text(change_of_place(change), style=_COLOURS[(change > 0) - (change < 0)]),
            "-" if item.score is None else f"{item.score:.4f}",
            Text(printable(labels[item.index][:100])),
            Text(_snippet(item), no_wrap=True, overflow="ellipsis"),
        )
    meaning = ranking.scale.meaning
    if blend is not None:
        meaning = f"{blend.method} with the first stage at {blend.weight:g}; only within this list"
    return [f"{printable(ranking.scorer)} ({meaning})", *rendered(console, table)]


def _snippet(item: RankedItem) -> str:
    """Return the text from its best passage on, no longer than the widest terminal."""
    if item.kept:
        return printable(item.excerpt[:500])
    start = item.span.start if item.span else 0
    return ("…" if start else "") + printable(item.text[start : start + 500])
