"""Requests that tuning will make to services, counted before the first one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import ceil, fsum
from typing import NamedTuple, TypeAlias

from rerank_core._errors import ConfigurationError
from rerank_core._remote.base import HttpScorer
from rerank_core._remote.prices import check_prices
from rerank_core._scorer import Scorer, leaves
from rerank_core._trimming.tokens import make_counter
from rerank_core._usage import Usage
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._scoring import WARM_UP, Task
from rerank_core.evaluation._tune_grid import kept_scorer

__all__ = ["Calls", "count_calls", "timed_calls"]

Call: TypeAlias = tuple[str, list[str]]
"""A query and its texts."""

_TIMED = 100  # queries
_UNIT = 100  # texts of one of Cohere's search units


class Calls(NamedTuple):
    """Requests to a service.

    Attributes:
        name: Name of the scorer that asks it.
        requests: Number of requests, at most; retries are not counted.
        pairs: Number of (query, text) pairs in them.
        cost: What they will cost, about; None if the price is not known.
    """

    name: str
    requests: int
    pairs: int
    cost: float | None


def timed_calls(task: Task, depth: int) -> list[Call]:
    """Return the calls of a task whose time is measured, spread over its queries."""
    asked = [query for query in task.used if task.first_stage.candidates.get(query)]
    step = ceil(len(asked) / _TIMED) or 1
    return [(task.collection.queries[query], task.texts(query, depth)) for query in asked[::step]]


def count_calls(
    task: Task, scorers: Mapping[str, Scorer], journal: Journal, *, timed: bool
) -> list[Calls]:
    """Count what tuning will ask of services at most.

    Tokens are counted by the embedded model's tokenizer, so a price by tokens is an estimate.

    Args:
        task: The task, of which the greatest depth is scored.
        scorers: Scorers by name.
        journal: Knows what need not be asked again.
        timed: Whether the time of what is chosen will be measured again.
    """
    again = timed_calls(task, max(task.depths)) if timed else []
    found = []
    for name, scorer in scorers.items():
        calls = [
            call
            for scored in ([*_unknown(task, scorer, journal)], again)
            for call in [*((query, texts[:WARM_UP]) for query, texts in scored[:1]), *scored]
        ]
        services = [each for each in leaves(scorer) if isinstance(each, HttpScorer)]
        found += [_count(name, service, calls) for service in services if calls]
    return found


def _unknown(task: Task, scorer: Scorer, journal: Journal) -> Iterator[Call]:
    """Return the calls that the journal does not know."""
    for query in task.used:
        asked, texts = task.collection.queries[query], task.texts(query, max(task.depths))
        if texts and journal.find(kept_scorer(scorer), asked, texts) is None:
            yield asked, texts


def _count(name: str, service: HttpScorer, calls: list[Call]) -> Calls:
    prices = None
    with suppress(ConfigurationError):  # a ready client cannot be described
        prices = check_prices(service.to_config().get("prices"))
    costs: list[float | None] = [None]
    if prices is not None:
        count = make_counter("nano")
        costs = [
            prices.cost(
                Usage(
                    tokens=sum(map(count, texts)) + len(texts) * count(query),
                    billed_units={"search_units": float(ceil(len(texts) / _UNIT))},
                )
            )
            for query, texts in calls
        ]
    known = [cost for cost in costs if cost is not None]
    return Calls(
        name,
        sum(ceil(len(texts) / service.max_texts) for _, texts in calls),
        sum(len(texts) for _, texts in calls),
        fsum(known) if len(known) == len(costs) else None,
    )
