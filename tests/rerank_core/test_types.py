from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import NonFiniteScoreError, RankedItem, Ranking, Scale, Scoring, Span, Usage

counts = st.integers(0, 1000)
usages = st.builds(
    Usage,
    pairs=counts,
    tokens=counts,
    padding=counts,
    truncated=counts,
    requests=counts,
    cache_hits=counts,
    saved=counts,
    cost=st.none() | counts,
    billed_units=st.dictionaries(st.sampled_from(["search_units", "input_tokens"]), counts),
)


@given(usages, usages, usages)
def test_usages_add_up(a: Usage, b: Usage, c: Usage) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Usage() == a
    assert (a + b).pairs == a.pairs + b.pairs
    total = a.billed_units.get("search_units", 0) + b.billed_units.get("search_units", 0)
    assert (a + b).billed_units.get("search_units", 0) == total


def test_adding_usages_changes_neither() -> None:
    one, other = Usage(billed_units={"search_units": 1}), Usage(billed_units={"search_units": 2})
    assert (one + other).billed_units == {"search_units": 3}
    assert one.billed_units == {"search_units": 1}


def test_numpy_scalars_become_plain_floats() -> None:
    scores: Any = (np.float32(0.5), None, 1)
    scoring = Scoring(scores)
    assert [type(score) for score in scoring.scores] == [float, type(None), float]
    json.dumps(scoring.scores)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_a_score_without_a_place_in_an_order_is_refused(bad: float) -> None:
    with pytest.raises(NonFiniteScoreError, match="text 1"):
        Scoring((0.0, bad))


def test_spans_come_one_per_score() -> None:
    assert Scoring((1.0, None), spans=(Span(0, 3), None)).spans == (Span(0, 3), None)
    with pytest.raises(ValueError, match="1 spans for 2 scores"):
        Scoring((1.0, None), spans=(None,))


def test_a_ranking_is_a_sequence() -> None:
    items = tuple(RankedItem(i, float(-i), None, None, f"text {i}") for i in range(3))
    ranking = Ranking(items, "nano", Scale.LOGIT)
    assert len(ranking) == 3
    assert ranking[0] is items[0]
    assert ranking[-1] is items[2]
    assert ranking[:2] == items[:2]
    assert list(ranking) == list(items)
    assert items[1] in ranking
    assert pickle.loads(pickle.dumps(ranking)) == ranking


def test_scales_are_their_names() -> None:
    assert [str(scale) for scale in Scale] == ["logit", "unit", "probability"]
