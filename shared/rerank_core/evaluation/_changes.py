"""Which queries a system helped and hurt, and which passages moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rerank_core.evaluation._metrics import Orders
from rerank_core.evaluation._report import Moved, QueryChange
from rerank_core.evaluation._scoring import Task

__all__ = ["changes", "count_changes"]

_TOP = 10
_CHARACTERS = 400  # of a passage, enough to see what it is about


def count_changes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """Count the queries that did better, alike and worse."""
    signs = [(after[query] > value) - (after[query] < value) for query, value in before.items()]
    return {"better": signs.count(1), "alike": signs.count(0), "worse": signs.count(-1)}


def changes(
    task: Task,
    orders: Orders,
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    limit: int,
) -> tuple[list[QueryChange], list[QueryChange]]:
    """Return the queries that were helped most, and those that were hurt most.

    Args:
        task: What was reranked.
        orders: The order after reranking.
        before: The first stage's value for each query.
        after: The value after reranking.
        limit: At most this many of each.
    """
    ranked = sorted(before, key=lambda query: (before[query] - after[query], query))
    wins = [query for query in ranked[:limit] if after[query] > before[query]]
    losses = [query for query in ranked[::-1][:limit] if after[query] < before[query]]

    def describe(queries: Sequence[str], *, won: bool) -> list[QueryChange]:
        return [
            QueryChange(
                query,
                task.collection.queries[query],
                before[query],
                after[query],
                *_moved(task, query, orders[query], won=won),
            )
            for query in queries
        ]

    return describe(wins, won=True), describe(losses, won=False)


def _moved(
    task: Task, query: str, order: Sequence[str], *, won: bool
) -> tuple[Moved | None, Moved | None]:
    grades = task.collection.judgements[query]
    found = task.first_stage.candidates.get(query, ())
    places = {candidate.id: place for place, candidate in enumerate(found, start=1)}
    passages = [
        Moved(
            document,
            task.collection.documents[document][:_CHARACTERS],
            grades.get(document),
            places[document],
            place,
        )
        for place, document in enumerate(order, start=1)
    ]
    rose = [moved for moved in passages if moved.after <= _TOP and moved.after < moved.before]
    fell = [
        moved
        for moved in passages
        if moved.before <= _TOP and moved.after > moved.before and (moved.grade or 0) > 0
    ]
    # What a query won by is a relevant passage; what it lost by, one that is not.
    up = max(
        rose,
        key=lambda moved: (((moved.grade or 0) > 0) is won, moved.before - moved.after),
        default=None,
    )
    down = max(fell, key=lambda moved: moved.after - moved.before, default=None)
    return up, down
