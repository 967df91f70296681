from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import pytest

from rerank_core import (
    AllScorersFailed,
    AuthenticationError,
    Cached,
    Cascade,
    ConfigurationError,
    Deadline,
    Fallback,
    InvalidInputError,
    OnnxCrossEncoder,
    Progress,
    RateLimitError,
    Scale,
    Scorer,
    Scoring,
    ServiceError,
    Usage,
    Windowed,
    arerank,
    rerank,
)
from rerank_core._combinators.fallback import _Breaker as Breaker
from rerank_core.testing import OverlapScorer, ScriptedScorer

TEXTS = ["b", "a b", "c"]


class Failing(OverlapScorer):
    """Fails with an error until told otherwise."""

    def __init__(self, error: Exception | None, label: str = "failing") -> None:
        super().__init__(label)
        self.error = error

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        scoring = super()._score(query, texts, progress)
        if self.error is not None:
            raise self.error
        return scoring


def both(scorer: Fallback, query: str = "a b") -> list[Scoring]:
    return [scorer.score(query, TEXTS), asyncio.run(scorer.ascore(query, TEXTS))]


def test_the_first_that_answers_is_the_answer() -> None:
    first, second = OverlapScorer("first"), OverlapScorer("second")
    for scoring in both(Fallback(first, second)):
        assert (scoring.scores, scoring.degraded) == ((0.5, 1.0, 0.0), None)
    assert second.calls == []


def test_a_stand_in_says_so_and_brings_its_scale() -> None:
    table = ScriptedScorer({"b": -2.0, "a b": 7.5, "c": 1.0}, name="table")
    fallback = Fallback(Failing(RateLimitError("too many", provider="svc")), table, failures=99)
    for scoring in both(fallback):
        assert scoring.scores == (-2.0, 7.5, 1.0)
        assert scoring.degraded == "RateLimitError: svc: too many; scored by table"
        assert scoring.scale is Scale.LOGIT
        assert scoring.causes == ("RateLimitError",)
    assert fallback.scale is Scale.UNIT
    ranking = rerank("a b", TEXTS, fallback)
    assert (ranking.scale, ranking.degraded is None) == (Scale.LOGIT, False)


def test_the_last_resort_is_first_stage_order() -> None:
    fallback = Fallback(Failing(ServiceError("down")), Failing(ServiceError("down too")))
    ranking = rerank("a b", TEXTS, fallback, min_score=0.5)
    assert [item.text for item in ranking] == TEXTS
    assert ranking.degraded is not None
    assert "down too; first-stage order kept" in ranking.degraded
    assert ranking.causes == ("ServiceError",)
    for _ in range(3):
        ranking = rerank("a b", TEXTS, fallback)
    assert ranking.causes == ("circuit_open",)


def test_the_causes_of_a_fallback_within_a_fallback_are_known() -> None:
    inner = Fallback(Failing(RateLimitError("busy")), Failing(ServiceError("x")), keep_order=False)
    (scoring, _) = both(Fallback(inner, OverlapScorer()))
    assert scoring.causes == ("RateLimitError", "ServiceError")


def test_loading_ignores_what_cannot_be_loaded() -> None:
    broken = OnnxCrossEncoder("/no/such/folder")
    Fallback(broken, OverlapScorer()).load()
    Fallback(broken).load()
    with pytest.raises(AllScorersFailed):
        Fallback(broken, keep_order=False).load()


def test_all_causes_are_inside_when_asked() -> None:
    errors = [ServiceError("down"), RateLimitError("busy")]
    fallback = Fallback(*map(Failing, errors), keep_order=False, failures=99)
    with pytest.raises(AllScorersFailed) as caught:
        fallback.score("a", TEXTS)
    assert list(caught.value.exceptions) == errors
    with pytest.raises(AllScorersFailed):
        asyncio.run(fallback.ascore("a", TEXTS))


def test_what_failures_cost_is_counted() -> None:
    def failing() -> Failing:
        error = ServiceError("x")
        error.add_usage(Usage(requests=3, pairs=2))
        return Failing(error)

    for scoring in both(Fallback(failing(), OverlapScorer())):
        assert (scoring.usage.requests, scoring.usage.pairs) == (3, 5)
    for scoring in both(Fallback(failing(), failing())):
        assert scoring.usage.requests == 6
    with pytest.raises(AllScorersFailed) as caught:
        Fallback(failing(), failing(), keep_order=False).score("a b", TEXTS)
    assert caught.value.usage == Usage(requests=6, pairs=4)


def test_what_a_cascade_spent_before_it_failed_is_counted() -> None:
    for scoring in both(
        Fallback(Cascade([(OverlapScorer(), 2), Failing(ServiceError("x"))]), failures=99)
    ):
        assert scoring.usage.pairs >= 3


def test_a_failure_that_lasts_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    fallback = Fallback(Failing(AuthenticationError("no key")), OverlapScorer(), failures=99)
    with caplog.at_level(logging.ERROR, "rerank_core"):
        scorings = [scoring for _ in range(3) for scoring in both(fallback)]
    assert [record.getMessage() for record in caplog.records] == ["failing cannot work: no key"]
    assert all("no key" in str(scoring.degraded) for scoring in scorings)


def test_wrong_input_is_nobodys_failure() -> None:
    second = OverlapScorer()
    fallback = Fallback(Failing(InvalidInputError("query too long")), second)
    with pytest.raises(InvalidInputError, match="query too long"):
        fallback.score("a", TEXTS)
    assert second.calls == []


def test_what_is_not_a_failure_is_raised() -> None:
    fallback = Fallback(Failing(ZeroDivisionError()), OverlapScorer())
    with pytest.raises(ZeroDivisionError):
        fallback.score("a", TEXTS)
    wide = Fallback(Failing(ZeroDivisionError()), OverlapScorer(), on=ArithmeticError)
    assert wide.score("a", TEXTS).degraded is not None


def test_a_dead_service_is_left_alone_then_probed_and_taken_back() -> None:
    dead = Failing(ServiceError("down"))
    fallback = Fallback(dead, OverlapScorer(), failures=2, cooldown=3600)
    for _ in range(5):
        scoring = fallback.score("a", TEXTS)
    assert len(dead.calls) == 2
    assert "skipped" in str(scoring.degraded)

    probing = Fallback(dead, OverlapScorer(), failures=2, cooldown=0)
    for _ in range(5):
        probing.score("a", TEXTS)
    assert len(dead.calls) == 7
    dead.error = None
    assert probing.score("a", TEXTS).degraded is None


def test_of_many_callers_one_probes() -> None:
    breaker = Breaker(failures=1, cooldown=3600)
    breaker.failed()
    assert not breaker.allows()
    breaker._next_probe = 0.0  # the cooldown is over
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert breaker.allows()


@pytest.mark.parametrize("options", [{"failures": 0}, {"failures": True}, {"cooldown": -1}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Fallback(OverlapScorer(), **options)  # type: ignore[arg-type]


def test_there_must_be_scorers() -> None:
    for scorers in ((), ("nano",)):
        with pytest.raises(ConfigurationError, match="scorers"):
            Fallback(*scorers)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: OnnxCrossEncoder("/no/such/folder"),
        lambda: OnnxCrossEncoder("owner/not-in-the-cache"),
        lambda: Cascade([(OverlapScorer(), 2), OnnxCrossEncoder("/no/such/folder")]),
    ],
)
def test_a_model_that_is_missing_does_not_end_a_search(broken: Callable[[], Scorer]) -> None:
    ranking = rerank("a b", TEXTS, Fallback(broken()))
    assert [item.text for item in ranking] == TEXTS
    assert ranking.degraded is not None
    for cached in (Cached(Fallback(broken(), OverlapScorer())), Cached(Fallback(broken()))):
        for _ in range(2):
            scoring = cached.score("a b", TEXTS)
            assert (scoring.usage.cache_hits, scoring.degraded is None) == (0, False)
        assert asyncio.run(cached.ascore("a b", TEXTS)).degraded is not None
    ranking = rerank("a b", TEXTS, Cached(Fallback(broken(), OverlapScorer())))
    assert (ranking[0].text, ranking.scale) == ("a b", Scale.UNIT)


@pytest.mark.parametrize(
    "nest",
    [
        lambda broken: Windowed(Fallback(broken, OverlapScorer())),
        lambda broken: Cached(Windowed(Fallback(broken, OverlapScorer()))),
        lambda broken: Cached(Cascade([(Fallback(broken, OverlapScorer()), 3), OverlapScorer()])),
        lambda broken: Cached(Deadline(Cached(Fallback(broken, OverlapScorer())), 60)),
        lambda broken: Fallback(Cached(Windowed(broken)), Cached(OverlapScorer())),
    ],
)
def test_a_model_that_is_missing_deep_inside_does_not_end_a_search(
    nest: Callable[[Scorer], Scorer],
) -> None:
    scorer = nest(OnnxCrossEncoder("/no/such/folder"))
    for ranking in (rerank("a b", TEXTS, scorer), asyncio.run(arerank("a b", TEXTS, scorer))):
        assert ranking[0].text == "a b"
        assert ranking.causes == ("ConfigurationError",)


def test_the_maximum_length_is_that_of_the_first_that_knows_it() -> None:
    nano = OnnxCrossEncoder("nano", max_length=64)
    assert Fallback(OnnxCrossEncoder("/no/such/folder"), nano).max_length == 64
    assert Fallback(OverlapScorer(), nano).max_length is None


def test_a_long_query_is_no_failure_of_the_first() -> None:
    other = OverlapScorer()
    fallback = Fallback(OnnxCrossEncoder("nano"), other)
    for query in ("river " * 270, "river " * 5000):
        for scoring in both(fallback, query):
            assert (None in scoring.scores, scoring.degraded) == (False, None)
    assert other.calls == []
