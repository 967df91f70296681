from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from rerank_core import (
    Cached,
    Deadline,
    Fallback,
    Progress,
    ScorerError,
    Scoring,
    Windowed,
    arerank,
    load_scorer,
)
from rerank_core._concurrency import ProcessLock, in_thread
from rerank_core.testing import OverlapScorer


def test_one_thread_at_a_time() -> None:
    lock = ProcessLock()
    count = 0

    def add() -> None:
        nonlocal count
        for _ in range(2000):
            with lock:
                before = count
                count = before + 1

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 16_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_does_not_find_it_held() -> None:
    script = """if True:
        import os, threading
        from rerank_core import Cached, Deadline, Fallback, load_scorer
        scorer = Deadline(Fallback(Cached(load_scorer('nano'))), 60)
        scorer.score('a', ['b'])
        locks = [scorer._scorer._breakers[0]._lock, scorer._scorer._scorers[0]._access.store._lock]
        held, done = threading.Event(), threading.Event()

        def hold():
            with locks[0], locks[1]:
                held.set()
                done.wait()

        threading.Thread(target=hold).start()
        held.wait()
        child = os.fork()
        if child == 0:
            whole = scorer.score('a', ['c']).degraded is None
            os._exit(0 if whole else 1)
        status = os.waitpid(child, 0)[1]
        done.set()
        raise SystemExit(os.waitstatus_to_exitcode(status))
    """
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


class Hung(OverlapScorer):
    """Does nothing until its test has ended."""

    def __init__(self) -> None:
        super().__init__("hung")
        self.ended = threading.Event()

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        self.ended.wait(60)
        return super()._score(query, texts, progress)


@pytest.fixture
def hung() -> Iterator[Hung]:
    scorer = Hung()
    yield scorer
    scorer.ended.set()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_hung_calls_of_one_scorer_leave_threads_for_others(hung: Hung, mode: str) -> None:
    others = [Cached(OverlapScorer()), Windowed(OverlapScorer()), load_scorer("nano")]

    async def call() -> None:
        cut = await asyncio.gather(
            *(Deadline(hung, 0.1).ascore("a", [f"b {number}"]) for number in range(100))
        )
        assert {scoring.causes for scoring in cut} == {("deadline",)}
        for other in others:
            assert None not in (await Deadline(other, 30).ascore("a", ["a", "b"])).scores
            ranking = await arerank("a", ["b", "a"], other)
            assert [item.index for item in ranking] == [1, 0]
        await hung.aclose()

    def wait() -> None:
        with ThreadPoolExecutor(100) as pool:
            cut = list(pool.map(lambda _: Deadline(hung, 0.1).score("a", ["b"]), range(100)))
        assert {scoring.causes for scoring in cut} == {("deadline",)}
        for other in others:
            assert None not in Deadline(other, 30).score("a", ["a", "b"]).scores

    started = time.monotonic()
    asyncio.run(call()) if mode == "async" else wait()
    assert time.monotonic() - started < 20


async def test_a_call_that_would_wait_behind_too_many_is_refused(hung: Hung) -> None:
    calls = [asyncio.create_task(in_thread(hung.ended.wait, hung)) for _ in range(10_032)]
    await asyncio.sleep(0)  # so that all of them are under way or wait
    with pytest.raises(ScorerError, match="10000 wait") as caught:
        await hung.ascore("a", ["b"])
    assert caught.value.retryable
    scoring = await Fallback(hung, OverlapScorer()).ascore("a", ["a"])
    assert (scoring.scores, scoring.causes) == ((1.0,), ("ScorerError",))
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    again = asyncio.create_task(hung.ascore("a", ["a"]))  # those that were cancelled wait no more
    hung.ended.set()
    assert (await again).scores == (1.0,)


async def test_a_hundred_calls_at_once_are_answered() -> None:
    rankings = await asyncio.gather(*(arerank(f"a {n}", ["b", f"a {n}"]) for n in range(100)))
    assert {ranking[0].index for ranking in rankings} == {1}


async def test_a_thread_works_in_the_context_of_its_caller() -> None:
    tenant: ContextVar[str] = ContextVar("tenant")

    class Asking(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            seen.append(tenant.get())
            return super()._score(query, texts, progress)

    seen: list[str] = []
    tenant.set("one")
    await Asking().ascore("a", ["b"])
    await asyncio.to_thread(Deadline(Asking(), 30).score, "a", ["b"])
    assert seen == ["one", "one"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_exit_in_a_scorer_does_not_end_the_background_loop(error: type[BaseException]) -> None:
    class Leaving(OverlapScorer):
        async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            raise error

    with pytest.raises(error):
        Deadline(Leaving(), 30).score("a", ["a"])
    assert Deadline(OverlapScorer(), 30).score("a", ["a"]).scores == (1.0,)


def test_a_call_that_would_wait_for_its_own_thread_is_refused() -> None:
    class Waiting(OverlapScorer):
        async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            return self._score(query, texts, progress)

    scorer = Deadline(Waiting(), 30)
    seen: list[float | None] = []

    def again(done: int, total: int) -> None:
        seen.extend(scorer.score("a", ["b"]).scores)

    with pytest.raises(ScorerError, match="await ascore"):
        scorer.score("a", ["a"], progress=again)
    assert scorer.score("a", ["a"]).scores == (1.0,)

    Deadline(OverlapScorer(), 30).score("a", ["a"], progress=again)  # in a thread of its own
    assert seen == [0.0]


@pytest.mark.parametrize(
    "call",
    [
        "Deadline(hung, .1).score('a', ['b'])",
        "asyncio.run(Deadline(hung, .1).ascore('a', ['b']))",
        "asyncio.run(asyncio.wait_for(hung.ascore('a', ['b']), .1))",
        "asyncio.run(arerank('a', ['b'], Deadline(Cached(hung, store), .1)))",
    ],
)
def test_a_hung_scorer_does_not_keep_the_process_from_ending(call: str) -> None:
    script = f"""if True:
        import asyncio, threading
        from contextlib import suppress
        from rerank_core import *

        class Hung(Scorer):
            name = fingerprint = 'hung'
            scale = Scale.UNIT

            def _score(self, query, texts, progress):
                threading.Event().wait()

        class Slow(Store):
            def get(self, keys):
                threading.Event().wait()

            def put(self, entries):
                pass

        hung, store = Hung(), Slow()
        with suppress(TimeoutError):
            {call}
        print('done', flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert process.wait(timeout=15) == 0
