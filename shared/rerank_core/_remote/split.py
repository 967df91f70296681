"""Splitting texts over requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["chunks"]


def chunks(texts: Sequence[str], limit: int) -> list[tuple[int, Sequence[str]]]:
    """Cut into pieces of about equal size, each with the position of its first text."""
    count = math.ceil(len(texts) / limit)
    bounds = [len(texts) * piece // count for piece in range(count + 1)]
    return [(start, texts[start:end]) for start, end in pairwise(bounds)]
