from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    Cascade,
    ConfigurationError,
    InvalidInputError,
    Scale,
    ServiceError,
    load_scorer,
    rerank,
)
from rerank_core._combinators.fallback import Fallback
from rerank_core.testing import OverlapScorer, ScriptedScorer

TEXTS = [f"text {i}" for i in range(6)]
CHEAP = ScriptedScorer({text: float(i) for i, text in enumerate(TEXTS)})
STRONG = ScriptedScorer({text: -float(i) for i, text in enumerate(TEXTS)})


def order(scorer: Cascade) -> list[int]:
    return [item.index for item in rerank("q", TEXTS, scorer)]


def test_the_strong_scorer_reads_the_survivors_and_the_rest_keeps_the_cheap_order() -> None:
    cascade = Cascade([(CHEAP, 2), STRONG])
    assert order(cascade) == [4, 5, 3, 2, 1, 0]
    scoring = cascade.score("q", TEXTS)
    assert scoring.scores == (None, None, None, None, -4.0, -5.0)
    assert (scoring.usage.pairs, scoring.usage.saved) == (8, 4)
    assert asyncio.run(cascade.ascore("q", TEXTS)).scores == scoring.scores


def test_three_stages_lie_in_layers() -> None:
    middle = ScriptedScorer({text: float(i % 3) for i, text in enumerate(TEXTS)})
    assert order(Cascade([(CHEAP, 4), (middle, 2), STRONG])) == [2, 5, 4, 3, 1, 0]


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=12),
    st.integers(1, 12),
)
def test_nothing_is_lost(scores: list[tuple[int, int]], keep: int) -> None:
    texts = [f"text {i}" for i in range(len(scores))]
    cheap = ScriptedScorer({t: float(a) for t, (a, _) in zip(texts, scores, strict=True)})
    strong = ScriptedScorer({t: float(b) for t, (_, b) in zip(texts, scores, strict=True)})
    ranking = rerank("q", texts, Cascade([(cheap, keep), strong]))
    assert sorted(item.index for item in ranking) == list(range(len(texts)))
    assert sum(item.score is not None for item in ranking) == min(keep, len(texts))
    fallen = [item for item in ranking if item.score is None]
    assert [scores[i.index][0] for i in fallen] == sorted(
        (scores[i.index][0] for i in fallen), reverse=True
    )


def test_what_the_cheap_scorer_did_not_score_falls_first() -> None:
    partial = ScriptedScorer({"text 5": 0.0, "text 1": 1.0})
    assert order(Cascade([(partial, 2), STRONG])) == [1, 5, 0, 2, 3, 4]


def test_a_strong_scorer_that_gives_up_leaves_the_cheap_order() -> None:
    dead = ScriptedScorer(ServiceError("down"))
    cascade = Cascade([(CHEAP, 3), Fallback(dead)])
    ranking = rerank("q", TEXTS, cascade)
    assert [item.index for item in ranking] == [5, 4, 3, 2, 1, 0]
    assert "down" in str(ranking.degraded)


def test_scale_and_name_are_the_strong_scorers() -> None:
    cascade = Cascade([(OverlapScorer("cheap"), 3), STRONG])
    assert cascade.scale is Scale.LOGIT
    assert cascade.name == "cascade(cheap:3, scripted)"


def test_the_configuration_makes_the_same_cascade() -> None:
    nano = load_scorer("nano")
    config = json.loads(json.dumps(Cascade([(nano, 2), nano]).to_config()))
    again = load_scorer(config)
    assert again.name == "cascade(nano:2, nano)"
    assert sum(score is not None for score in again.score("text 3", TEXTS).scores) == 2


@pytest.mark.parametrize(
    "stages", [[], [STRONG], [STRONG, 3], [(STRONG,), STRONG], [(STRONG, 0), STRONG], "nano", None]
)
def test_stages_that_make_no_cascade_are_refused(stages: object) -> None:
    with pytest.raises((ConfigurationError, InvalidInputError), match=r"stages|keep"):
        Cascade(stages)  # type: ignore[arg-type]
