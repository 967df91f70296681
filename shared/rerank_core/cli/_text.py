"""Texts of unknown origin, made fit for a terminal."""

from __future__ import annotations

__all__ = ["printable"]

_JOINERS = "\u200c\u200d"  # not "printable", but Persian and emoji sequences are spelt with them


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
