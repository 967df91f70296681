from __future__ import annotations

import json
import pickle
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    MissingExtraError,
    NonFiniteScoreError,
    RankedItem,
    Ranking,
    Scale,
    Scoring,
    Span,
    Usage,
)

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


def test_a_usage_keeps_few_units_with_plain_names() -> None:
    odd: dict[Any, float] = {"a b": 1, "x" * 41: 1, "\n": 1, "": 1, 7: 1, "\u0661": 1}
    assert Usage(billed_units={**odd, "Units-2.x": 1}).billed_units == {"Units-2.x": 1}
    many = [Usage(billed_units={f"unit_{n}_{i}": 1 for i in range(50)}) for n in range(50)]
    total = sum([*many, Usage(billed_units={"search_units": 2, "input_tokens": 3})], Usage())
    assert len(total.billed_units) == 16
    assert (total.billed_units["search_units"], total.billed_units["input_tokens"]) == (2, 3)


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
    assert Scoring((1.0, None), spans=((Span(0, 3),), ())).spans == ((Span(0, 3),), ())
    with pytest.raises(ValueError, match="1 spans for 2 scores"):
        Scoring((1.0, None), spans=((),))


def test_a_ranking_is_a_sequence() -> None:
    items = tuple(RankedItem(i, float(-i), None, (), f"text {i}") for i in range(3))
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


@pytest.fixture
def shown() -> Ranking:
    texts = ("<b>bold</b> & co", "line\nbreak \x1b[31m", "long " * 50)
    items = (
        RankedItem(2, 1.5, 0.25, (), texts[0]),
        RankedItem(0, -0.5, None, (), texts[1]),
        RankedItem(1, None, None, (), texts[2]),
    )
    return Ranking(items, "nano", Scale.LOGIT, degraded="<why>")


def test_a_ranking_is_shown_as_a_table(shown: Ranking) -> None:
    heading, columns, *rows = str(shown).splitlines()
    assert heading == "nano (logit: any real number, not a probability); degraded: <why>"
    assert columns.split() == ["rank", "was", "change", "score", "text"]
    assert [row.split()[:4] for row in rows] == [
        ["1", "3", "↑2", "1.5000"],
        ["2", "1", "↓1", "-0.5000"],
        ["3", "2", "↓1", "-"],
    ]
    assert "\x1b" not in str(shown)
    assert rows[1].endswith("line break \ufffd[31m")
    assert rows[2].endswith("long…")
    assert str(Ranking((), "nano", Scale.UNIT)).splitlines()[1].split() == columns.split()


def test_a_notebook_gets_an_escaped_table(shown: Ranking) -> None:
    shown_html = shown._repr_html_()
    assert shown_html.count("<tr>") == 4
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; co" in shown_html
    assert "degraded: &lt;why&gt;" in shown_html
    assert "<b>" not in shown_html


def test_a_ranking_becomes_a_data_frame(shown: Ranking) -> None:
    frame = shown.to_pandas()
    assert list(frame.columns) == ["rank", "was", "score", "prior", "text"]
    assert frame.index.tolist() == [2, 0, 1]
    assert frame["was"].tolist() == [3, 1, 2]
    assert frame["score"].isna().tolist() == [False, False, True]
    assert frame.loc[2, "prior"] == 0.25
    empty = Ranking((), "nano", Scale.UNIT).to_pandas()
    assert list(map(str, empty.dtypes)) == ["int64", "int64", "float64", "float64", "object"]
    odd = Ranking((RankedItem(0, 1e300, None, (), "\ud800"),), "nano", Scale.LOGIT)
    assert odd.to_pandas().loc[0, "text"] == "\ud800"
    assert " 1e+300 " in str(odd)


def test_a_missing_pandas_is_named(shown: Ranking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[pandas\]"'):
        shown.to_pandas()


def test_a_degraded_scoring_has_a_cause() -> None:
    assert Scoring((1.0,)).causes == ()
    assert Scoring((None,), degraded="for a reason").causes == ("other",)
    with pytest.raises(ValueError, match="needs a sentence"):
        Scoring((None,), causes=("deadline",))
    assert Scoring((None,), degraded="late", causes=("deadline",)).causes == ("deadline",)
