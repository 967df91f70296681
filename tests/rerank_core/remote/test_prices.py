from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    Cached,
    Cascade,
    CohereScorer,
    ConfigurationError,
    Deadline,
    Fallback,
    Prices,
    Scorer,
    Usage,
    Windowed,
    load_scorer,
)
from support.cohere_server import CohereServer, Reply
from support.scorers import OverlapScorer


@pytest.fixture
def server() -> Iterator[CohereServer]:
    with CohereServer() as running:
        yield running


UNITS = {"search_units": 3.0}


@pytest.mark.parametrize(
    ("prices", "usage", "cost"),
    [
        (Prices(search_unit=0.002), Usage(billed_units=UNITS), 0.006),
        (Prices(request=0.5), Usage(), 0.5),
        (Prices(search_unit=0.002, request=0.5), Usage(billed_units=UNITS), 0.506),
        (Prices(million_tokens=2), Usage(tokens=500_000), 1.0),
        (Prices(million_tokens=2), Usage(tokens=9, billed_units={"input_tokens": 1e6}), 2.0),
        (Prices(million_tokens=2), Usage(billed_units={"total_tokens": 1e6}), 2.0),
        (Prices(million_tokens=2), Usage(tokens=9, billed_units={"input_tokens": 0.0}), 0.0),
        (Prices(search_unit=0), Usage(billed_units=UNITS), 0.0),
        (Prices(million_tokens=2), Usage(), None),
        (Prices(search_unit=0.002), Usage(tokens=9), None),
        (Prices(search_unit=0.002, request=0.5), Usage(), None),
    ],
)
def test_what_one_request_costs(prices: Prices, usage: Usage, cost: float | None) -> None:
    assert prices.cost(usage) == (None if cost is None else pytest.approx(cost))


@pytest.mark.parametrize(
    "prices",
    [
        {},
        {"pair": 1},
        {"request": -1},
        {"request": float("nan")},
        {"request": float("inf")},
        {"request": "1"},
        {"request": True},
        {1: 2},
        7,
    ],
)
def test_prices_that_cannot_be(prices: Any) -> None:
    with pytest.raises(ConfigurationError, match="prices"):
        CohereScorer("m", prices=prices)


costs = st.none() | st.integers(0, 1000)


@given(costs, costs)
def test_an_unknown_part_is_not_hidden(one: int | None, other: int | None) -> None:
    total = (Usage(cost=one) + Usage(cost=other)).cost
    assert total == (None if one is None or other is None else one + other)


def priced(server: CohereServer, **prices: float) -> CohereScorer:
    return CohereScorer("m", base_url=server.url, prices=prices or None)


def test_a_scoring_knows_its_cost(server: CohereServer) -> None:
    texts = [f"text {i}" for i in range(2500)]
    assert priced(server, search_unit=0.002).score("a", texts).usage.cost == pytest.approx(0.054)
    assert priced(server, request=0.5).score("a", texts).usage.cost == 1.5
    assert priced(server).score("a", texts).usage.cost is None
    assert priced(server).score("a", [""]).usage.cost == 0  # nobody was asked


def test_one_answer_without_units_leaves_the_sum_unknown(server: CohereServer) -> None:
    results = [{"index": i, "relevance_score": 0.5} for i in range(1000)]
    server.script(Reply({"results": results}))
    usage = priced(server, search_unit=0.002).score("a", [str(i) for i in range(2000)]).usage
    assert usage.billed_units == {"search_units": 10.0}
    assert usage.cost is None


def test_failed_attempts_are_not_charged(server: CohereServer) -> None:
    server.script(Reply(drop=True))
    usage = priced(server, request=0.5).score("a", ["a"]).usage
    assert (usage.requests, usage.cost) == (2, 0.5)


def test_prices_are_configuration_not_identity(server: CohereServer) -> None:
    scorer = priced(server, search_unit=0.002)
    again = load_scorer(scorer.to_config())
    assert again.to_config() == scorer.to_config()
    assert scorer.to_config()["prices"] == {"search_unit": 0.002}
    assert again.score("a", ["a"]).usage.cost == 0.002
    assert again.fingerprint == priced(server).fingerprint
    assert CohereScorer("m", prices=Prices(request=1)).to_config()["prices"] == {"request": 1}


def test_costs_add_up_through_combinators(server: CohereServer) -> None:
    service = priced(server, request=0.5)
    local = OverlapScorer()
    cached = Cached(service)
    cases: list[tuple[Scorer, float | None]] = [
        (local, 0.0),
        (Deadline(service, 60), 0.5),
        (Windowed(service, tokens=2), 0.5),
        (Fallback(service, local), 0.5),
        (Fallback(local, service), 0.0),
        (Cascade([(local, 1), service]), 0.5),
        (Cascade([(service, 1), service]), 1.0),
        (Cascade([(priced(server), 1), service]), None),
        (cached, 0.5),
        (cached, 0.0),
    ]
    for scorer, cost in cases:
        assert scorer.score("a b", ["a b", "a", "c"]).usage.cost == cost, scorer
