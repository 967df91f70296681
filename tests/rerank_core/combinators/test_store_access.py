from __future__ import annotations

import asyncio
import logging
import multiprocessing
import sqlite3
import subprocess
import sys
import threading
import time
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rerank_core import (
    Cached,
    ConfigurationError,
    Deadline,
    DiskStore,
    Fallback,
    MemoryStore,
    Progress,
    Scale,
    Scorer,
    Scoring,
    Span,
    Store,
)
from rerank_core._combinators.stores import Entry
from rerank_core.testing import OverlapScorer, ScriptedScorer, no_waiting

TEXTS = ["a", "a b", "c"]
SCORES = (0.5, 1.0, 0.0)


@pytest.fixture(params=["score", "ascore"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(scorer: Scorer, mode: str, texts: Sequence[str] = tuple(TEXTS)) -> Scoring:
    if mode == "score":
        return scorer.score("a b", texts)
    return asyncio.run(scorer.ascore("a b", texts))


class Gated(MemoryStore):
    """Reads or writes nothing until told to go on."""

    def __init__(self, *, reading: bool = False, writing: bool = False) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.reading = reading
        self.writing = writing
        self.calls: list[str] = []

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        self.calls.append("get")
        if self.reading:
            self.go_on.wait(30)
        return super().get(keys)

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        self.calls.append("put")
        if self.writing:
            self.go_on.wait(30)
        super().put(entries)


@contextmanager
def took_less_than(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def test_the_answer_does_not_wait_for_a_slow_store(mode: str) -> None:
    store, inner = Gated(writing=True), OverlapScorer()
    cached = Cached(inner, store)
    with took_less_than(2):
        for scorer in (Deadline(cached, 0.5), cached, Fallback(Deadline(cached, 0.5)), cached):
            scoring = run(scorer, mode)
            assert (scoring.scores, scoring.degraded) == (SCORES, None)
    assert scoring.usage.cache_hits == 3  # though nothing has been written
    assert len(inner.calls) == 1
    store.go_on.set()
    cached.close()
    assert Cached(inner, store).score("a b", TEXTS).usage.cache_hits == 3


def test_a_deadline_that_comes_while_scores_are_written_loses_none(mode: str) -> None:
    class Slow(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            threading.Event().wait(0.25)
            return super()._score(query, texts, progress)

    store = Gated(writing=True)
    with took_less_than(1):
        scoring = run(Deadline(Cached(Slow(), store), 0.35), mode)
    assert (scoring.scores, scoring.degraded) == (SCORES, None)
    store.go_on.set()


def test_within_a_deadline_a_slow_read_leaves_time_to_score(mode: str) -> None:
    store = Gated(reading=True)
    deadline = Deadline(Cached(OverlapScorer(), store), 0.6)

    async def score() -> list[Scoring]:
        found = [await deadline.ascore("a b", TEXTS) for _ in range(3)]
        store.go_on.set()  # or the end of the loop would wait for the thread
        return found

    if mode == "score":
        scorings = [deadline.score("a b", TEXTS) for _ in range(3)]
        store.go_on.set()
    else:
        scorings = asyncio.run(score())
    assert [(scoring.scores, scoring.degraded) for scoring in scorings] == [(SCORES, None)] * 3
    assert store.calls.count("get") == 1  # the others do not wait for it as well


def test_too_many_scores_that_wait_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    store = Gated(writing=True)
    cached = Cached(ScriptedScorer(lambda _, texts: [0.5] * len(texts)), store)
    with no_waiting():
        for number in range(2):
            texts = [f"{number} {i}" for i in range(60_000)]
            assert cached.score("a", texts).degraded is None
    assert any("too many scores wait" in record.message for record in caplog.records)
    store.go_on.set()
    cached.close()


def hold(path: Path, locking: str) -> sqlite3.Connection:
    """Hold an SQLite file as another process would."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE IF NOT EXISTS other (x)")
    connection.execute(f"PRAGMA locking_mode = {locking}")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("INSERT INTO other VALUES (1)")
    return connection


@pytest.mark.parametrize("locking", ["NORMAL", "EXCLUSIVE"])
@pytest.mark.parametrize("used_before", [False, True])
def test_a_file_that_another_process_holds_costs_little(
    tmp_path: Path, locking: str, used_before: bool, mode: str
) -> None:
    path = tmp_path / "scores.sqlite"
    cached = Cached(OverlapScorer(), DiskStore(path))
    if used_before:
        cached.score("other", TEXTS)
        cached.close()
    with closing(hold(path, locking)), took_less_than(2):
        assert run(Deadline(cached, 1), mode).scores == SCORES
        for _ in range(20):
            assert run(cached, mode).scores == SCORES
    cached.close()


def test_a_store_that_fails_is_left_alone_for_a_while(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Gated):
        def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
            super().get(keys)
            raise OSError("gone")

    store = Broken()
    cached = Cached(OverlapScorer(), store)
    for _ in range(5):
        assert run(cached, mode).scores == SCORES
    assert store.calls.count("get") == 1
    assert store.calls.count("put") == 5  # that works


def test_what_is_not_written_yet_is_written_at_the_end(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from rerank_core import Cached, MemoryStore\n"
        "from rerank_core.testing import OverlapScorer\n"
        "class Slow(MemoryStore):\n"
        "    def put(self, entries):\n"
        "        time.sleep(float(sys.argv[2]))\n"
        "        Path(sys.argv[1]).write_text(str(len(entries)))\n"
        "cached = Cached(OverlapScorer(), Slow())\n"
        "assert cached.score('a b', ['a', 'b']).degraded is None\n"
    )
    path = tmp_path / "written"
    for seconds in ("0.5", "60"):
        path.write_text("")
        subprocess.run([sys.executable, "-c", script, path, seconds], check=True, timeout=30)
        assert path.read_text() == ("2" if seconds == "0.5" else "")  # it is not waited for


def _score_in_child(cached: Cached, queue: Any) -> None:
    scoring = cached.score("a b", TEXTS)
    queue.put((scoring.scores, scoring.usage.cache_hits))
    cached.close()


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_child_process_uses_the_store_as_well(tmp_path: Path) -> None:
    cached = Cached(OverlapScorer(), DiskStore(tmp_path / "scores.sqlite"))
    cached.score("a b", TEXTS[:2])
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()
    child = context.Process(target=_score_in_child, args=(cached, queue))
    child.start()
    assert queue.get(timeout=30) == (SCORES, 2)
    child.join(30)
    assert child.exitcode == 0
    assert cached.score("a b", TEXTS).usage.cache_hits == 3


class Foreign(Store):
    """Holds what it is given for every key."""

    def __init__(self, value: object, wrap: Callable[[dict[bytes, Any]], Any] = dict) -> None:
        self.value = value
        self.wrap = wrap

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Entry]:
        found: dict[bytes, Entry] = self.wrap(dict.fromkeys(keys, self.value))
        return found

    def put(self, entries: Mapping[bytes, Entry]) -> None:
        pass


class Hostile:
    def __getattribute__(self, name: str) -> object:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "value",
    [
        None,
        "high",
        0.5,
        b"\x00\x00",
        {"score": 0.5},
        (),
        (0.5,),
        (None, ()),
        ("0.5", ()),
        (True, ()),
        (float("nan"), ()),
        (float("-inf"), ()),
        (10**400, ()),
        (-0.1, ()),  # the scale is from 0 to 1
        (1.5, ()),
        (0.5, None),
        (0.5, "spans"),
        (0.5, (None,)),
        (0.5, ((0,),)),
        (0.5, ((0, 1, 0.5, 0),)),
        (0.5, ((0, 4),)),  # the texts have three characters at most
        (0.5, ((-1, 1),)),
        (0.5, ((1, 1),)),
        (0.5, ((1, 0),)),
        (0.5, ((0.0, 1.0),)),
        (0.5, ((False, True),)),
        (0.5, ((0, 10**30),)),
        (0.5, ((0, 1, float("nan")),)),
        (0.5, ((0, 1, "high"),)),
        (0.5, ((0, 1),) * 101),
    ],
)
def test_a_foreign_entry_that_does_not_fit_is_as_good_as_missing(value: object, mode: str) -> None:
    scoring = run(Cached(OverlapScorer(), Foreign(value)), mode)
    assert (scoring.scores, scoring.usage.cache_hits, scoring.spans) == (SCORES, 0, None)


def test_hostile_objects_in_a_store_do_no_harm(mode: str) -> None:
    class Deep(list[Any]):
        def __len__(self) -> int:
            raise RecursionError

    for value in Hostile(), (0.5, Hostile()), (0.5, (Hostile(),)), Deep(), (0.5, Deep([(0, 1)])):
        scoring = run(Cached(OverlapScorer(), Foreign(value)), mode)
        assert (scoring.scores, scoring.usage.cache_hits) == (SCORES, 0)


@pytest.mark.parametrize(
    "value", [(0.25, ()), [0.25, []], Entry(0.25), (0.25, [[0, 1], [0, 1, 0.5]]), (1, ((0, 1),))]
)
def test_a_foreign_entry_that_fits_is_used(value: Any) -> None:
    scoring = Cached(OverlapScorer(), Foreign(value, UserDict)).score("a b", TEXTS)
    assert scoring.scores == (float(value[0]),) * 3
    assert all(type(score) is float for score in scoring.scores)
    assert scoring.usage.cache_hits == 3
    expected = tuple(Span(*span) for span in value[1])
    assert scoring.spans == ((expected,) * 3 if expected else None)


@pytest.mark.parametrize(
    "wrap", [lambda _: None, list, lambda _: 7, lambda _: Hostile(), lambda _: {1: 2, b"x": None}]
)
def test_a_foreign_answer_is_as_good_as_an_empty_one(
    wrap: Callable[[dict[bytes, Any]], Any], mode: str
) -> None:
    scoring = run(Cached(OverlapScorer(), Foreign((0.25, ()), wrap)), mode)
    assert (scoring.scores, scoring.usage.cache_hits) == (SCORES, 0)


@pytest.mark.parametrize(
    "spans",
    [
        "[[0, 99]]",
        "[[-1, 1]]",
        "[[0, 1, NaN]]",
        "[[0, 1], [0, 1]" + ", [0, 1]" * 99 + "]",
        "[" * 5000,
        "[[0, 1" + "0" * 5000 + "]]",
        "[[0, 1]]" + " " * 1_000_000,
        "{}",
        '"spans"',
        "null",
        b"\xff\xfe[[0, 1]]",
        7,
    ],
    ids=range(12),
)
def test_tampered_spans_in_a_file_never_come_out(tmp_path: Path, spans: object) -> None:
    path = tmp_path / "scores.sqlite"
    cached = Cached(OverlapScorer(), DiskStore(path))
    cached.score("a b", TEXTS)
    cached.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        value = "CAST(? AS TEXT)" if isinstance(spans, bytes) else "?"
        connection.execute(f"UPDATE entries SET spans = {value} WHERE rowid < 3", (spans,))
    scoring = cached.score("a b", TEXTS)
    assert (scoring.scores, scoring.spans) == (SCORES, None)
    assert scoring.usage.cache_hits <= 2  # one was left as it was, another may be long enough


def test_more_passages_than_an_entry_may_have_are_not_stored() -> None:
    class Spanning(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            spans = (Span(0, 1),) * (101 if texts[0] == "many" else 100)
            return Scoring((0.5,) * len(texts), spans=(spans,) * len(texts))

    cached = Cached(Spanning())
    for _ in range(2):
        hits = [cached.score("a", [text]).usage.cache_hits for text in ("many", "some")]
    assert hits == [0, 1]


def test_an_identity_that_cannot_be_known_is_no_reason_to_fail(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Unknown(OverlapScorer):
        @property
        def fingerprint(self) -> str:
            raise OSError("private words")

    inner = Unknown()
    with no_waiting():
        for _ in range(2):
            scoring = run(Cached(inner), mode)
            assert (scoring.scores, scoring.usage.cache_hits) == (SCORES, 0)
    assert len(inner.calls) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "private" not in caplog.text


def test_a_store_that_counts_its_entries_is_used_while_it_is_empty() -> None:
    class Sized(MemoryStore):
        def __len__(self) -> int:
            return 0

    store = Sized()
    Cached(OverlapScorer(), store).score("a b", TEXTS)
    assert Cached(OverlapScorer(), store).score("a b", TEXTS).usage.cache_hits == 3
    assert Cached(OverlapScorer()).scale is Scale.UNIT
    with pytest.raises(ConfigurationError):
        Cached(OverlapScorer(), object())  # type: ignore[arg-type]
