"""A deterministic embedding of any text, good enough to retrieve by shared words."""

from __future__ import annotations

import hashlib
import math

DIMENSIONS = 256
TEXTS = (
    "black coffee with sugar",
    "tea tea tea tea",
    "green tea with milk",
    "green paint for walls",
    "how to brew green tea",
    "tea from china",
)
"""Embeddings that the adapters' tests retrieve by."""


def embed(text: str) -> list[float]:
    """Hash each word into one of `DIMENSIONS` buckets; count, and scale to length 1."""
    counts = [0.0] * DIMENSIONS
    for word in text.lower().split():
        digest = hashlib.sha256(word.encode()).digest()
        counts[int.from_bytes(digest[:4]) % DIMENSIONS] += 1.0
    length = math.sqrt(sum(count * count for count in counts)) or 1.0
    return [count / length for count in counts]
