from __future__ import annotations

import asyncio
import itertools
import threading
import unicodedata
from collections.abc import Callable

import pytest

from rerank_core import (
    Cached,
    Cascade,
    ConfigurationError,
    InvalidInputError,
    MemoryStore,
    OnnxCrossEncoder,
    Scorer,
    Scoring,
    Span,
    Windowed,
    rerank,
)
from rerank_core._local.files import embedded_tokenizer
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
    for aggregate, expected in ("max", 1.0), ("top3", 1.0), ("mean", None):
        windowed = Windowed(half, tokens=8, aggregate=aggregate)  # type: ignore[arg-type]
        scoring = windowed.score("q", [LONG, "river", "drug"])
        assert scoring.scores == (expected, None, 1.0)
        assert Cached(windowed).score("q", [LONG]).scores == (expected,)


def test_a_score_of_half_the_windows_is_not_cached() -> None:
    half = ScriptedScorer(lambda _, texts: [1.0 if "drug" in text else None for text in texts])
    cached = Cached(Windowed(half, tokens=8))
    for _ in range(2):
        assert cached.score("q", [LONG]).usage.cache_hits == 0


@pytest.mark.parametrize("nested", [False, True])
def test_windows_that_a_cascade_cut_do_not_stand_for_the_text(nested: bool) -> None:
    cheap = ScriptedScorer(lambda _, texts: [float("river" in text) for text in texts])
    store = MemoryStore()
    windowed = Windowed(Cascade([(cheap, 1), OverlapScorer()]), tokens=8)
    cut = Cached(Windowed(windowed, tokens=40) if nested else windowed, store)
    assert cut.score("drug discovery", [LONG]).scores != (1.0,)
    whole: Scorer = Windowed(OverlapScorer(), tokens=8)
    whole = Cached(Windowed(whole, tokens=40) if nested else whole, store)
    assert whole.score("drug discovery", [LONG]).scores == (1.0,)
    assert cut.score("drug discovery", [LONG]).usage.cache_hits == 0


def test_texts_of_which_no_window_was_read_follow_in_the_order_of_their_best_window() -> None:
    cheap = ScriptedScorer(lambda _, texts: [float(len(text)) for text in texts])
    windowed = Windowed(Cascade([(cheap, 1), OverlapScorer()]), tokens=8)
    texts = ["a", "list " * 30, "aaa", "storm storm storm storm " * 20, "aa"]
    assert [item.index for item in rerank("river", texts, windowed)] == [3, 1, 2, 4, 0]


THAI = "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอนหรือวรรณยุกต์เช่นเดียวกับภาษาจีน"
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"


@pytest.mark.parametrize(
    "word",
    [
        THAI,
        "これはひらがなでかかれたぶんしょうです",
        "我们今天去看电影",
        "អក្សរខ្មែរ",
        "ქართული",
        "QUJDREVGR0hJ",
        "e\u0301",
        FAMILY,
        "👍🏽",
    ],
)
def test_a_word_without_spaces_is_cut_by_its_characters(word: str) -> None:
    text = (word * 9600)[:9600]
    (spans,) = Windowed(OverlapScorer())._windows_of([text], 192)
    assert len(spans) > 9600 / 12 / 192
    assert (spans[0].start, spans[-1].end) == (0, len(text))
    assert all(after.start <= before.end for before, after in itertools.pairwise(spans))
    windows = [text[span.start : span.end] for span in spans]
    assert max(map(len, windows)) <= 192 * 12
    for window in windows[:-1]:  # the last ends where the text was cut
        assert unicodedata.category(window[0])[0] != "M"
        assert window[0] not in "\u200d\U0001f3fd"
        assert window[-1] != "\u200d"


def test_thousands_of_characters_of_thai_are_many_windows() -> None:
    inner = OverlapScorer()
    text = "".join(f"{THAI}{chr(0x0E01 + at % 40)}{chr(0x0E01 + at // 40)}" for at in range(128))
    scoring = Windowed(inner).score("drug", [text[:9600]])
    assert len(inner.calls[0][1]) > 40
    assert scoring.spans is not None
    assert all(text[start:end] in inner.calls[0][1] for start, end, _ in scoring.spans[0])
    (spans,) = Windowed(inner)._windows_of(["\u1000" + "\u102c" * 9600], 192)  # a letter and marks
    assert max(end - start for start, end, _ in spans) <= 193 * 16


def test_a_window_ends_after_the_marks_on_its_last_letter() -> None:
    for word in THAI, "e\u0301 a\u0308o ":
        text = (word * 20)[:1201]
        (spans,) = Windowed(OverlapScorer())._windows_of([text], 10)
        ends = [text[end : end + 1] for _, end, _ in spans]
        assert len(ends) > 3
        assert not any(end and unicodedata.category(end)[0] == "M" for end in ends)


def test_words_of_other_scripts_need_room_in_a_query_too(tiny: Callable[..., TinyModel]) -> None:
    windowed = Windowed(OnnxCrossEncoder(tiny().onnx, max_length=64), tokens=60)
    assert windowed._window_tokens(THAI * 10) == 32
    assert windowed._window_tokens("អក្សរខ្មែរ" * 2) < 55


def test_english_is_cut_as_by_its_tokens() -> None:
    text = (
        "It's 3.5% of A/B-tests — naïve “quotes”, e-mail@example.org & 🌊 https://x.org/a?b=c " * 40
    )
    tokens = embedded_tokenizer().encode(text, add_special_tokens=False).offsets
    (spans,) = Windowed(OverlapScorer())._windows_of([text], 192)
    starts = [*range(0, len(tokens) - 192, 96), len(tokens) - 192]
    assert spans == [Span(tokens[i][0], tokens[i + 191][1]) for i in starts]


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
