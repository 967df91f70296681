"""Rankings as tables, and texts of unknown origin made fit to be shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

__all__ = ["RankedRow", "change_of_place", "html_table", "printable", "text_table"]

_JOINERS = "\u200c\u200d"  # not "printable", but Persian and emoji sequences are spelt with them
_BEGINNING = 60  # characters of a text
_LINE = "{:>4}  {:>4}  {:>6}  {:>9}  {}"
_HEADINGS = ("rank", "was", "change", "score", "text")


class RankedRow(Protocol):
    """A ranked candidate, as far as a table shows it."""

    @property
    def index(self) -> int:
        """Its position in the first stage, from 0."""

    @property
    def score(self) -> float | None:
        """Its score, or None."""

    @property
    def text(self) -> str:
        """Its text."""


def printable(text: str) -> str:
    """Put a text on one line and take away what a terminal would obey rather than show.

    Args:
        text: Anything: escape sequences, control characters, text direction overrides and lone
            surrogates included.

    Returns:
        The text with every run of white space as one space, and U+FFFD for each character that is
        not printable.
    """
    line = " ".join(text.split())
    return "".join(c if c.isprintable() or c in _JOINERS else "\ufffd" for c in line)


def change_of_place(places: int) -> str:
    """Return ``↑3``, ``↓2`` or ``=`` for a candidate that moved up by so many places."""
    if places == 0:
        return "="
    return f"↑{places}" if places > 0 else f"↓{-places}"


def text_table(heading: str, ranked: Iterable[RankedRow]) -> str:
    """Return a table of plain text: new place, old place, change, score, beginning of the text."""
    rows = [_HEADINGS, *_cells(ranked)]
    return "\n".join([printable(heading), *(_LINE.format(*row).rstrip() for row in rows)])


def html_table(heading: str, ranked: Iterable[RankedRow]) -> str:
    """Return the same as an HTML table; everything in it is escaped."""
    from html import escape

    head = "".join(f"<th>{name}</th>" for name in _HEADINGS)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in _cells(ranked)
    )
    return (
        f"<table><caption>{escape(printable(heading))}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(ranked: Iterable[RankedRow]) -> Iterable[tuple[str, ...]]:
    for rank, item in enumerate(ranked, start=1):
        beginning = printable(item.text[: 4 * _BEGINNING])
        if len(beginning) > _BEGINNING or len(item.text) > 4 * _BEGINNING:
            beginning = beginning[: _BEGINNING - 1] + "…"
        yield (
            str(rank),
            str(item.index + 1),
            change_of_place(item.index + 1 - rank),
            "-" if item.score is None else _shown(item.score),
            beginning,
        )


def _shown(score: float) -> str:
    return f"{score:.4f}" if abs(score) < 10_000 else f"{score:.3g}"
