"""What tuning will ask of services, counted before the first request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import ceil, fsum
from typing import NamedTuple

from rerank_core._errors import ConfigurationError
from rerank_core._remote.base import HttpScorer
from rerank_core._remote.prices import check_prices
from rerank_core._scorer import Scorer, leaves
from rerank_core._trimming.tokens import make_counter
from rerank_core._usage import Usage
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._scoring import Task
from rerank_core.evaluation._tune_grid import kept_scorer

__all__ = ["Calls", "count_calls"]

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


def count_calls(task: Task, scorers: Mapping[str, Scorer], journal: Journal) -> list[Calls]:
    """Count what scoring the greatest depth of a task will ask of services.

    Tokens are counted by the embedded model's tokenizer, so a price by tokens is an estimate.

    Args:
        task: The task.
        scorers: Scorers by name.
        journal: Knows what need not be asked again.
    """
    return [
        _count(name, service, calls)
        for name, scorer in scorers.items()
        for calls in [[*_calls(task, scorer, journal)]]
        for service in leaves(scorer)
        if isinstance(service, HttpScorer) and calls
    ]


def _calls(task: Task, scorer: Scorer, journal: Journal) -> Iterator[tuple[str, list[str]]]:
    for query in task.used:
        asked, texts = task.collection.queries[query], task.texts(query, max(task.depths))
        if texts and journal.find(kept_scorer(scorer), asked, texts) is None:
            yield asked, texts


def _count(name: str, service: HttpScorer, calls: list[tuple[str, list[str]]]) -> Calls:
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
