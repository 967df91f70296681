"""Connections in tasks, threads, event loops and processes: opened, shared and closed."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from rerank_core import HttpScorer, Scoring, ServiceError
from rerank_core.testing import Reply, Request, ScriptedServer
from support.cohere_runs import QUERY, SCORES, TEXTS, numbered, run
from support.remote import Service


async def test_async_requests_overlap_but_never_more_than_four(
    service: Service, server: ScriptedServer
) -> None:
    loop, four, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    together = threading.Barrier(4)

    def held(request: Request) -> Reply:
        together.wait(timeout=20)  # breaks unless four requests are under way at once
        loop.call_soon_threadsafe(four.set)
        return Reply(service.answer(request).body, wait_for=go_on)

    server.script(*[held] * 4)
    query, texts, expected = numbered(8000)
    scorer = service.scorer()
    task = asyncio.create_task(scorer.ascore(query, texts))
    await four.wait()
    await scorer.ascore("later", ["later"])  # a fifth request would have come before this one
    assert len(server.requests) == 5
    go_on.set()
    assert (await task).scores == expected


def test_a_failed_second_part_fails_the_whole(
    service: Service, scorer: HttpScorer, server: ScriptedServer, mode: str
) -> None:
    def respond(request: Request) -> Reply:
        if service.first_text(request) == "w833":
            return Reply({"message": "too long"}, status=422)
        return service.answer(request)

    server.script(*[respond] * 3)
    with pytest.raises(ServiceError, match="too long"):
        run(scorer, mode, "w1", [f"w{i}" for i in range(2500)])


async def test_a_failed_part_cancels_the_others(service: Service, server: ScriptedServer) -> None:
    never = threading.Event()
    three = threading.Barrier(3)

    def respond(request: Request) -> Reply:
        three.wait(timeout=20)
        if service.first_text(request) == "w0":
            return Reply({"message": "no"}, status=400)
        return Reply(wait_for=never)

    server.script(*[respond] * 3)
    scorer = service.scorer(timeout=600)
    with pytest.raises(ServiceError, match="no"):
        async with asyncio.timeout(30):
            await scorer.ascore("w1", [f"w{i}" for i in range(2500)])
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("count", [1, 2500])
async def test_cancellation_ends_the_requests(
    service: Service, server: ScriptedServer, count: int
) -> None:
    loop, arrived, never = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def respond(request: Request) -> Reply:
        loop.call_soon_threadsafe(arrived.set)
        return Reply(wait_for=never)

    server.script(*[respond] * 3)
    scorer = service.scorer()
    task = asyncio.create_task(scorer.ascore(QUERY, [f"t{i}" for i in range(count)]))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(server.requests) <= 3  # not retried


async def test_after_many_cancellations_another_client_takes_over(
    service: Service, server: ScriptedServer
) -> None:
    loop, arrived, never, later = (
        asyncio.get_running_loop(),
        asyncio.Event(),
        threading.Event(),
        threading.Event(),
    )

    def held(request: Request) -> Reply:
        loop.call_soon_threadsafe(arrived.set)
        return Reply(service.answer(request).body, wait_for=later)

    scorer = service.scorer()
    server.script(held)
    early = asyncio.create_task(scorer.ascore(QUERY, TEXTS))
    await arrived.wait()
    connections = scorer._connections
    worn = connections._client
    assert worn is not None
    server.script(*[Reply(wait_for=never)] * 20)
    others = [asyncio.create_task(scorer.ascore(QUERY, [f"t{i}"])) for i in range(20)]
    while len(server.requests) < 21:
        await asyncio.wait([early], timeout=0.01)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    assert (await scorer.ascore(QUERY, TEXTS)).scores == SCORES
    assert connections._client is not worn
    assert not worn.http.is_closed  # it is still in use
    later.set()
    assert (await early).scores == SCORES
    assert worn.http.is_closed
    await scorer.aclose()


def test_two_event_loops_one_scorer_and_no_socket_left_open(
    scorer: HttpScorer, server: ScriptedServer
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        first = asyncio.run(scorer.ascore(QUERY, TEXTS))
        second = asyncio.run(scorer.ascore(QUERY, TEXTS))
        gc.collect()
    assert first.scores == second.scores == SCORES
    assert [str(w.message) for w in caught if w.category is ResourceWarning] == []


def test_a_scorer_that_ends_with_its_loop_leaves_no_socket_open(
    service: Service, server: ScriptedServer
) -> None:
    query, texts, _ = numbered(4000)

    async def main() -> None:
        await service.scorer().ascore(query, texts)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            asyncio.run(main())
        gc.collect()
    assert [str(w.message) for w in caught if w.category is ResourceWarning] == []


async def test_dropped_scorers_do_not_pile_up_connections(
    service: Service, server: ScriptedServer
) -> None:
    for _ in range(5):
        await service.scorer().ascore(QUERY, TEXTS)
    async with asyncio.timeout(20):
        while server.connections > 1:  # the server notices a moment later
            await asyncio.sleep(0)


def test_an_ended_loop_is_forgotten(scorer: HttpScorer) -> None:
    async def work() -> weakref.ref[asyncio.AbstractEventLoop]:
        await scorer.ascore(QUERY, TEXTS)
        return weakref.ref(asyncio.get_running_loop())

    ended = asyncio.run(work())
    asyncio.run(work())
    gc.collect()
    assert ended() is None


def test_two_event_loops_at_the_same_time(scorer: HttpScorer) -> None:
    both = threading.Barrier(2)

    async def work() -> Scoring:
        both.wait(timeout=20)
        await scorer.ascore(QUERY, TEXTS)
        both.wait(timeout=20)
        return await scorer.ascore(QUERY, TEXTS)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: asyncio.run(work()), range(2)))
    assert [result.scores for result in results] == [SCORES] * 2


async def test_many_tasks_of_one_loop_share_a_client(
    scorer: HttpScorer, server: ScriptedServer
) -> None:
    results = await asyncio.gather(*[scorer.ascore(QUERY, TEXTS) for _ in range(10)])
    assert {result.scores for result in results} == {SCORES}
    ports = {request.port for request in server.requests}
    await scorer.ascore(QUERY, TEXTS)
    assert server.requests[-1].port in ports  # a connection was kept alive


async def test_nothing_blocks_the_loop_while_the_service_thinks(
    service: Service, server: ScriptedServer
) -> None:
    go_on = threading.Event()
    server.script(lambda request: Reply(service.answer(request).body, wait_for=go_on))
    scorer = service.scorer()
    task = asyncio.create_task(scorer.ascore(QUERY, TEXTS))
    while not server.requests:
        await asyncio.sleep(0)
    go_on.set()  # reached only because the loop runs on
    assert (await task).scores == SCORES


def test_sixteen_threads(scorer: HttpScorer, server: ScriptedServer) -> None:
    start = threading.Barrier(16)

    def work(number: int) -> Scoring:
        start.wait(timeout=20)
        return scorer.score(QUERY, [f"thread {number}", *TEXTS[:4]])

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(work, range(16)))
    assert {result.scores for result in results} == {(0.0, *SCORES[:4])}
    assert len(server.requests) == 16


def test_connections_are_reused_closed_and_opened_again(
    scorer: HttpScorer, server: ScriptedServer
) -> None:
    with scorer:
        scorer.score(QUERY, TEXTS)
        scorer.score(QUERY, TEXTS)
    scorer.score(QUERY, TEXTS)
    first, second, third = (request.port for request in server.requests)
    assert first == second != third


async def test_aclose_closes_and_a_later_call_opens_again(
    scorer: HttpScorer, server: ScriptedServer
) -> None:
    async with scorer:
        await scorer.ascore(QUERY, TEXTS)
    await scorer.ascore(QUERY, TEXTS)
    first, second = (request.port for request in server.requests)
    assert first != second


def test_an_unclosed_scorer_leaves_no_socket_open(service: Service, server: ScriptedServer) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scorer = service.scorer()
        scorer.score(QUERY, TEXTS)
        del scorer
        gc.collect()
    assert [str(w.message) for w in caught if w.category is ResourceWarning] == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_opens_its_own_connection(
    scorer: HttpScorer, server: ScriptedServer
) -> None:
    script = """
        import json, os, sys
        from rerank_core import load_scorer
        scorer = load_scorer(json.loads(sys.argv[1]))
        scorer.score("a b", ["a"])
        child = os.fork()
        scores = scorer.score("a b", ["a", "a b"]).scores
        if child == 0:
            os._exit(0 if scores == (0.5, 1.0) else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or scores != (0.5, 1.0))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), json.dumps(scorer.to_config())]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    assert len(server.requests) == 3
    assert len({request.port for request in server.requests}) == 2
