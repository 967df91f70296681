"""Every fault, sync and async, bare and under each combinator that promises an answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from rerank_core import (
    CohereScorer,
    Deadline,
    Fallback,
    Ranking,
    RerankError,
    Scorer,
    arerank,
    rerank,
)
from rerank_core._background import calls, requests
from rerank_core.testing import OverlapScorer, ScriptedServer, no_waiting
from support.faults import FAULTS, KEY, PRIVATE, QUERY, TEXTS, Fault
from support.remote import without_proxies
from support.secrets import all_of
from support.tracing import span_exporter

BUDGET = 0.1
ENOUGH = 6.0  # seconds; most take hundredths of one, and a busy machine more
BEST_FIRST = [item.index for item in rerank(QUERY, TEXTS, OverlapScorer())]
FIRST_STAGE = list(range(len(TEXTS)))
_DESCRIPTORS = Path("/proc/self/fd")


def call(scorer: Scorer, mode: str) -> Ranking:
    """Rank, and check that it does not take long and leaves no task behind."""

    async def alone() -> Ranking:
        try:
            return await arerank(QUERY, TEXTS, scorer)
        finally:
            assert await tasks() == []

    started = time.monotonic()
    try:
        return rerank(QUERY, TEXTS, scorer) if mode == "sync" else asyncio.run(alone())
    finally:
        assert time.monotonic() - started < ENOUGH


async def tasks() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def descriptors() -> Counter[str]:
    if not _DESCRIPTORS.exists():
        return Counter()
    links: Counter[str] = Counter()
    for entry in list(_DESCRIPTORS.iterdir()):
        try:
            links[re.sub(r"\d+", "", str(entry.readlink()))] += 1
        except OSError:  # the one that listed the folder
            continue
    return links


def threads() -> set[threading.Thread]:
    """Return the threads of this process, but for those that work for whoever needs one next."""
    return {thread for thread in threading.enumerate() if thread.name != "rerank-worker"}


@contextmanager
def nothing_left() -> Iterator[None]:
    gc.collect()
    running, open_before = threads(), descriptors()
    yield
    gc.collect()
    end = time.monotonic() + 10
    # A generator that the collector found, of a body that was not read to its end, is being closed.
    while (left := calls.run(tasks()) + requests.run(tasks())) and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert left == []
    # What a store has not taken yet is still being written.
    while threads() - running and time.monotonic() < end:
        threading.Event().wait(0.01)
    assert threads() - running == set()
    # A thread of the pool may still be at reading certificates when the call has been cut.
    while descriptors() - open_before and time.monotonic() < end:
        threading.Event().wait(0.01)
        gc.collect()
    assert descriptors() - open_before == Counter()


@pytest.fixture(scope="module", autouse=True)
def _warm() -> Iterator[None]:
    """Start what lives as long as the process: imports, the background loop and its threads."""
    with ScriptedServer() as server:
        scorer = CohereScorer("m", api_key=KEY, base_url=server.url)
        call(scorer, "sync")
        call(scorer, "async")
        call(Deadline(scorer, 60), "sync")
        scorer.close()
    gc.collect()
    gc.freeze()  # so that each later collection is quick
    yield
    gc.unfreeze()


@pytest.fixture
def at_once() -> Iterator[None]:
    with no_waiting():
        yield


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    span_exporter().clear()
    without_proxies(monkeypatch)


@contextmanager
def broken(fault: Fault, folder: Path) -> Iterator[Scorer]:
    with nothing_left():
        with ExitStack() as stack:
            scorer = fault.make(stack, folder)
            stack.callback(scorer.close)
            yield scorer
        del scorer, stack


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.name)
def fault(request: pytest.FixtureRequest) -> Fault:
    found = request.param
    assert isinstance(found, Fault)
    return found


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def order(ranking: Ranking) -> list[int]:
    assert [item.text for item in ranking] == [TEXTS[item.index] for item in ranking]
    return [item.index for item in ranking]


def check_secrets(caplog: pytest.LogCaptureFixture, *shown: object) -> None:
    """Check that the key is nowhere, and the texts are in no log and no span."""
    for part in shown:
        text = all_of(part) if isinstance(part, BaseException) else f"{part} {part!r}"
        assert KEY not in text
        assert not isinstance(part, BaseException) or (
            len(str(part)) < 2000 and str(part).isprintable()
        )
    for record in caplog.records:
        assert KEY not in str(vars(record))
        assert PRIVATE not in str(vars(record))
        assert len(vars(record)) < 60
        assert record.name != "asyncio" or record.levelno < logging.WARNING
    spans = span_exporter().get_finished_spans()
    assert spans
    for span in spans:
        assert KEY not in span.to_json()
        assert PRIVATE not in span.to_json()
        assert len(span.attributes or {}) < 60


@pytest.mark.usefixtures("at_once")
def test_bare_it_is_a_typed_error_or_a_whole_answer(
    fault: Fault, mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with broken(fault, tmp_path) as scorer:
        if fault.error is None:
            ranking = call(scorer, mode)
            assert (order(ranking), ranking.degraded) == (BEST_FIRST, None)
            check_secrets(caplog, ranking, scorer)
            return
        with pytest.raises(RerankError) as caught:
            call(scorer, mode)
        assert type(caught.value) is fault.error
        check_secrets(caplog, scorer, caught.value)
        caught.value.__traceback__ = None
        del caught


@pytest.mark.usefixtures("at_once")
def test_with_a_fallback_it_is_a_degraded_ranking(
    fault: Fault, mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with broken(fault, tmp_path) as scorer:
        chain = Fallback(scorer, OverlapScorer())
        ranking = call(chain, mode)
        assert order(ranking) == BEST_FIRST
        check_secrets(caplog, ranking, chain)
        if fault.error is None:
            assert ranking.degraded is None
        else:
            assert fault.error.__name__ in str(ranking.degraded)


def test_with_a_deadline_what_lasts_is_cut(
    fault: Fault, mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with broken(fault, tmp_path) as scorer:  # with the real pauses between attempts
        if fault.cut:
            ranking = call(Deadline(scorer, BUDGET), mode)
            assert order(ranking) == FIRST_STAGE
            assert "the deadline of 0.1 s came: 0 of 5 texts scored" in str(ranking.degraded)
            check_secrets(caplog, ranking)
        elif fault.error is None:
            ranking = call(Deadline(scorer, 60), mode)
            assert (order(ranking), ranking.degraded) == (BEST_FIRST, None)
        else:
            with pytest.raises(fault.error) as caught:
                call(Deadline(scorer, 60), mode)
            check_secrets(caplog, caught.value)
            caught.value.__traceback__ = None
            del caught


def test_with_both_there_is_always_an_answer(
    fault: Fault, mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with broken(fault, tmp_path) as scorer:
        ranking = call(Deadline(Fallback(scorer), BUDGET if fault.cut else 60), mode)
        whole = fault.error is None and not fault.cut
        assert order(ranking) == (BEST_FIRST if whole else FIRST_STAGE)
        assert (ranking.degraded is None) == whole
        check_secrets(caplog, ranking)
