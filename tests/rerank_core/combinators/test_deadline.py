from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from rerank_core import (
    Cached,
    Cascade,
    CohereScorer,
    ConfigurationError,
    Deadline,
    Fallback,
    MemoryStore,
    OnnxCrossEncoder,
    Progress,
    Ranking,
    Scorer,
    Scoring,
    ServiceError,
    StopScoring,
    Windowed,
    arerank,
    rerank,
)
from rerank_core.testing import OverlapScorer, Reply, Request, ScriptedScorer, ScriptedServer
from support.models import TinyModel
from support.scorers import BlockingScorer

TEXTS = [f"text {i}" for i in range(10)]


class Stepwise(OverlapScorer):
    """Scores one text after the other; before some step it waits until the deadline is over."""

    def __init__(self, late_from: int, seconds: float) -> None:
        super().__init__("stepwise")
        self.late_from = late_from
        self.seconds = seconds

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        end = time.monotonic() + self.seconds
        scores: list[float | None] = [None] * len(texts)
        for number in range(len(texts)):
            if number == self.late_from:
                while time.monotonic() < end:
                    threading.Event().wait(0.001)
            scores[number] = float(number)
            try:
                progress(number + 1, len(texts))
            except StopScoring:
                break
        return Scoring(tuple(scores))


def run(scorer: Scorer, mode: str, texts: Sequence[str] = tuple(TEXTS)) -> Scoring:
    if mode == "score":
        return scorer.score("text", texts)
    return asyncio.run(scorer.ascore("text", texts))


@pytest.fixture(params=["score", "ascore"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_in_time_nothing_changes(mode: str) -> None:
    inner = OverlapScorer()
    scoring = run(Deadline(inner, 60), mode)
    assert scoring.scores == run(inner, mode).scores
    assert (scoring.degraded, scoring.usage.pairs) == (None, 10)


def test_what_is_scored_in_time_counts_and_the_rest_follows(mode: str) -> None:
    scoring = run(Deadline(Stepwise(3, 0.5), 0.5), mode)
    assert scoring.scores == (0.0, 1.0, 2.0, 3.0, *[None] * 6)
    assert scoring.degraded == "the deadline of 0.5 s came: 4 of 10 texts scored"
    ranking = rerank("text", TEXTS, Deadline(Stepwise(3, 0.5), 0.5))
    assert [item.index for item in ranking] == [3, 2, 1, 0, 4, 5, 6, 7, 8, 9]


def test_a_local_model_stops_between_batches(tiny: Callable[..., TinyModel], mode: str) -> None:
    scorer = OnnxCrossEncoder(tiny().onnx, batch_tokens=1)
    scorer.load()
    end = time.monotonic() + 0.5

    def linger(done: int, total: int) -> None:
        while done >= 7 and time.monotonic() < end:
            threading.Event().wait(0.001)

    texts = [f"list {i} " + "river " * (i % 9) for i in range(200)]
    if mode == "score":
        scoring = Deadline(scorer, 0.5).score("list", texts, progress=linger)
    else:
        scoring = asyncio.run(Deadline(scorer, 0.5).ascore("list", texts, progress=linger))
    scored = [score is not None for score in scoring.scores]
    assert scored == [True] * sum(scored) + [False] * (200 - sum(scored))  # the best first
    assert 7 <= sum(scored) < 200
    assert f"{sum(scored)} of 200 texts scored" in str(scoring.degraded)
    assert scoring.usage.pairs == sum(scored)


def test_a_service_is_cut_and_its_connection_closed(mode: str) -> None:
    release = threading.Event()

    def hold(request: Request) -> Reply:
        release.wait(60)
        return ScriptedServer.answer(request)

    with ScriptedServer() as server:
        scorer = CohereScorer("m", api_key="a-key-of-mine", base_url=server.url)
        scorer.score("text", TEXTS)  # the SDK takes longer to import than the deadline
        server.script(hold)
        scoring = run(Deadline(scorer, 0.2), mode)
        assert scoring.scores == (None,) * 10
        assert scoring.degraded == "the deadline of 0.2 s came: 0 of 10 texts scored"
        release.set()
        assert run(Deadline(scorer, 30), mode).degraded is None


def test_a_scorer_that_never_tells_is_left_behind(mode: str) -> None:
    scorer = BlockingScorer()

    async def ascore() -> Scoring:
        scoring = await Deadline(scorer, 0.05).ascore("text", TEXTS)
        scorer.go_on.set()  # or the end of the loop would wait for the thread
        return scoring

    scoring = (
        Deadline(scorer, 0.05).score("text", TEXTS) if mode == "score" else asyncio.run(ascore())
    )
    assert scoring.scores == (None,) * 10
    scorer.go_on.set()
    assert scorer.finished.wait(30)


class Timed(OverlapScorer):
    """Scores one text after the other, each no sooner than so many seconds after the call."""

    def __init__(self, *seconds: float) -> None:
        super().__init__("timed")
        self.seconds = seconds
        self.stopped_after: float | None = None

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        start = time.monotonic()
        scores: list[float | None] = [None] * len(texts)
        for number, seconds in enumerate(self.seconds):
            while time.monotonic() < start + seconds:
                threading.Event().wait(0.001)
            scores[number] = 1.0
            try:
                progress(number + 1, len(texts))
            except StopScoring:
                self.stopped_after = time.monotonic() - start
                break
        return Scoring(tuple(scores))


def test_a_batch_that_would_come_too_late_is_not_begun() -> None:
    scorer = Timed(0.0, 0.5, 0.5)
    scoring = Deadline(scorer, 1.0).score("text", TEXTS[:3])
    assert scoring.scores == (1.0, 1.0, None)  # one twice as long as the last would end at 1.5 s
    assert scoring.causes == ("deadline",)
    assert scorer.stopped_after is not None
    assert scorer.stopped_after < 1.0


@pytest.mark.parametrize(
    "seconds",
    [(0.5, 0.5, 0.5), (0.0, 0.5)],
    ids=["after the first, nobody knows yet how long one takes", "the last needs no time after it"],
)
def test_a_batch_that_may_come_in_time_is_begun(seconds: tuple[float, ...]) -> None:
    scorer = Timed(*seconds)
    scoring = Deadline(scorer, 1.0).score("text", TEXTS[: len(seconds)])
    assert (scoring.degraded, scorer.stopped_after) == (None, None)


def test_a_failure_is_still_a_failure(mode: str) -> None:
    failing = ScriptedScorer(ServiceError("down"))
    with pytest.raises(ServiceError):
        run(Deadline(failing, 60), mode)
    assert "down" in str(run(Fallback(Deadline(failing, 60)), mode).degraded)


def test_the_inner_reason_is_kept_beside_ours(mode: str) -> None:
    failing = ScriptedScorer(ServiceError("down"))
    deadline = Deadline(Fallback(failing, Stepwise(1, 0.5)), 0.5)
    said = str(run(deadline, mode).degraded)
    assert said.startswith("the deadline of 0.5 s came: 2 of 10 texts scored; ")
    assert "down" in said


async def test_cancelling_reaches_the_scorer() -> None:
    scorer = BlockingScorer()
    task = asyncio.create_task(Deadline(scorer, 60).ascore("a", ["a"]))
    await asyncio.to_thread(scorer.started.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scorer.go_on.set()
    await asyncio.to_thread(scorer.finished.wait, 30)
    assert type(scorer.error).__name__ == "_Abandoned"


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), True, "1", None])
def test_a_budget_must_be_a_time(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="seconds"):
        Deadline(OverlapScorer(), seconds)
    with pytest.raises(ConfigurationError, match="scorer"):
        Deadline("nano", 1)  # type: ignore[arg-type]


def test_what_was_scored_before_the_caller_stopped_is_kept() -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise StopScoring

    deadline = Deadline(OverlapScorer(), 30)
    for scoring in (
        deadline.score("a", ["a", "b", "c"], progress=stop),
        asyncio.run(deadline.ascore("a", ["a", "b", "c"], progress=stop)),
    ):
        assert scoring.scores == (1.0, 0.0, None)
        assert scoring.causes == ("stopped",)


class Hanging(OverlapScorer):
    """Never answers, as a service that cannot be reached."""

    cancelled = False

    def __init__(self) -> None:
        super().__init__("hanging")
        self.started = threading.Event()

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True
        raise AssertionError


class Stubborn(OverlapScorer):
    """Does not let itself be cancelled."""

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
        return Scoring((None,) * len(texts))


UP = ScriptedScorer({text: float(i) for i, text in enumerate(TEXTS)})
DOWN = ScriptedScorer({text: -float(i) for i, text in enumerate(TEXTS)})


@pytest.mark.parametrize(
    ("nest", "order"),
    [
        (lambda late: Cascade([(UP, 4), late]), "9876543210"),
        (lambda late: Cached(Cascade([(UP, 4), late])), "9876543210"),
        (lambda late: Windowed(Cascade([(UP, 4), late])), "9876543210"),
        (lambda late: Cascade([(UP, 4), Windowed(Cached(late))]), "9876543210"),
        (lambda late: Cascade([(UP, 4), Deadline(late, 60)]), "9876543210"),
        (lambda late: Cascade([(UP, 4), Deadline(Cascade([(DOWN, 2), late]), 60)]), "6789543210"),
        (lambda late: Cascade([(UP, 6), Cascade([(DOWN, 2), late])]), "4567893210"),
        (lambda late: Cascade([(UP, 6), (Cascade([(DOWN, 2), late]), 3), UP]), "4567893210"),
        (lambda late: Fallback(Cascade([(UP, 4), Fallback(late, DOWN)]), DOWN), "9876543210"),
        (lambda late: Deadline(Cascade([(UP, 4), late]), 60), "9876543210"),
    ],
)
@pytest.mark.parametrize("blocks", [False, True], ids=["service", "thread"])
def test_the_cheap_order_is_kept_where_the_strong_scorer_is_cut(
    nest: Callable[[Scorer], Scorer], order: str, blocks: bool, mode: str
) -> None:
    late = BlockingScorer() if blocks else Hanging()
    scorer = Deadline(nest(late), 0.2)
    started = time.monotonic()
    try:
        if mode == "score":
            ranking = rerank("text", TEXTS, scorer)
        else:

            async def search() -> Ranking:
                found = await arerank("text", TEXTS, scorer)
                if isinstance(late, BlockingScorer):
                    late.go_on.set()  # or the end of the loop would wait for the thread
                return found

            ranking = asyncio.run(search())
    finally:
        if isinstance(late, BlockingScorer):
            late.go_on.set()
    assert time.monotonic() - started < 2
    assert "".join(str(item.index) for item in ranking) == order
    assert "deadline" in ranking.causes
    assert "the deadline of 0.2 s came: 0 of 10 texts scored" in str(ranking.degraded)
    assert blocks or late.cancelled  # type: ignore[union-attr]


def test_a_scorer_that_was_cut_does_not_count_as_working(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Down(Hanging):
        error: Exception | None = ServiceError("down")

        async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            if self.error is not None:
                raise self.error
            return await super()._ascore(query, texts, progress)

    down = Down()
    deadline = Deadline(Fallback(down, failures=1, cooldown=0), 0.05)
    run(deadline, mode)
    down.error = None
    with caplog.at_level(logging.INFO, "rerank_core"):
        assert run(deadline, mode).causes == ("deadline",)
    assert not [record for record in caplog.records if "works again" in record.message]


def test_known_scores_are_kept_where_the_rest_is_cut(mode: str) -> None:
    store = MemoryStore()
    Cached(OverlapScorer("hanging"), store).score("text", TEXTS[:4])
    scoring = run(Deadline(Cached(Hanging(), store), 0.2), mode)
    assert scoring.scores == (1.0,) * 4 + (None,) * 6
    assert scoring.degraded == "the deadline of 0.2 s came: 4 of 10 texts scored"
    assert scoring.usage.cache_hits == 4


def test_what_earlier_requests_brought_is_kept(mode: str) -> None:
    release = threading.Event()

    def answer_the_first(request: Request) -> Reply:
        if "text 0" not in str(request.body):
            release.wait(60)
        return ScriptedServer.answer(request)

    with ScriptedServer() as server:
        scorer = CohereScorer("m", api_key="a-key-of-mine", base_url=server.url)
        scorer.score("text", TEXTS)
        server.script(answer_the_first, answer_the_first)
        texts = [f"text {i}" for i in range(1500)]
        scoring = run(Deadline(scorer, 1), mode, texts)
        release.set()
    assert [score is not None for score in scoring.scores] == [True] * 750 + [False] * 750
    assert scoring.degraded == "the deadline of 1 s came: 750 of 1500 texts scored"


def test_a_scorer_that_cannot_be_cancelled_is_left_behind() -> None:
    started = time.monotonic()
    scoring = Deadline(Stubborn(), 0.1).score("text", TEXTS)
    assert time.monotonic() - started < 2.5
    assert scoring.causes == ("deadline",)


async def test_cancelling_goes_through_all_scorers() -> None:
    late = Hanging()
    scorer = Deadline(Cascade([(UP, 4), Cached(Fallback(late, DOWN))]), 60)
    task = asyncio.create_task(scorer.ascore("text", TEXTS))
    await asyncio.to_thread(late.started.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert late.cancelled


def test_no_stage_begins_when_time_is_up(mode: str) -> None:
    strong = OverlapScorer("strong")
    scoring = run(Deadline(Cascade([(Stepwise(9, 0.5), 3), strong]), 0.4), mode)
    assert strong.calls == []
    assert scoring.causes == ("deadline",)
    assert scoring.secondary is not None
