from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    Blend,
    Cascade,
    ConfigurationError,
    Fallback,
    InvalidInputError,
    Ranking,
    Scale,
    Scoring,
    ServiceError,
    arerank,
    rerank,
)
from rerank_core._loading import shared_scorer
from rerank_core.testing import OverlapScorer, ScriptedScorer

texts_and_scores = st.lists(
    st.tuples(st.text(min_size=1, max_size=4), st.none() | st.integers(-3, 3)), max_size=20
)


def table(pairs: list[tuple[str, int | None]]) -> ScriptedScorer:
    return ScriptedScorer({text: float(score) for text, score in pairs if score is not None})


@given(texts_and_scores)
def test_a_ranking_is_a_permutation_in_order_with_stable_ties(
    pairs: list[tuple[str, int | None]],
) -> None:
    texts = [text for text, _ in pairs]
    ranking = rerank("q", texts, table(pairs))
    assert sorted(item.index for item in ranking) == list(range(len(texts)))
    assert [item.text for item in ranking] == [texts[item.index] for item in ranking]
    keys = [(item.score is None, -(item.score or 0.0), item.index) for item in ranking]
    assert keys == sorted(keys)


@given(texts_and_scores, st.integers(1, 25), st.integers(-3, 3))
def test_threshold_and_trim(pairs: list[tuple[str, int | None]], top_n: int, least: int) -> None:
    texts = [text for text, _ in pairs]
    scorer = table(pairs)
    whole = list(rerank("q", texts, scorer))
    kept = [item for item in whole if item.score is None or item.score >= least]
    assert list(rerank("q", texts, scorer, min_score=least)) == kept
    assert list(rerank("q", texts, scorer, min_score=least, top_n=top_n)) == kept[:top_n]


@given(texts_and_scores, st.integers(1, 30))
def test_the_budget_is_filled_from_the_best_on(
    pairs: list[tuple[str, int | None]], budget: int
) -> None:
    texts = [text for text, _ in pairs]
    whole = list(rerank("q", texts, table(pairs)))
    kept = list(rerank("q", texts, table(pairs), max_tokens=budget, count_tokens=len))
    assert sum(len(item.excerpt) for item in kept) <= budget
    assert not any(item.kept for item in kept[:-1])  # only the last one is shortened
    left = {item.index: item for item in kept}
    assert [*left] == [item.index for item in whole if item.index in left]
    room = budget
    for item in whole:
        if item.index not in left:
            assert len(item.text) > room  # passed over
        elif left[item.index].kept:
            break  # shortened, and what follows leaves
        else:
            room -= len(item.text)


@given(texts_and_scores, st.sampled_from(["rrf", "minmax", "zscore"]), st.floats(0, 1))
def test_blending_reorders_the_scored_and_leaves_the_rest_behind(
    pairs: list[tuple[str, int | None]], method: str, weight: float
) -> None:
    texts = [text for text, _ in pairs]
    prior = [float(len(texts) - i) for i in range(len(texts))]
    plain = rerank("q", texts, table(pairs), prior=prior)
    blended = rerank("q", texts, table(pairs), prior=prior, blend=Blend(method, weight))  # type: ignore[arg-type]
    assert sorted(item.index for item in blended) == list(range(len(texts)))
    scored = sum(item.score is not None for item in plain)
    assert [item.score is None for item in blended] == [False for _ in range(scored)] + [
        True for _ in range(len(texts) - scored)
    ]
    assert blended.scale is (Scale.LOGIT if method == "zscore" else Scale.UNIT)
    assert [item.prior for item in blended] == [prior[item.index] for item in blended]


@given(texts_and_scores, st.none() | st.integers(1, 5))
def test_arerank_is_the_same(pairs: list[tuple[str, int | None]], top_n: int | None) -> None:
    texts = [text for text, _ in pairs]
    one = rerank("q", texts, table(pairs), top_n=top_n)
    other = asyncio.run(arerank("q", texts, table(pairs), top_n=top_n))
    assert list(one) == list(other)


def test_a_generator_of_candidates_works() -> None:
    ranking = rerank("b", (text for text in ["a", "b"]), OverlapScorer(), prior=iter([2, 1]))
    assert [(item.index, item.text, item.prior) for item in ranking] == [
        (1, "b", 1.0),
        (0, "a", 2.0),
    ]


def test_no_candidates_is_no_error_and_no_call() -> None:
    scorer = OverlapScorer()
    ranking = rerank("q", [], scorer)
    assert (len(ranking), ranking.degraded, scorer.calls) == (0, None, [])


def test_a_ranking_says_who_scored_and_what_it_cost() -> None:
    ranking: Ranking = rerank("a", ["a", "b"], OverlapScorer("mine"))
    assert (ranking.scorer, ranking.scale, ranking.usage.pairs) == ("mine", Scale.UNIT, 2)


def test_numpy_scalars_do_not_leak() -> None:
    numbers: dict[str, Any] = {
        "prior": np.array([0.5, 0.25], dtype=np.float32),
        "top_n": np.int64(2),
        "min_score": np.float32(0),
    }
    ranking = rerank("a", ["a", "b"], OverlapScorer(), blend=Blend("zscore"), **numbers)
    json.dumps([(item.index, item.score, item.prior) for item in ranking])


def test_ten_thousand_candidates() -> None:
    texts = [f"text {i}" for i in range(10_000)]
    ranking = rerank("text 9999", texts, OverlapScorer(), top_n=3)
    assert [item.index for item in ranking] == [9999, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": " "}, "query is blank"),
        ({"query": None}, "query must be a str"),
        ({"candidates": "a text"}, "candidates must be a list"),
        ({"candidates": ["a", 3]}, r"candidates\[1\]"),
        ({"scorer": "nanoo"}, "did you mean 'nano'"),
        ({"scorer": 5}, "scorer 5"),
        ({"depth": 0}, "depth"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": -1}, "top_n"),
        ({"top_n": True}, "top_n"),
        ({"min_score": float("nan")}, "min_score"),
        ({"max_tokens": 0, "count_tokens": len}, "max_tokens"),
        ({"blend": 0.3}, "blend must be None, a Blend, a string"),
        ({"blend": "rff"}, "did you mean 'rrf'"),
        ({"blend": "rrf:much"}, "the weight must be a number"),
        ({"top_k": 3}, "'top_k'; did you mean top_n .*or depth"),
        ({"k": 3}, "'k'; did you mean top_n"),
        ({"topn": 3}, "'topn'; did you mean 'top_n'"),
        ({"model": "nano"}, "'model'; did you mean scorer"),
        ({"what": 1}, "no argument 'what'$"),
        ({"prior": 5}, "prior must be a list of numbers"),
        ({"prior": {0: 1.0, 1: 2.0}}, "prior must be a list, not dict: .* keys"),
        (
            {"candidates": {"a": "b"}},
            r"candidates must be a list, not dict: .*list\(items.values\(\)\)",
        ),
        ({"candidates": {"a", "b"}}, "candidates must be a list, not set: a set has no order"),
        ({"candidates": pd.DataFrame({"text": ["a"]})}, "not DataFrame: .*columns"),
        ({"query": "\u200b\ufeff"}, "query is blank"),
        ({"blend": "zscore", "prior": [1.0, float("nan")]}, r"prior\[1\] is missing"),
        ({"prior": [1.0]}, "one score for each of the 2 candidates, not 1"),
        ({"prior": [1.0, float("inf")]}, r"prior\[1\]"),
        ({"blend": Blend("minmax")}, r"prior\[0\] is missing"),
    ],
)
def test_bad_input_is_named_before_anything_is_scored(
    arguments: dict[str, object], message: str
) -> None:
    scorer = OverlapScorer()
    good: dict[str, object] = {"query": "q", "candidates": ["a", "b"], "scorer": scorer}
    with pytest.raises((InvalidInputError, ConfigurationError), match=message):
        rerank(**{**good, **arguments})  # type: ignore[arg-type]
    with pytest.raises((InvalidInputError, ConfigurationError), match=message):
        asyncio.run(arerank(**{**good, **arguments}))  # type: ignore[arg-type]
    assert scorer.calls == []


@pytest.mark.parametrize("counted", [None, -1, 1.5, "3"])
def test_a_counter_must_count(counted: object) -> None:
    with pytest.raises(InvalidInputError, match="the counter must return a number of tokens"):
        rerank("q", ["a"], OverlapScorer(), max_tokens=5, count_tokens=lambda _: counted)


def test_only_the_first_candidates_are_scored() -> None:
    scorer = OverlapScorer()
    for ranking in (
        rerank("a b", ["c", "a", "b a", "a b"], scorer, depth=2),
        asyncio.run(arerank("a b", ["c", "a", "b a", "a b"], scorer, depth=2)),
    ):
        assert [(item.index, item.score) for item in ranking] == [
            (1, 0.5),
            (0, 0.0),
            (2, None),
            (3, None),
        ]
        assert (ranking.degraded, ranking.usage.pairs) == (None, 2)
    assert [texts for _, texts in scorer.calls] == [("c", "a")] * 2
    assert len(rerank("a", ["a"], scorer, depth=50)) == 1


def test_a_blend_needs_the_priors_of_what_is_scored_alone() -> None:
    options: dict[str, Any] = {"depth": 2, "blend": "minmax:0.5", "prior": [1.0, 2.0, None]}
    ranking = rerank("a", ["a", "b", "a"], OverlapScorer(), **options)
    assert [(item.index, item.score) for item in ranking] == [(0, 0.5), (1, 0.5), (2, None)]


def test_what_a_cascade_cut_stays_before_what_was_not_read() -> None:
    cascade = Cascade([(OverlapScorer(), 1), OverlapScorer()])
    ranking = rerank("a b", ["c", "a", "a b", "b a"], cascade, depth=3)
    assert [item.index for item in ranking] == [2, 1, 0, 3]


@pytest.mark.parametrize("nothing", [None, float("nan"), np.float32("nan")])
def test_ranks_are_blended_without_priors(nothing: Any) -> None:
    ranking = rerank("a", ["b", "a"], OverlapScorer(), blend="rrf:0.3", prior=[nothing, 1.0])
    assert [(item.index, item.prior) for item in ranking] == [(1, 1.0), (0, None)]


def test_a_threshold_drops_what_a_cascade_left_to_its_cheap_stage() -> None:
    texts = ["a b", "c", "a", "a b c", "", "d"]
    cheap = ScriptedScorer({text: float(i) for i, text in enumerate(texts) if text})
    strong = ScriptedScorer({"d": 0.9, "a b c": 0.1})
    for cascade in (
        Cascade([(cheap, 2), strong]),
        Cascade([(cheap, 4), Cascade([(cheap, 2), strong])]),
    ):
        ranking = rerank("q", texts, cascade, min_score=0.5)
        assert [item.text for item in ranking] == ["d", ""]  # of the blank one nothing is known
        whole = rerank("q", texts, cascade)
        assert [item.text for item in whole] == ["d", "a b c", "a", "c", "a b", ""]


def test_a_threshold_drops_nothing_unread_where_the_strong_stage_failed() -> None:
    cheap = ScriptedScorer({"a": 1.0, "b": 2.0, "c": 3.0})
    failing = Fallback(ScriptedScorer(ServiceError("down")))
    ranking = rerank("q", ["a", "b", "c"], Cascade([(cheap, 2), failing]), min_score=0.5)
    assert [item.text for item in ranking] == ["c", "b", "a"]
    half = Scoring((None, 0.9), degraded="half", causes=("other",))
    ranking = rerank("q", ["a", "b", "c"], Cascade([(cheap, 2), ScriptedScorer(half)]), min_score=1)
    assert [item.text for item in ranking] == ["c", "a"]


def test_a_budget_that_holds_no_sentence_is_told() -> None:
    options: dict[str, Any] = {"max_tokens": 3, "count_tokens": len}
    for ranking in (
        rerank("a", ["b", "aaaaa a"], OverlapScorer(), **options),
        asyncio.run(arerank("a", ["b", "aaaaa a"], OverlapScorer(), **options)),
    ):
        assert ([item.excerpt for item in ranking], ranking.causes) == (["aaa"], ("budget",))
        assert ranking.degraded == "the budget of 3 tokens is less than the best sentence takes"
    down = rerank("a", ["aaaa"], Fallback(ScriptedScorer(ServiceError("down"))), **options)
    assert down.causes == ("ServiceError", "budget")
    assert "down" in str(down.degraded)
    fits = rerank("a", ["a", "aaaaa"], OverlapScorer(), **options)
    assert ([item.text for item in fits], fits.degraded) == (["a"], None)
    assert rerank("a", [], OverlapScorer(), **options).degraded is None
    assert rerank("a", ["bbbb"], OverlapScorer(), min_score=1, **options).degraded is None
    huge = rerank("a", ["a"], OverlapScorer(), max_tokens=3, count_tokens=lambda _: 4)
    assert (list(huge), huge.causes) == ([], ("budget",))


INVISIBLE = [
    "\0", "\0\x01\x1f\x7f\x85", "\u200b", "\u200b \u200d\u200c\n", "\ufeff", "\u00ad", "\u2060",
    "\u200e\u202e\u2066", "\u180e", "\ufe0f", "\u034f", "\u3164", "\u115f\u1160", "\uffa0",
    "\u2800", "\U000e0041", "\U000e0100", "\uffff", "\u2028\u3000\u00a0", "\0" * 10_000,
]  # fmt: skip
VISIBLE = [
    "a", ".", "\u200bж", "\0" * 60 + "é", "日本", "🌊", "☺\ufe0f", "\ufffd", "\ue000", "\u0301",
    "\u0600", "قهوة", "กาแฟ", "한", "\ud800", "\u2801",
]  # fmt: skip


@pytest.mark.parametrize("text", INVISIBLE, ids=lambda text: ascii(text[:5]))
def test_a_text_of_which_nothing_can_be_seen_is_not_scored(text: str) -> None:
    scorer = OverlapScorer()
    ranking = rerank("a", [text, "b", "a"], scorer)
    assert [item.score for item in ranking] == [1.0, 0.0, None]
    assert scorer.calls == [("a", ("b", "a"))]
    with pytest.raises(InvalidInputError, match="query is blank"):
        rerank(text, ["a"], scorer)


@pytest.mark.parametrize("text", VISIBLE, ids=lambda text: ascii(text[:5]))
def test_a_text_of_which_something_can_be_seen_is_scored_as_it_is(text: str) -> None:
    scorer = OverlapScorer()
    assert scorer.score("a", [text]).scores != (None,)
    assert scorer.calls[0][1] == (text.replace("\ud800", "\ufffd"),)


def test_without_a_score_the_model_is_not_looked_up() -> None:
    class Missing(OverlapScorer):
        @property
        def scale(self) -> Scale:
            raise ConfigurationError("no such model")

    for texts in ([], [" "]):
        assert rerank("q", texts, Missing()).scale is Scale.LOGIT


def test_the_embedded_model_is_the_default_and_is_kept() -> None:
    texts = ["Yeast makes dough rise.", "Use json.dump to write JSON to a file."]
    by_default = rerank("How do I write JSON to a file?", texts)
    assert by_default[0].index == 1
    assert by_default.scorer == "nano"
    by_name = rerank("How do I write JSON to a file?", texts, "nano")
    assert by_name.items == by_default.items
    assert shared_scorer("nano") is shared_scorer("nano")
    assert shared_scorer({"type": "onnx", "model": "nano"}) is not shared_scorer("nano")


@pytest.mark.parametrize(
    "blend", ["rrf:0.3", {"method": "rrf", "weight": 0.3}, Blend("rrf", 0.3)], ids=str
)
def test_a_blend_can_be_written_in_three_ways(blend: Any) -> None:
    texts = ["b", "a", "c"]
    expected = rerank("a", texts, OverlapScorer(), blend=Blend("rrf", weight=0.3))
    assert rerank("a", texts, OverlapScorer(), blend=blend).items == expected.items
