"""`rerank_core.testing`: what users test with, and what our own tests are made of."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from rerank_core import (
    AllScorersFailed,
    CohereScorer,
    ConfigurationError,
    Deadline,
    Fallback,
    MalformedResponseError,
    NonFiniteScoreError,
    RateLimitError,
    Scale,
    Scorer,
    Scoring,
    ServiceError,
    StopScoring,
    TeiScorer,
    Usage,
    rerank,
    testing,
)
from rerank_core.testing import (
    OverlapScorer,
    Reply,
    Request,
    ScriptedScorer,
    ScriptedServer,
    no_waiting,
)
from support.remote import without_proxies

QUERY = "cold river"
TEXTS = ["a sunny day", "the river", "A cold, cold river!"]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


@pytest.fixture(params=["score", "ascore"])
def ask(request: pytest.FixtureRequest) -> Callable[[Scorer], Scoring]:
    if request.param == "score":
        return lambda scorer: scorer.score(QUERY, TEXTS)
    return lambda scorer: asyncio.run(scorer.ascore(QUERY, TEXTS))


def fetch(url: str, body: Any = None) -> tuple[int, Any]:
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content), timeout=30) as response:
            return response.status, json.loads(response.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_the_public_names_are_these() -> None:
    assert testing.__all__ == [
        "OverlapScorer",
        "Reply",
        "Request",
        "ScriptedScorer",
        "ScriptedServer",
        "no_waiting",
    ]


def test_only_tests_import_it_and_it_imports_no_test_runner() -> None:
    script = "import sys, {}; print(*sys.modules)"
    loaded = {
        name: subprocess.run(
            [sys.executable, "-c", script.format(name)],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout.split()
        for name in ("rerank_core", "rerank_core.testing")
    }
    assert "rerank_core.testing" not in loaded["rerank_core"]
    assert not {"pytest", "httpx", "numpy", "cohere"} & {*loaded["rerank_core.testing"]}


def test_overlap_is_the_share_of_the_querys_words(ask: Callable[[Scorer], Scoring]) -> None:
    scorer = OverlapScorer()
    scoring = ask(scorer)
    assert scoring.scores == (0.0, 0.5, 1.0)
    assert scoring.usage.pairs == 3
    assert scorer.calls == [(QUERY, tuple(TEXTS))]
    assert (scorer.name, OverlapScorer("mine").name) == ("overlap", "mine")
    assert scorer.scale is Scale.UNIT
    assert scorer.fingerprint != OverlapScorer("mine").fingerprint
    assert scorer.score("?!", ["?!"]).scores == (0.0,)  # a query without words


def test_overlap_can_be_stopped(ask: Callable[[Scorer], Scoring]) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise StopScoring

    scoring = OverlapScorer().score(QUERY, TEXTS, progress=stop)
    assert scoring.scores == (0.0, 0.5, None)
    assert scoring.causes == ("stopped",)


@pytest.mark.parametrize(
    ("answer", "scores"),
    [
        ([1.0, None, -2.0], (1.0, None, -2.0)),
        (range(3), (0.0, 1.0, 2.0)),
        ({TEXTS[2]: 7.5, "another": 1.0}, (None, None, 7.5)),
        (Scoring((1.0, None, None), Usage(requests=2), degraded="cut"), (1.0, None, None)),
        (lambda query, texts: [len(query), *map(len, texts[1:])], (10.0, 9.0, 19.0)),
        (lambda query, texts: dict.fromkeys(texts, 0.5), (0.5, 0.5, 0.5)),
    ],
    ids=["list", "range", "mapping", "scoring", "function", "function to a mapping"],
)
def test_an_answer_has_many_forms(
    answer: Any, scores: tuple[float | None, ...], ask: Callable[[Scorer], Scoring]
) -> None:
    scorer = ScriptedScorer(answer)
    scoring = ask(scorer)
    assert scoring.scores == scores
    if isinstance(answer, Scoring):
        assert (scoring.degraded, scoring.usage.requests) == ("cut", 2)
    else:
        assert scoring.usage.pairs == 3
    assert scorer.calls == [(QUERY, tuple(TEXTS))]


def test_a_script_goes_on_with_each_call_and_stays_at_its_last_answer() -> None:
    scorer = ScriptedScorer(RateLimitError("slow down"), {"a": 1.0}, {"a": 2.0})
    assert rerank("q", ["a"], Fallback(scorer)).causes == ("RateLimitError",)
    assert [scorer.score("q", ["a"]).scores for _ in range(3)] == [(1.0,), (2.0,), (2.0,)]
    assert len(scorer.calls) == 4


def test_threads_share_a_script() -> None:
    scorer = ScriptedScorer(*([float(number)] for number in range(200)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: scorer.score("q", ["a"]).scores[0], range(200)))
    assert sorted(score or 0.0 for score in found) == [float(number) for number in range(200)]


def test_a_script_can_fail_a_chain_and_answer_wrongly(ask: Callable[[Scorer], Scoring]) -> None:
    down = ScriptedScorer(ServiceError("down"), name="service")
    with pytest.raises(AllScorersFailed):
        ask(Fallback(down, keep_order=False))
    scoring = ask(Fallback(down, ScriptedScorer([1, 2, 3], scale=Scale.UNIT)))
    assert (scoring.scale, scoring.causes) == (Scale.UNIT, ("ServiceError",))
    with pytest.raises(MalformedResponseError, match="2 scores came back for 3 texts"):
        ask(ScriptedScorer([1.0, 2.0]))
    with pytest.raises(NonFiniteScoreError):
        ask(ScriptedScorer([1.0, 2.0, float("nan")]))


def test_a_function_may_block() -> None:
    go_on = threading.Event()

    def held(query: str, texts: tuple[str, ...]) -> list[float]:
        assert go_on.wait(30)
        return [1.0] * len(texts)

    async def call() -> Scoring:
        task = asyncio.create_task(ScriptedScorer(held).ascore(QUERY, TEXTS))
        await asyncio.sleep(0)
        go_on.set()
        return await task

    assert asyncio.run(call()).scores == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("answers", [(), (1.0,), ("text",), (None,), ([1.0], 5)])
def test_a_script_of_something_else_is_refused(answers: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError, match="answer"):
        ScriptedScorer(*answers)
    with pytest.raises(ConfigurationError, match="scale"):
        ScriptedScorer([1.0], scale="percent")  # type: ignore[arg-type]


def test_scorers_can_be_copied_and_tell_their_scripts_apart() -> None:
    scorer = ScriptedScorer({"a": 1.0}, {"a": 2.0}, name="mine", scale=Scale.UNIT)
    scorer.score("q", ["a"])
    for again in (deepcopy(scorer), pickle.loads(pickle.dumps(scorer))):
        assert (again.name, again.scale, again.fingerprint) == ("mine", "unit", scorer.fingerprint)
        assert again.score("q", ["a"]).scores == (2.0,)
    assert scorer.fingerprint != ScriptedScorer({"a": 1.0}, name="mine").fingerprint
    with pytest.raises(ConfigurationError, match="cannot be written"):
        scorer.to_config()
    assert OverlapScorer("mine").to_config() == {"type": "overlap", "name": "mine"}


def test_a_server_answers_like_cohere(ask: Callable[[Scorer], Scoring]) -> None:
    with ScriptedServer() as server:
        with CohereScorer("rerank-v3.5", base_url=server.url, api_key="test") as scorer:
            scoring = ask(scorer)
        assert scoring.scores == (0.0, 0.5, 1.0)
        assert scoring.usage.billed_units == {"search_units": 1.0}
        (request,) = server.requests
        assert (request.method, request.path) == ("POST", "/v2/rerank")
        assert request.body["documents"] == TEXTS
        assert request.headers["authorization"] == "Bearer test"
        body = {"query": QUERY, "documents": TEXTS, "top_n": 1}
        _, answer = fetch(f"{server.url}/gateway/v1/rerank", body)
        assert answer["results"] == [{"index": 2, "relevance_score": 1.0}]


def test_a_server_answers_like_tei(ask: Callable[[Scorer], Scoring]) -> None:
    with ScriptedServer() as server:
        with TeiScorer(server.url) as scorer:
            scoring = ask(scorer)
        assert scoring.scores == (0.0, 0.5, 1.0)
        assert [request.path for request in server.requests] == ["/info", "/rerank"]
        with TeiScorer(server.url, raw_scores=True) as scorer:
            assert ask(scorer).scores == (-5.0, 0.0, 5.0)


@pytest.mark.parametrize("scale", [Scale.LOGIT, Scale.UNIT])
def test_a_server_gives_the_scores_of_a_scorer(scale: Scale) -> None:
    inner = ScriptedScorer({TEXTS[0]: 0.25, TEXTS[1]: 0.75}, scale=scale)
    with ScriptedServer(respond=partial(ScriptedServer.answer, scorer=inner)) as server:
        for scorer in (CohereScorer("m", base_url=server.url, api_key="k"), TeiScorer(server.url)):
            low, high, none = scorer.score(QUERY, TEXTS).scores
            assert none == 0.0
            assert low is not None
            assert high is not None
            assert 0 < low < high < 1
            assert (low, high) == ((0.25, 0.75) if scale is Scale.UNIT else (low, high))
    assert inner.calls == [(QUERY, tuple(TEXTS))] * 2


def test_a_server_follows_its_script() -> None:
    def refuse(request: Request) -> Reply:
        return Reply({"path": request.path}, status=418)

    def fail(request: Request) -> Reply:
        raise KeyError(request.path)

    with ScriptedServer(Reply([1]), refuse) as server:
        assert fetch(f"{server.url}/a") == (200, [1])
        server.script(fail, Reply(drop=True))
        assert fetch(f"{server.url}/b", {"x": 1}) == (418, {"path": "/b"})
        assert fetch(f"{server.url}/c") == (400, {"message": "the script raised KeyError('/c')"})
        with pytest.raises((URLError, ConnectionError)):
            fetch(f"{server.url}/d")
        assert fetch(f"{server.url}/e") == (404, {"message": "no answer for GET /e"})
        assert fetch(server.url, b"{")[0] == 400
        assert [request.path for request in server.requests] == ["/a", "/b", "/c", "/d", "/e"]
        assert server.requests[1].body == {"x": 1}
    with ScriptedServer(respond=refuse) as server:
        assert fetch(f"{server.url}/f") == (418, {"path": "/f"})


def test_a_server_that_is_left_closes_what_is_open() -> None:
    never = threading.Event()
    with ThreadPoolExecutor(1) as pool, ExitStack() as clients:
        with ScriptedServer(Reply([1]), Reply(wait_for=never)) as server:
            address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
            kept = clients.enter_context(socket.create_connection(address))
            kept.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert kept.recv(65536).endswith(b"[1]")
            assert server.connections == 1
            waiting = pool.submit(fetch, server.url)
            while len(server.requests) < 2:
                threading.Event().wait(0.001)
        assert kept.recv(65536) == b""
        with pytest.raises((URLError, ConnectionError)):
            waiting.result(30)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_held_reply_meets_a_deadline() -> None:
    held = threading.Event()
    with ScriptedServer() as server:
        with CohereScorer("m", base_url=server.url, api_key="test") as scorer:
            scorer.load()
            scorer.score(QUERY, TEXTS)
            server.script(Reply(wait_for=held))
            scoring = Deadline(scorer, 0.1).score(QUERY, TEXTS)
        assert scoring.causes == ("deadline",)


def test_without_waiting_failed_requests_are_sent_again_at_once(
    ask: Callable[[Scorer], Scoring], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rerank_core")
    slow = Reply({"message": "slow down"}, status=429, headers={"Retry-After": "59"})
    with (
        ScriptedServer(slow, Reply(status=503), Reply(drop=True)) as server,
        no_waiting(),
        CohereScorer("m", base_url=server.url, api_key="test", max_retries=3) as scorer,
    ):
        assert ask(scorer).usage.requests == 4
    pauses = [vars(record).get("rerank.pause") for record in caplog.records]
    assert [pause for pause in pauses if pause is not None] == [0.0, 0.0, 0.0]


def test_without_waiting_every_warning_is_logged_in_every_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def warnings(calls: int) -> int:
        caplog.clear()
        chain = Fallback(ScriptedScorer(ServiceError("down"), name="test_testing"), failures=99)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: rerank(QUERY, TEXTS, chain), range(calls)))
        return sum("is degraded" in record.getMessage() for record in caplog.records)

    with no_waiting():
        with no_waiting():
            assert warnings(5) == 5
        assert warnings(5) == 5
    assert warnings(5) == 1  # the first since then
    assert warnings(5) == 0


def test_an_error_within_a_block_of_no_waiting_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), no_waiting():
        raise KeyError
    chain = Fallback(ScriptedScorer(ServiceError("down"), name="test_testing too"))
    for _ in range(2):
        rerank(QUERY, TEXTS, chain)
    assert sum("is degraded" in record.getMessage() for record in caplog.records) == 1
