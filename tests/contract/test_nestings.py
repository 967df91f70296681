"""The contract of a scorer, over nested scorers."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_core import (
    Cached,
    Calibrated,
    Calibration,
    Cascade,
    CohereScorer,
    Deadline,
    Fallback,
    MemoryStore,
    OnnxCrossEncoder,
    Progress,
    RerankError,
    Scorer,
    Scoring,
    ServiceError,
    Usage,
    Windowed,
    load_scorer,
    rerank,
)
from rerank_core.testing import OverlapScorer, ScriptedServer

KEY = "sk-nesting-0123456789"
NANO = OnnxCrossEncoder("nano", threads=1)
WORDS = "river water level storm mountain report of the python list".split()


class Partial(OverlapScorer):
    """Leaves every text that starts with a vowel unscored."""

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        whole = super()._score(query, texts, progress)
        scores = zip(texts, whole.scores, strict=True)
        return Scoring(
            tuple(None if text[0] in "aeiou" else score for text, score in scores), whole.usage
        )


class ByLength(OverlapScorer):
    """Scores a text by its length."""

    def __init__(self) -> None:
        super().__init__("length")

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        whole = super()._score(query, texts, progress)
        return Scoring(tuple(1 / len(text) for text in texts), whole.usage)


class Failing(OverlapScorer):
    """Is down."""

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        raise ServiceError("down")


class World(NamedTuple):
    """The service and the event loop that all nestings share."""

    wire: CohereScorer
    runner: asyncio.Runner

    def run(self, scorer: Scorer, query: str, texts: Sequence[str]) -> Scoring:
        return self.runner.run(scorer.ascore(query, texts))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with ScriptedServer() as server, asyncio.Runner() as runner:
        yield World(CohereScorer("rerank-v3.5", api_key=KEY, base_url=server.url), runner)


class Spec(NamedTuple):
    """A nesting that has not been built: a kind, its options, and what it is made of."""

    kind: str
    options: tuple[Any, ...] = ()
    inner: tuple[Any, ...] = ()

    def kinds(self) -> set[str]:
        return {self.kind}.union(*(spec.kinds() for spec in self.inner))


class Built:
    """A new scorer made by a spec, with the leaves that count their calls."""

    def __init__(self, spec: Spec, world: World) -> None:
        self._world = world
        self.leaves: list[OverlapScorer] = []
        self.scorer = self._build(spec)

    @property
    def pairs_read(self) -> int:
        return sum(len(texts) for leaf in self.leaves for _, texts in leaf.calls)

    def _build(self, spec: Spec) -> Scorer:
        inner = [self._build(each) for each in spec.inner]
        match spec.kind:
            case "nano":
                return NANO
            case "wire":
                return self._world.wire
            case "cached":
                return Cached(inner[0])
            case "deadline":
                return Deadline(inner[0], 60)
            case "windowed":
                tokens, aggregate = spec.options
                return Windowed(inner[0], tokens=tokens, aggregate=aggregate)
            case "calibrated":
                weights = {"score": spec.options[0], "intercept": -1.0}
                identity = (inner[0].name, inner[0].fingerprint)
                return Calibrated(inner[0], Calibration(*identity, weights, scale=inner[0].scale))
            case "fallback":
                return Fallback(*inner)
            case "cascade":
                return Cascade([*((cheap, spec.options[0]) for cheap in inner[:-1]), inner[-1]])
        kinds = {
            "overlap": OverlapScorer,
            "length": ByLength,
            "partial": Partial,
            "failing": Failing,
        }
        leaf: OverlapScorer = kinds[spec.kind]()
        self.leaves.append(leaf)
        return leaf


def nestings(leaves: Sequence[str], depth: int = 4) -> st.SearchStrategy[Spec]:
    leaf = st.sampled_from([Spec(kind) for kind in leaves])
    if depth == 1:
        return leaf
    below = nestings(leaves, depth - 1)
    one = st.tuples(below)
    some = st.lists(below, min_size=1, max_size=3).map(tuple)
    stages = st.lists(below, min_size=2, max_size=3).map(tuple)
    window = st.tuples(st.integers(2, 8), st.sampled_from(["max", "mean", "top3"]))
    keep = st.tuples(st.integers(1, 5))
    return st.one_of(
        st.builds(Spec, st.just("cached"), st.just(()), one),
        st.builds(Spec, st.just("deadline"), st.just(()), one),
        st.builds(Spec, st.just("windowed"), window, one),
        st.builds(Spec, st.just("calibrated"), st.tuples(st.sampled_from([0.5, 2.0])), one),
        st.builds(Spec, st.just("fallback"), st.just(()), some),
        st.builds(Spec, st.just("cascade"), keep, stages),
        leaf,
    )


def relatives(spec: Spec) -> st.SearchStrategy[Spec]:
    """Nestings that differ from one in a single place, so that they may be mistaken for it."""
    leaf = st.sampled_from([Spec("overlap"), Spec("length")])
    here = [
        st.just(Spec("cached", (), (spec,))),
        st.just(Spec("deadline", (), (spec,))),
        st.builds(lambda other: Spec("fallback", (), (spec, other)), leaf),
        st.builds(
            lambda other, keep: Spec("cascade", (keep,), (other, spec)), leaf, st.integers(1, 3)
        ),
        st.builds(lambda tokens: Spec("windowed", (tokens, "max"), (spec,)), st.integers(2, 8)),
        st.builds(lambda weight: Spec("calibrated", (weight,), (spec,)), st.sampled_from([0.5, 2])),
        *map(st.just, spec.inner),
    ]
    if spec.kind == "windowed":
        here += [
            st.just(spec._replace(options=(5, "top3"))),
            st.just(spec._replace(options=(7, "max"))),
        ]
    below = [
        relatives(inner).map(partial(with_inner, spec, at)) for at, inner in enumerate(spec.inner)
    ]
    return st.one_of(*here, *below)


def with_inner(spec: Spec, at: int, inner: Spec) -> Spec:
    return spec._replace(inner=(*spec.inner[:at], inner, *spec.inner[at + 1 :]))


LOCAL = ("overlap", "overlap", "partial", "failing")
REAL = ("nano", "wire")
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
TEXTS = st.lists(
    st.one_of(SENTENCES, SENTENCES, SENTENCES, st.sampled_from(["", " \n", "\ud800", "Süß 🌊"])),
    max_size=9,
).flatmap(
    # Some once more, so that there are duplicates.
    lambda texts: (
        st.lists(st.sampled_from(texts), max_size=3).map(lambda more: texts + more)
        if texts
        else st.just(texts)
    )
)
QUERIES = SENTENCES


def close(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    return len(one) == len(other) and all(
        a is b is None or (a is not None and b is not None and math.isclose(a, b, abs_tol=1e-5))
        for a, b in zip(one, other, strict=True)
    )


def check_shape(scoring: Scoring, texts: Sequence[str], kinds: set[str]) -> None:
    assert len(scoring.scores) == len(texts)
    seen: dict[str, float | None] = {}
    for text, score in zip(texts, scoring.scores, strict=True):
        assert score is None or type(score) is float
        assert score is None or text.strip()
        assert seen.setdefault(text, score) == score
        if score is None and text.strip() and scoring.degraded is None:
            assert kinds & {"cascade", "partial"}
    for text, spans in zip(texts, scoring.spans or (), strict=bool(scoring.spans)):
        assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert bool(scoring.causes) == (scoring.degraded is not None)
    json.dumps(scoring.scores, allow_nan=False)


def outcome(built: Built, query: str, texts: Sequence[str]) -> Scoring | type[RerankError]:
    try:
        return built.scorer.score(query, texts)
    except RerankError as error:
        return type(error)


@settings(max_examples=150)
@given(nestings((*LOCAL, *REAL)), QUERIES, TEXTS)
def test_the_contract_holds(world: World, spec: Spec, query: str, texts: list[str]) -> None:
    built, before = Built(spec, world), list(texts)
    scoring = outcome(built, query, texts)
    assert texts == before
    again = Built(spec, world)
    if not isinstance(scoring, Scoring):
        assert "failing" in spec.kinds()
        with pytest.raises(scoring):
            world.run(again.scorer, query, texts)
    else:
        check_shape(scoring, texts, spec.kinds())
        asynchronous = world.run(again.scorer, query, texts)
        assert close(asynchronous.scores, scoring.scores)
        assert asynchronous.degraded == scoring.degraded
        assert asynchronous.scale == scoring.scale
        repeated = built.scorer.score(query, texts)
        assert close(repeated.scores, scoring.scores)
        assert (repeated.degraded is None) == (scoring.degraded is None)
    assert KEY not in repr(built.scorer)
    assert KEY.encode() not in pickle.dumps(built.scorer)


@settings(max_examples=100)
@given(nestings(LOCAL), QUERIES, TEXTS)
def test_usage_adds_up(world: World, spec: Spec, query: str, texts: list[str]) -> None:
    built = Built(spec, world)
    total = Usage()
    for _ in range(2):
        scoring = outcome(built, query, texts)
        if not isinstance(scoring, Scoring):
            return
        total += scoring.usage
        assert scoring.usage.cache_hits >= 0
        if scoring.degraded is not None:  # what a failed scorer had read is not known
            assert total.pairs <= built.pairs_read
            return
        assert total.pairs == built.pairs_read


@settings(max_examples=60)
@given(nestings((*LOCAL, *REAL)), st.lists(st.sampled_from(["", " ", "\t\n"]), max_size=3))
def test_empty_and_blank_input_costs_nothing(world: World, spec: Spec, texts: list[str]) -> None:
    built = Built(spec, world)
    for scoring in (built.scorer.score("a", texts), world.run(built.scorer, "a", texts)):
        assert scoring.scores == (None,) * len(texts)
        assert (scoring.usage, scoring.degraded) == (Usage(), None)
    assert built.pairs_read == 0


@settings(max_examples=100)
@given(nestings((*LOCAL, *REAL)), QUERIES, TEXTS, st.floats(-1, 1))
def test_rerank_loses_no_candidate(
    world: World, spec: Spec, query: str, texts: list[str], least: float
) -> None:
    scorer = Fallback(Built(spec, world).scorer)
    ranking = rerank(query, texts, scorer)
    assert sorted(item.index for item in ranking) == list(range(len(texts)))
    assert all(item.text == texts[item.index] for item in ranking)
    scores = [item.score for item in ranking]
    scored = [score for score in scores if score is not None]
    assert scores == [*sorted(scored, reverse=True), *[None] * (len(scores) - len(scored))]
    kept = rerank(query, texts, scorer, min_score=least)
    if (
        kept.degraded or "cascade" not in spec.kinds()
    ):  # which drops what its strong stage did not read
        assert len([item for item in kept if item.score is None]) == len(scores) - len(scored)


@settings(max_examples=300)
@given(
    nestings(("overlap", "length", "partial", "failing"), 3).flatmap(
        lambda spec: st.tuples(st.just(spec), relatives(spec))
    ),
    st.booleans(),
    QUERIES,
    TEXTS,
    TEXTS,
)
def test_one_fingerprint_stands_for_one_score(
    world: World,
    specs: tuple[Spec, Spec],
    swapped: bool,
    query: str,
    known: list[str],
    texts: list[str],
) -> None:
    one, other = specs[::-1] if swapped else specs
    store = MemoryStore()
    for asked in (known, texts[:1], texts):
        with suppress(RerankError):
            Cached(Built(one, world).scorer, store).score(query, asked)
    with suppress(RerankError):
        fresh = Built(other, world).scorer.score(query, texts)
        if fresh.degraded is None and fresh.secondary is None:  # nothing was left unread
            cached = Cached(Built(other, world).scorer, store).score(query, texts)
            assert close(cached.scores, fresh.scores)


@settings(max_examples=25)  # each makes new HTTP clients
@given(nestings(REAL), QUERIES, TEXTS)
def test_a_configuration_makes_an_equal_scorer(
    world: World, spec: Spec, query: str, texts: list[str]
) -> None:
    scorer = Built(spec, world).scorer
    written = json.dumps(scorer.to_config())
    assert KEY not in written
    again = load_scorer(json.loads(written))
    assert (again.name, again.fingerprint, again.scale) == (
        scorer.name,
        scorer.fingerprint,
        scorer.scale,
    )
    assert json.dumps(again.to_config()) == written
    assert close(again.score(query, texts).scores, scorer.score(query, texts).scores)
