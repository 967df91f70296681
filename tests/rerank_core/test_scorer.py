from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rerank_core import (
    Cached,
    Cascade,
    ConfigurationError,
    Deadline,
    Fallback,
    InvalidInputError,
    MalformedResponseError,
    NonFiniteScoreError,
    Progress,
    Scoring,
    Span,
    StopScoring,
    Windowed,
)
from rerank_core._planning import Job
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.scorers import BlockingScorer


def test_the_scorer_sees_each_distinct_text_once_and_no_blank_one() -> None:
    scorer = OverlapScorer()
    scoring = scorer.score("a b", ["a", "", "b c", "a", "  "])
    assert scorer.calls == [("a b", ("a", "b c"))]
    assert scoring.scores == (0.5, None, 0.5, 0.5, None)


def test_lone_surrogates_are_replaced_and_split_pairs_joined() -> None:
    scorer = OverlapScorer()
    scorer.score("q \udc00", ["x \ud800 y", "\ud83c\udf0a"])
    assert scorer.calls == [("q \ufffd", ("x \ufffd y", "🌊"))]


@pytest.mark.parametrize("scores", [(), (1.0,), (1.0, 2.0, 3.0)])
def test_a_scorer_that_answers_for_another_number_of_texts_is_caught(
    scores: tuple[float, ...],
) -> None:
    with pytest.raises(MalformedResponseError, match=f"{len(scores)} scores .* for 2 texts"):
        ScriptedScorer(Scoring(scores)).score("q", ["a", "b"])


def test_nan_raises_rather_than_sorts() -> None:
    broken = ScriptedScorer([float("nan")])
    with pytest.raises(NonFiniteScoreError):
        broken.score("q", ["a"])
    with pytest.raises(NonFiniteScoreError):
        asyncio.run(broken.ascore("q", ["a"]))


def test_spans_and_degradation_reach_every_place_of_a_text() -> None:
    scoring = Scoring((1.0, 2.0), degraded="half of it", spans=((Span(0, 1),), ()))
    laid_out = ScriptedScorer(scoring).score("q", ["a", "b", "", "a"])
    assert laid_out.spans == ((Span(0, 1),), (), (), (Span(0, 1),))
    assert laid_out.degraded == "half of it"


def test_a_generator_of_texts_is_read_once() -> None:
    scoring = OverlapScorer().score("a", (text for text in ["a", "b"]))  # type: ignore[arg-type]
    assert scoring.scores == (1.0, 0.0)


def test_score_many_names_what_does_not_fit() -> None:
    scorer = OverlapScorer()
    with pytest.raises(InvalidInputError, match="one list for each of the 2 queries, not 1"):
        scorer.score_many(["a", "b"], [["x"]])
    with pytest.raises(InvalidInputError, match=r"queries\[1\] is blank"):
        scorer.score_many(["a", " "], [["x"], ["y"]])
    with pytest.raises(InvalidInputError, match=r"texts\[1\]\[0\]"):
        scorer.score_many(["a", "b"], [["x"], [3]])  # type: ignore[list-item]
    assert scorer.calls == []


def test_score_many_counts_progress_over_all_queries_and_shares_the_time() -> None:
    seen: list[tuple[int, int]] = []
    scorings = OverlapScorer().score_many(
        ["a", "b"], [["x", "y"], ["z"]], progress=lambda *now: seen.append(now)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert scorings[0].usage.seconds == pytest.approx(2 * scorings[1].usage.seconds)


async def test_ascore_leaves_the_event_loop_free() -> None:
    scorer = BlockingScorer()
    task = asyncio.create_task(scorer.ascore("a", ["a"]))
    await asyncio.to_thread(scorer.started.wait, 30)  # the loop runs while the scorer is stuck
    scorer.go_on.set()
    assert (await task).scores == (1.0,)


async def test_a_cancelled_ascore_stops_its_worker_between_batches() -> None:
    scorer = BlockingScorer()
    task = asyncio.create_task(scorer.ascore("a", ["a"]))
    await asyncio.to_thread(scorer.started.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scorer.go_on.set()
    await asyncio.to_thread(scorer.finished.wait, 30)
    assert type(scorer.error).__name__ == "_Abandoned"


def test_a_scorer_that_cannot_be_written_says_so() -> None:
    with pytest.raises(ConfigurationError, match="ScriptedScorer"):
        ScriptedScorer([1.0]).to_config()


def test_an_early_end_keeps_what_is_scored_and_leaves_out_later_queries() -> None:
    class Heedless(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            progress(len(texts), len(texts))
            raise AssertionError

    def stop(done: int, total: int) -> None:
        raise StopScoring

    scorer = Heedless()
    scoring = scorer.score("a", ["a", "b"], progress=stop)
    assert scoring.scores == (None, None)
    assert scoring.degraded == "stopped early: 0 of 2 texts scored"
    assert asyncio.run(scorer.ascore("a", ["a", "b"], progress=stop)).scores == (None, None)
    first, second = OverlapScorer().score_many(["a", "b"], [["a", "b"], ["b"]], progress=stop)
    assert (first.scores, second.scores) == ((1.0, None), (None,))
    assert first.degraded == "stopped early: 1 of 2 texts scored"


def test_answers_of_the_wrong_kind_are_caught() -> None:
    class Wrong(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            return None  # type: ignore[return-value]

        def _score_jobs(self, jobs: Sequence[Job], progress: Progress) -> list[Scoring]:
            return []

    with pytest.raises(MalformedResponseError, match="None"):
        Wrong().score("q", ["a"])
    with pytest.raises(MalformedResponseError, match="0 scorings came back for 1 queries"):
        Wrong().score_many(["q"], [["a"]])
    with pytest.raises(InvalidInputError, match="texts must be a list of lists"):
        Wrong().score_many(["q"], None)  # type: ignore[arg-type]


class Resource(OverlapScorer):
    """Counts how often it is loaded and closed."""

    def __init__(self) -> None:
        super().__init__("resource")
        self.events: list[str] = []

    def load(self) -> None:
        self.events.append("load")

    def close(self) -> None:
        self.events.append("close")

    async def aclose(self) -> None:
        self.events.append("aclose")


def test_combinators_pass_on_loading_and_closing() -> None:
    inner = [Resource() for _ in range(3)]
    nested = Deadline(
        Fallback(Cached(Windowed(inner[0])), Cascade([(inner[1], 5), inner[2]])), seconds=5
    )
    nested.load()
    with nested:
        pass

    async def close_in_a_loop() -> None:
        async with nested:
            pass

    asyncio.run(close_in_a_loop())
    assert [resource.events for resource in inner] == [["load", "close", "aclose"]] * 3


def test_a_scorer_without_resources_can_be_loaded_and_closed() -> None:
    scorer = OverlapScorer()
    scorer.load()
    with scorer as same:
        assert same is scorer
    assert scorer.score("a", ["a"]).scores == (1.0,)


def test_closing_goes_on_where_one_fails() -> None:
    class Stuck(Resource):
        def close(self) -> None:
            super().close()
            raise OSError("stuck")

        async def aclose(self) -> None:
            await super().aclose()
            raise OSError("stuck")

    inner = [Stuck(), Resource(), Stuck()]
    fallback = Fallback(*inner)
    with pytest.raises(OSError, match="stuck"):
        fallback.close()
    with pytest.raises(OSError, match="stuck"):
        asyncio.run(fallback.aclose())
    assert [resource.events for resource in inner] == [["close", "aclose"]] * 3


def test_a_leaf_is_closed_by_aclose_too() -> None:
    class Simple(OverlapScorer):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    simple = Simple()
    asyncio.run(Deadline(simple, 5).aclose())
    assert simple.closed == 1


@pytest.mark.parametrize("wrap", [lambda scorer: scorer, lambda scorer: Deadline(scorer, 30)])
def test_an_early_end_of_several_queries_is_told_by_each(wrap: Any) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 2:
            raise StopScoring

    class Heedless(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            progress(len(texts), len(texts))
            return Scoring((1.0,) * len(texts))

    for inner in (OverlapScorer(), Heedless()):
        scorings = wrap(inner).score_many(["a", "b"], [["a", "b", "c"], ["a"]], progress=stop)
        assert [scoring.causes for scoring in scorings] == [("stopped",)] * 2
        assert scorings[1].scores == (None,)
