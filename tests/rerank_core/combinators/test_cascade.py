from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    Cached,
    Cascade,
    ConfigurationError,
    Deadline,
    Fallback,
    InvalidInputError,
    Scale,
    Scorer,
    ServiceError,
    StopScoring,
    Windowed,
    load_scorer,
    rerank,
)
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


class Nested(NamedTuple):
    """A cascade that has not been built, or a leaf with the texts in its order, and a wrapper."""

    stages: tuple[tuple[Nested, int], ...]
    last: Nested | tuple[int, ...]
    wrapper: str

    def build(self) -> tuple[Scorer, list[ScriptedScorer]]:
        """Return the scorer, and all its leaves in the order in which they are asked."""
        if isinstance(self.last, tuple) and not isinstance(self.last, Nested):
            scores = {TEXTS[position]: -float(rank) for rank, position in enumerate(self.last)}
            leaf = ScriptedScorer(scores)
            return wrapped(leaf, self.wrapper), [leaf]
        leaves: list[ScriptedScorer] = []
        stages: list[tuple[Scorer, int] | Scorer] = []
        for stage, keep in self.stages:
            scorer, below = stage.build()
            stages.append((scorer, keep))
            leaves += below
        scorer, below = self.last.build()
        return wrapped(Cascade([*stages, scorer]), self.wrapper), leaves + below

    def order(self, positions: Sequence[int], read: list[set[str]]) -> list[int]:
        """Return the expected order of some texts, and add what each leaf reads to `read`."""
        if isinstance(self.last, tuple) and not isinstance(self.last, Nested):
            read.append({TEXTS[position] for position in positions})
            return sorted(positions, key=self.last.index)
        eliminated: list[int] = []
        for stage, keep in self.stages:
            ranked = stage.order(positions, read)
            positions, eliminated = ranked[:keep], [*ranked[keep:], *eliminated]
        return [*self.last.order(positions, read), *eliminated]


def wrapped(scorer: Scorer, wrapper: str) -> Scorer:
    match wrapper:
        case "cached":
            return Cached(scorer)
        case "deadline":
            return Deadline(scorer, 60)
        case "fallback":
            return Fallback(ScriptedScorer(ServiceError("down")), scorer)
        case "windowed":
            return Windowed(scorer)
    return scorer


def cascades(depth: int) -> st.SearchStrategy[Nested]:
    wrapper = st.sampled_from(["", "", "cached", "deadline", "fallback", "windowed"])
    leaf = st.builds(Nested, st.just(()), st.permutations(range(len(TEXTS))).map(tuple), wrapper)
    if depth == 0:
        return leaf
    below = st.one_of(leaf, cascades(depth - 1))
    stages = st.lists(st.tuples(below, st.integers(1, 6)), min_size=1, max_size=2).map(tuple)
    return st.builds(Nested, stages, below, wrapper)


@given(cascades(3))
def test_the_inner_order_is_respected_at_every_depth(nested: Nested) -> None:
    scorer, leaves = nested.build()
    read: list[set[str]] = []
    expected = nested.order(range(len(TEXTS)), read)
    assert [item.index for item in rerank("q", TEXTS, scorer)] == expected
    assert [{text for _, texts in leaf.calls for text in texts} for leaf in leaves] == read


def test_the_strong_scorer_reads_the_best_of_an_inner_cascade() -> None:
    texts = [f"text {i}" for i in range(10)]
    up = ScriptedScorer({text: float(i) for i, text in enumerate(texts)})
    for inner in (Cascade([(up, 2), up]), Windowed(Cascade([(up, 2), up]))):
        strong = ScriptedScorer(dict.fromkeys(texts, 0.0))
        Cascade([(inner, 4), strong]).score("q", texts)
        assert strong.calls == [("q", ("text 9", "text 8", "text 7", "text 6"))]


def test_once_stopped_no_further_stage_begins_and_the_order_so_far_is_kept() -> None:
    for calls in range(8):
        strong = OverlapScorer("strong")
        cascade = Cascade([(OverlapScorer("cheap"), 3), strong])
        count = iter(range(100))

        def stop(done: int, total: int, count=count, calls=calls) -> None:  # type: ignore[no-untyped-def]
            if next(count) == calls:  # only once
                raise StopScoring

        texts = ["x", "y", "a b", "a", "a b c", "z"]
        ranking = rerank("a b c", texts, cascade, progress=stop)
        assert ranking.causes == ("stopped",)
        if calls < 6:  # the cheap stage reported `calls + 1` texts
            read = sorted(range(calls + 1), key=lambda i: -[0, 0, 2, 1, 3, 0][i])
            assert [item.index for item in ranking] == [*read, *range(calls + 1, 6)]
        if calls < 7:  # the seventh report comes between the stages
            assert strong.calls == []


def test_a_cascade_has_a_fingerprint_of_its_own() -> None:
    scorers = [STRONG, Cascade([(CHEAP, 2), STRONG]), Cascade([(CHEAP, 3), STRONG])]
    scorers += [Cascade([(STRONG, 2), STRONG]), Cascade([(CHEAP, 2), (CHEAP, 2), STRONG])]
    assert len({scorer.fingerprint for scorer in scorers}) == len(scorers)


def test_what_was_read_completely_has_no_secondary_scores() -> None:
    assert Cascade([(CHEAP, 6), STRONG]).score("q", TEXTS).secondary is None
    assert Cascade([(CHEAP, 5), STRONG]).score("q", TEXTS).secondary is not None


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
