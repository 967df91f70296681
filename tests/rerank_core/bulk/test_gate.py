"""The limit on requests at once, in an event loop whose time passes only while all wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest

from rerank_core import CohereScorer, RateLimitError
from rerank_core._remote.gate import RequestGate, request_gate
from rerank_core.testing import Reply, ScriptedServer
from support.cohere_runs import run as run_scorer


class _Skipping(selectors.DefaultSelector):
    """Waits for nothing, and counts the seconds that it was asked to wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "all wait for ever"
        self.now += timeout
        return super().select(0)


def run(work: Coroutine[Any, Any, Any]) -> float:
    """Run a coroutine, and return the seconds that it would have taken."""
    selector = _Skipping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()
    return selector.now


async def hold(gate: RequestGate, seconds: float, log: list[float], pause: float = 0.0) -> None:
    ticket = await gate.enter(1000)
    log.append(asyncio.get_running_loop().time())
    await asyncio.sleep(seconds)
    await gate.leave(ticket, pause)


def test_it_admits_so_many_at_once() -> None:
    log: list[float] = []

    async def work() -> None:
        gate = RequestGate(2)
        await asyncio.gather(*(hold(gate, 10, log) for _ in range(5)))

    assert run(work()) == pytest.approx(30)
    assert log == pytest.approx([0, 0, 10, 10, 20])


def test_a_pause_holds_for_all() -> None:
    log: list[float] = []

    async def work() -> None:
        gate = RequestGate(2)
        await asyncio.gather(hold(gate, 1, log, pause=50), hold(gate, 2, log), hold(gate, 1, log))
        await hold(gate, 1, log)

    run(work())
    assert log == pytest.approx([0, 0, 51, 52])


def test_the_ticket_of_one_that_is_gone_runs_out() -> None:
    log: list[float] = []

    async def work() -> None:
        gate = RequestGate(1)
        await gate.enter(35)
        await hold(gate, 1, log)

    run(work())
    assert log == pytest.approx([35])


def test_one_that_is_cancelled_while_it_waits_takes_no_place() -> None:
    log: list[float] = []

    async def work() -> None:
        gate = RequestGate(1)
        first = await gate.enter(1000)
        waiting = asyncio.create_task(gate.enter(1000))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait({waiting})
        await gate.leave(first, 0)
        await hold(gate, 1, log)

    run(work())
    assert log == pytest.approx([1])


class _Recorder:
    """Admits every request, and notes what it is told."""

    def __init__(self) -> None:
        self.entered: list[float] = []
        self.pauses: list[float] = []

    async def enter(self, seconds: float) -> int:
        self.entered.append(seconds)
        return 7

    async def leave(self, ticket: int, pause: float) -> None:
        assert ticket == 7
        self.pauses.append(pause)


@pytest.mark.parametrize("mode", ["score", "ascore"])
@pytest.mark.parametrize(("asked", "pause"), [("7", 7), ("3600", 60), ("soon", 0), (None, 0)])
def test_a_request_passes_the_gate_and_tells_of_the_pause(
    mode: str, asked: str | None, pause: float
) -> None:
    gate = _Recorder()
    headers = {"Retry-After": asked} if asked else {}
    before = request_gate.set(gate)
    try:
        with ScriptedServer(Reply(status=429, headers=headers)) as server:
            url = server.url
            scorer = CohereScorer("m", base_url=url, api_key="test", max_retries=0, timeout=9)
            with pytest.raises(RateLimitError):
                run_scorer(scorer, mode, "q", ["a"])
            assert scorer.score("q", ["a"]).scores == (0.0,)
            scorer.close()
    finally:
        request_gate.reset(before)
    assert gate.entered == [14, 14]
    assert gate.pauses == [pause, 0]
