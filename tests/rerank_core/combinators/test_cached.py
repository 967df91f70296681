from __future__ import annotations

import asyncio
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rerank_core import (
    AllScorersFailed,
    Cached,
    Cascade,
    ConfigurationError,
    Deadline,
    DiskStore,
    Fallback,
    MemoryStore,
    OnnxCrossEncoder,
    Progress,
    Scale,
    Scorer,
    Scoring,
    ServiceError,
    Span,
    StopScoring,
    Store,
    Usage,
)
from rerank_core._combinators.cached import _keys
from rerank_core._combinators.stores import Entry
from rerank_core._planning import Tally
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.models import TinyModel

TEXTS = ["a", "a b", "c", "a"]


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "scores.sqlite")


def test_only_the_misses_are_scored(store: Store) -> None:
    inner = OverlapScorer()
    cached = Cached(inner, store)
    first = cached.score("a b", TEXTS)
    second = cached.score("a b", ["new", *TEXTS])
    assert second.scores == (0.0, *first.scores)
    assert [texts for _, texts in inner.calls] == [("a", "a b", "c"), ("new",)]
    assert (first.usage.cache_hits, second.usage.cache_hits, second.usage.pairs) == (0, 3, 1)
    third = asyncio.run(cached.ascore("a b", TEXTS))
    assert (third.scores, third.usage.cache_hits, third.usage.pairs) == (first.scores, 3, 0)


def test_another_query_model_or_option_is_a_miss(
    store: Store, tiny: Callable[..., TinyModel]
) -> None:
    model = tiny().onnx
    scorers = [
        OnnxCrossEncoder(model),
        OnnxCrossEncoder(model, max_length=20),
        OnnxCrossEncoder(model, activation="identity"),
        OnnxCrossEncoder(tiny("bert", 2).onnx),
    ]
    for scorer in scorers:
        for query in ("drug", "drugs"):
            scoring = Cached(scorer, store).score(query, ["list " * 40])
            assert scoring.usage.cache_hits == 0
            assert scoring.scores == scorer.score(query, ["list " * 40]).scores
    assert Cached(scorers[0], store).score("drug", ["list " * 40]).usage.cache_hits == 1


def test_keys_cannot_be_confused() -> None:
    parts = [
        ("f", "qx", "t"),
        ("f", "q", "xt"),
        ("fq", "x", "t"),
        ("f", "q", "t"),
        ("fq", "", "xt"),
    ]
    keys = {_keys(fingerprint, query, [text])[0] for fingerprint, query, text in parts}
    assert len(keys) == len(parts)


def test_spans_are_kept(store: Store) -> None:
    class Spanning(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            scoring = super()._score(query, texts, progress)
            return Scoring(
                scoring.scores, spans=tuple((Span(0, len(text), 0.5), Span(0, 1)) for text in texts)
            )

    cached = Cached(Spanning(), store)
    cached.score("a", ["a b"])
    scoring = cached.score("a", ["a b", "abc"])
    assert scoring.spans == ((Span(0, 3, 0.5), Span(0, 1)),) * 2


def test_less_than_whole_scorings_are_not_kept(store: Store) -> None:
    partial = Cached(ScriptedScorer({"a": 1.0}), store)
    assert partial.score("q", ["a", "b"]).scores == (1.0, None)
    assert partial.score("q", ["a", "b"]).usage.cache_hits == 0
    cascade = Cached(Cascade([(OverlapScorer(), 1), OverlapScorer()]), store)
    cascade.score("a b", TEXTS)
    assert cascade.score("a b", TEXTS).usage.cache_hits == 0


def test_a_stand_ins_scores_never_stand_beside_cached_ones(store: Store) -> None:
    moody = Moody()
    stand_in = ScriptedScorer({"a": 7.0, "c": -8.0})
    cached = Cached(Fallback(moody, stand_in), store)
    cached.score("a", ["a"])
    moody.down = True
    for scoring in (cached.score("a", ["a", "c"]), asyncio.run(cached.ascore("a", ["a", "c"]))):
        assert scoring.scores == (7.0, -8.0)
        assert (scoring.scale, scoring.usage.cache_hits) == (Scale.LOGIT, 0)
        assert scoring.usage.pairs == 3  # the one miss, then both
    moody.down = False


class Moody(OverlapScorer):
    """Is down, or not."""

    down = False

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        if self.down:
            raise ServiceError("down")
        return super()._score(query, texts, progress)


class StandIn(ScriptedScorer):
    """Scores one text after the other, each with 7."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__([], name="stand-in")
        self.seconds = seconds

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        tally = Tally(len(texts))
        try:
            for position in range(len(texts)):
                threading.Event().wait(self.seconds)
                tally.add([position], [7.0], Usage(pairs=1))
                progress(position + 1, len(texts))
        except StopScoring:
            pass
        return tally.scoring()


def score(scorer: Scorer, mode: str, texts: Sequence[str], progress: Progress) -> Scoring:
    match mode:
        case "score":
            return scorer.score("a b", texts, progress=progress)
        case "ascore":
            return asyncio.run(scorer.ascore("a b", texts, progress=progress))
    return scorer.score_many(["a b"], [texts], progress=progress)[0]


@pytest.mark.parametrize("mode", ["score", "ascore", "score_many"])
@pytest.mark.parametrize("known", [TEXTS[:2], TEXTS], ids=["some", "all"])
@pytest.mark.parametrize("calls", range(4))
def test_known_scores_are_kept_wherever_the_caller_stops(
    mode: str, known: list[str], calls: int
) -> None:
    cached = Cached(OverlapScorer())
    cached.score("a b", known)
    reports: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        reports.append((done, total))
        if len(reports) > calls:
            raise StopScoring

    texts = [*TEXTS, "b", "b c", "c d"]
    scoring = score(cached, mode, texts, stop)
    hits = len(set(known))
    assert scoring.usage.cache_hits == hits
    scored = [score is not None for score in scoring.scores]
    assert scored[:2] == [True, True]
    read = scoring.usage.pairs
    assert sum(scored) == len([text for text in texts if text in known]) + read
    assert scoring.causes == (("stopped",) if False in scored else ())
    assert reports == sorted(reports)
    complete = score(cached, mode, known, stop)  # nothing is to be scored
    assert (None in complete.scores, complete.degraded) == (False, None)


@pytest.mark.parametrize("mode", ["score", "ascore", "score_many"])
def test_progress_of_a_second_scoring_never_goes_backwards(mode: str) -> None:
    moody = Moody()
    cached = Cached(Fallback(moody, StandIn(), failures=99))
    texts = [f"text {i}" for i in range(10)]
    cached.score("a b", texts[:5])
    moody.down = True
    reports: list[tuple[int, int]] = []
    scoring = score(cached, mode, texts, lambda *report: reports.append(report))
    assert scoring.scores == (7.0,) * 10
    assert (scoring.usage.pairs, scoring.usage.cache_hits) == (15, 0)
    assert reports == sorted(reports)
    assert reports[0] == (6, 10)
    assert reports[-1] == (10, 10)
    assert len(reports) > 10


@pytest.mark.parametrize("mode", ["score", "ascore"])
@pytest.mark.parametrize(("seconds", "enough"), [(0.001, True), (0.012, False), (0.05, False)])
def test_a_deadline_keeps_what_a_second_scoring_brought(
    mode: str, seconds: float, enough: bool
) -> None:
    moody = Moody()
    cached = Cached(Fallback(moody, StandIn(seconds)))
    texts = [f"text {i}" for i in range(40)]
    cached.score("a b", texts[:20])
    moody.down = True
    scoring = score(Deadline(cached, 1.0 if enough else 0.5), mode, texts, lambda *_: None)
    scored = [value for value in scoring.scores if value is not None]
    assert len(scored) == 40 if enough else 20 <= len(scored) < 40
    assert len({type(value) for value in scored}) == 1
    assert set(scored) in ({7.0}, {0.0})  # never both: they are on different scales
    assert ("deadline" in scoring.causes) is not enough
    assert "ServiceError" in scoring.causes
    assert scoring.scale is (Scale.LOGIT if 7.0 in scored else None)


@pytest.mark.parametrize("mode", ["score", "ascore", "score_many"])
def test_stopped_between_two_scorings_one_scale_is_kept(mode: str) -> None:
    moody = Moody()
    cached = Cached(Fallback(moody, StandIn(), failures=99))
    texts = [f"text {i}" for i in range(6)]
    cached.score("a b", texts[:4])
    moody.down = True

    for calls in range(8):
        reports: list[int] = []

        def stop(done: int, total: int, reports: list[int] = reports, calls: int = calls) -> None:
            reports.append(done)
            if len(reports) > calls:
                raise StopScoring

        scoring = score(cached, mode, texts, stop)
        found = {value for value in scoring.scores if value is not None}
        assert len(found) == 1
        if None in scoring.scores:
            assert "stopped" in scoring.causes
            assert sum(value is not None for value in scoring.scores) >= 4


def test_what_failed_in_the_second_scoring_is_counted() -> None:
    class Fickle(StandIn):
        calls_left = 1

        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise ServiceError("gone")
            return super()._score(query, texts, progress)

    moody = Moody()
    cached = Cached(Fallback(moody, Fickle(), keep_order=False))
    cached.score("a b", ["a"])
    moody.down = True
    with pytest.raises(AllScorersFailed) as caught:
        cached.score("a b", ["a", "b", "c"])
    assert caught.value.usage is not None
    assert caught.value.usage.pairs == 2


def test_what_was_used_longest_ago_makes_room() -> None:
    inner = OverlapScorer()
    cached = Cached(inner, MemoryStore(max_items=2))
    for text in ("a", "b", "a", "c", "a", "b"):
        cached.score("q", [text])
    assert [texts[0] for _, texts in inner.calls] == ["a", "b", "c", "b"]


def test_a_disk_store_keeps_to_its_size(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    store = DiskStore(path, max_items=5)
    for number in range(20):
        store.put({bytes([number]): Entry(float(number))})
    keys = [bytes([number]) for number in range(20)]
    assert sorted(store.get(keys)) == keys[-5:]


def test_a_disk_store_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    script = (
        "import sys; from rerank_core import Cached, DiskStore, load_scorer\n"
        "cached = Cached(load_scorer('nano'), DiskStore(sys.argv[1]))\n"
        "scoring = cached.score('a river', ['water', 'a list'])\n"
        "print(scoring.scores, scoring.usage.cache_hits)\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert said[0].endswith(" 0\n")
    assert said[1].endswith(" 2\n")
    assert said[0].split(")")[0] == said[1].split(")")[0]
    assert b"water" not in path.read_bytes()


def test_threads_share_a_store(store: Store) -> None:
    cached = Cached(OverlapScorer(), store)
    expected = cached.score("a b", TEXTS).scores
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: cached.score("a b", [*TEXTS, f"n{i}"]).scores, range(64)))
    assert all(scores[:4] == expected for scores in found)


def test_a_corrupt_store_degrades_to_scoring(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scores.sqlite"
    path.write_bytes(b"this is no database" * 100)
    cached = Cached(OverlapScorer(), DiskStore(path))
    for _ in range(20):
        scoring = cached.score("a b", TEXTS)
        assert (scoring.scores, scoring.usage.cache_hits) == ((0.5, 1.0, 0.0, 0.5), 0)
    said = [record.message for record in caplog.records]
    assert len([message for message in said if "cannot be read" in message]) == 1  # a minute
    assert len(said) == 2  # the other: it cannot be written


def test_a_store_out_of_reach_or_full_degrades_to_scoring(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(MemoryStore):
        def put(self, entries: Mapping[bytes, Entry]) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    for store in (DiskStore(tmp_path / "no" / "folder" / "scores.sqlite"), Full()):
        assert Cached(OverlapScorer(), store).score("a", ["a"]).scores == (1.0,)
    assert any("disk is full" in record.message for record in caplog.records)


def test_whatever_a_store_of_your_own_raises_degrades_to_scoring(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Unreachable(Store):
        def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
            raise RuntimeError("the server said: private words")

        def put(self, entries: Mapping[bytes, Entry]) -> None:
            raise RuntimeError("the server said: private words")

    assert Cached(OverlapScorer(), Unreachable()).score("a", ["a"]).scores == (1.0,)
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert all("RuntimeError" in message and "private" not in message for message in said)


def test_a_copy_takes_no_memory_along(tmp_path: Path) -> None:
    cached = Cached(OverlapScorer())
    cached.score("a", ["a"])
    assert pickle.loads(pickle.dumps(cached)).score("a", ["a"]).usage.cache_hits == 0
    disk = Cached(OverlapScorer(), DiskStore(tmp_path / "scores.sqlite"))
    disk.score("a", ["a"])
    assert pickle.loads(pickle.dumps(disk)).score("a", ["a"]).usage.cache_hits == 1


def test_arguments_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="scorer"):
        Cached("nano")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="store"):
        Cached(OverlapScorer(), {})  # type: ignore[arg-type]


def test_values_of_the_wrong_kind_in_a_store_are_as_good_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    cached = Cached(OverlapScorer(), DiskStore(path))
    cached.score("a b", TEXTS)
    for value in ("high", float("inf"), b"\x00"):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE entries SET score = ?", (value,))
        connection.close()
        scoring = cached.score("a b", TEXTS)
        assert (scoring.scores, scoring.usage.cache_hits) == ((0.5, 1.0, 0.0, 0.5), 0)
    assert cached.score("a b", TEXTS).usage.cache_hits == 3  # they were written over
