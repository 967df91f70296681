from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable

import pytest

from rerank_core import (
    ConfigurationError,
    InvalidInputError,
    OnnxCrossEncoder,
    Scoring,
    Span,
    Windowed,
)
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.models import WORDS, TinyModel

LONG = "river list storm string " * 8 + "drug discovery " + "market price stock health " * 8


def test_a_short_text_is_scored_as_it_is() -> None:
    inner = OverlapScorer()
    scoring = Windowed(inner, tokens=10).score("drug", ["a drug", "list"])
    assert inner.calls == [("drug", ("a drug", "list"))]
    assert scoring.spans == ((Span(0, 6, 1.0),), (Span(0, 4, 0.0),))


def test_windows_cover_the_text_and_overlap() -> None:
    inner = OverlapScorer()
    windowed = Windowed(inner, tokens=8, stride=5)
    text = " ".join(WORDS)
    windowed.score("drug", [text])
    (spans,) = windowed._windows_of([text], 8)
    assert (spans[0].start, spans[-1].end) == (0, len(text))
    assert all(after.start < before.end for before, after in itertools.pairwise(spans))
    assert set(inner.calls[0][1]) == {text[span.start : span.end] for span in spans}


def test_many_texts_are_cut_as_one_is() -> None:
    windowed = Windowed(OverlapScorer(), tokens=64, stride=40)
    texts = [" ".join(WORDS[at:] * 40) for at in range(20)]
    asked: list[tuple[int, int]] = []
    together = windowed.score("drug discovery", texts, progress=lambda *at: asked.append(at))
    assert asked.count((0, 20)) > 2  # they are read in pieces of a few texts each
    assert together.spans is not None
    for at in range(20):
        alone = windowed.score("drug discovery", [texts[at]])
        assert (alone.scores[0], alone.spans) == (together.scores[at], together.spans[at : at + 1])


def test_the_best_window_is_the_score_and_the_span() -> None:
    windowed = Windowed(OverlapScorer(), tokens=8, stride=4)
    for scoring in (
        windowed.score("drug discovery", [LONG]),
        asyncio.run(windowed.ascore("drug discovery", [LONG])),
    ):
        assert scoring.scores == (1.0,)
        assert scoring.spans is not None
        start, end, score = scoring.spans[0][0]
        assert score == 1.0
        assert "drug discovery" in LONG[start:end]
        assert end - start < 80
        windows = scoring.spans[0]
        assert 1 < len(windows) <= 5
        assert [window.score for window in windows[1:]] == [0.0] * (len(windows) - 1)
        for one, other in itertools.combinations(windows, 2):
            assert one.end <= other.start or other.end <= one.start


async def test_cutting_neither_blocks_the_event_loop_nor_outlives_its_caller() -> None:
    inner, pieces = OverlapScorer(), []
    started, go_on = threading.Event(), threading.Event()

    def hold(done: int, total: int) -> None:
        pieces.append(done)
        started.set()
        assert go_on.wait(20)  # set by the event loop, if that is free

    texts = [f"{number} {LONG * 10}" for number in range(300)]
    windowed = Windowed(inner, tokens=8)
    task = asyncio.create_task(windowed.ascore("drug", texts, progress=hold))
    assert await asyncio.to_thread(started.wait, 20)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.get_running_loop().shutdown_default_executor()
    assert pieces == [0]  # of more than four
    assert inner.calls == []


def test_aggregates() -> None:
    def score(aggregate: str) -> float | None:
        windowed = Windowed(OverlapScorer(), tokens=8, stride=8, aggregate=aggregate)  # type: ignore[arg-type]
        return windowed.score("drug discovery", [LONG]).scores[0]

    (spans,) = Windowed(OverlapScorer(), 8, 8)._windows_of([LONG], 8)
    windows = len(spans)
    assert score("max") == 1.0
    assert score("mean") == pytest.approx(1 / windows)
    assert score("top3") == pytest.approx(1 / 3)


def test_windows_that_were_not_scored_do_not_count() -> None:
    half = ScriptedScorer(lambda _, texts: [1.0 if "drug" in text else None for text in texts])
    scoring = Windowed(half, tokens=8, aggregate="mean").score("q", [LONG, "river"])
    assert scoring.scores == (1.0, None)


def test_inner_spans_are_moved_to_the_text() -> None:
    def spanning(query: str, texts: tuple[str, ...]) -> Scoring:
        found = [text.find("drug") for text in texts]
        return Scoring(
            tuple(float(at >= 0) for at in found),
            spans=tuple((Span(at, at + 4),) if at >= 0 else () for at in found),
        )

    scoring = Windowed(ScriptedScorer(spanning), tokens=8).score("q", [LONG])
    at = LONG.index("drug")
    assert scoring.spans is not None
    assert scoring.spans[0][0] == Span(at, at + 4)


def test_what_lies_behind_the_models_end_counts() -> None:
    nano = OnnxCrossEncoder("nano", max_length=64)
    filler = "The river flows through the valley past old mills and fields of wheat. " * 8
    texts = [filler + "The capital of France is Paris.", filler + "Wheat is a kind of grass."]
    question = "What is the capital of France?"
    cut, whole = nano.score(question, texts), Windowed(nano, tokens=48).score(question, texts)
    assert cut.usage.truncated == 2
    assert whole.usage.truncated == 0
    assert whole.scores[0] is not None
    assert whole.scores[1] is not None
    assert whole.scores[0] > whole.scores[1] + 1
    assert whole.spans is not None
    assert "Paris" in texts[0][whole.spans[0][0].start : whole.spans[0][0].end]


def test_windows_leave_room_for_the_query(tiny: Callable[..., TinyModel]) -> None:
    scorer = OnnxCrossEncoder(tiny().onnx, max_length=64)
    windowed = Windowed(scorer, tokens=60)
    for query, longest in ("drug", 59), (" ".join(WORDS[:20]), 40), (" ".join(WORDS * 5), 32):
        scoring = windowed.score(query, [" ".join(WORDS * 5)])
        assert scoring.usage.truncated == 0
        assert windowed._window_tokens(query) == longest
    assert Windowed(OverlapScorer(), tokens=60)._window_tokens(" ".join(WORDS)) == 60


@pytest.mark.parametrize(
    "options",
    [{"tokens": 0}, {"stride": 0}, {"tokens": 4, "stride": 5}, {"aggregate": "sum"}],
)
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises((ConfigurationError, InvalidInputError)):
        Windowed(OverlapScorer(), **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="scorer"):
        Windowed("nano")  # type: ignore[arg-type]
