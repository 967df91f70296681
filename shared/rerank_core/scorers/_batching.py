"""Grouping pairs of like length, so that little is computed on padding."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rerank_core.types import Usage

__all__ = ["ROUND", "batch_usage", "plan_batches", "round_up", "rounds"]

ROUND = 256
"""Texts tokenised, batched and scored before the next: a long list must not wait for its last."""


def rounds(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Cut a list into rounds, each with the position of its first text."""
    for first in range(0, len(texts), ROUND):
        yield first, texts[first : first + ROUND]


def round_up(length: int, multiple: int) -> int:
    """Round a length up to a multiple."""
    return -(-length // multiple) * multiple


def plan_batches(lengths: Sequence[int], budget: int, multiple: int = 1) -> list[list[int]]:
    """Group pairs into batches, longest first.

    Args:
        lengths: True token length of each pair.
        budget: At most this many tokens in a batch, padding included; a longer pair goes alone.
        multiple: Batches are padded to a multiple of this length.

    Returns:
        Positions in `lengths`, each exactly once. The first of a batch is its longest.
    """
    batches: list[list[int]] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or (len(batches[-1]) + 1) * width > budget:
            batches.append([])
            width = round_up(lengths[position], multiple)
        batches[-1].append(position)
    return batches


def batch_usage(
    batch: Sequence[int],
    lengths: Sequence[int],
    cut: Collection[int],
    cut_queries: Collection[int] = (),
) -> Usage:
    """Return what a batch of `plan_batches` cost, padded to its longest.

    Args:
        batch: Positions in `lengths`.
        lengths: True token length of each pair.
        cut: Positions of those whose text was cut.
        cut_queries: Positions of those whose query was cut.
    """
    tokens = sum(lengths[position] for position in batch)
    return Usage(
        pairs=len(batch),
        tokens=tokens,
        padding=lengths[batch[0]] * len(batch) - tokens,
        truncated=sum(position in cut for position in batch),
        truncated_queries=sum(position in cut_queries for position in batch),
    )
