"""Limits, the queue, deadlines, clients that go away, and the end of the server."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from rerank_core import ConfigurationError, ServiceError
from rerank_core.serving import create_app
from rerank_core.testing import OverlapScorer
from support.scorers import BlockingScorer
from support.serving import Records, Served, served

BODY: dict[str, Any] = {"query": "a cold river", "documents": ["a river", "the sun", ""]}


def until(holds: Callable[[], bool]) -> None:
    """Ask again until it holds; each time is a request, so that nobody sleeps."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end


@pytest.fixture
def blocking() -> Iterator[BlockingScorer]:
    scorer = BlockingScorer()
    yield scorer
    scorer.go_on.set()


@pytest.fixture
def narrow(blocking: BlockingScorer) -> Iterator[Served]:
    """A server with one place, and a queue of one."""
    models = {"blocking": blocking, "free": OverlapScorer()}
    with served(models, concurrency=1, queue=1) as running:
        yield running
        blocking.go_on.set()


def test_the_queue_is_bounded(narrow: Served, blocking: BlockingScorer) -> None:
    def ask(**headers: str) -> httpx.Response:
        return httpx.post(f"{narrow.url}/v2/rerank", json=BODY, headers=headers)

    def metric(name: str) -> str:
        lines = httpx.get(f"{narrow.url}/metrics").text.splitlines()
        return next(line.split()[1] for line in lines if line.startswith(name))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask)
        assert blocking.started.wait(30)
        late = ask(**{"X-Request-Timeout": "0.01"}).json()  # in the queue
        assert late["rerank"]["causes"] == ["deadline"]
        assert late["rerank"]["unscored"] == [0, 1, 2]
        assert [r["index"] for r in late["results"]] == [0, 1, 2]
        second = pool.submit(ask)
        until(lambda: metric("rerank_requests_waiting ") == "1.0")
        assert metric("rerank_requests_running ") == "1.0"
        refused = ask()
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error_type"] == "Overloaded"
        blocking.go_on.set()
        assert first.result().status_code == second.result().status_code == 200
    assert ask().status_code == 200
    counted = httpx.get(f"{narrow.url}/metrics").text
    assert 'rerank_requests_total{model="blocking",path="/v2/rerank",status="429"} 1.0' in counted
    assert 'rerank_pairs_total{model="blocking"} 6.0' in counted


def test_a_deadline_keeps_what_was_scored_in_time(narrow: Served, blocking: BlockingScorer) -> None:
    headers = {"X-Request-Timeout": "0.05"}
    response = httpx.post(f"{narrow.url}/v2/rerank", json=BODY, headers=headers)
    assert response.status_code == 200
    report = response.json()["rerank"]
    assert report["causes"] == ["deadline"]
    assert "0 of 2 texts scored" in report["degraded"]
    body = {"query": "q", "texts": ["a"]}
    tei = httpx.post(f"{narrow.url}/rerank", json=body, headers=headers)
    assert tei.headers["x-rerank-degraded"] == "deadline"
    blocking.go_on.set()
    whole = httpx.post(f"{narrow.url}/v2/rerank", json=BODY, headers={"X-Request-Timeout": "60"})
    assert whole.json()["rerank"]["causes"] == []
    for wrong in ("0", "-1", "nan", "soon"):
        headers = {"X-Request-Timeout": wrong}
        assert httpx.post(f"{narrow.url}/v2/rerank", json=BODY, headers=headers).status_code == 422


def test_a_client_that_goes_away_costs_no_more(
    narrow: Served, blocking: BlockingScorer, records: Records
) -> None:
    at = urlsplit(narrow.url)
    request = httpx.Request("POST", f"{narrow.url}/v2/rerank", json=BODY)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((str(at.hostname), int(at.port or 0))) as connection:
        connection.sendall(f"POST /v2/rerank HTTP/1.1\r\n{head}\r\n".encode())
        connection.sendall(request.read())
        assert blocking.started.wait(30)
    assert getattr(records.of_request(), "rerank.status") == 499
    blocking.go_on.set()
    assert blocking.finished.wait(30)
    assert blocking.error is not None  # it ended after its first text
    free = httpx.post(f"{narrow.url}/v2/rerank", json={**BODY, "model": "free"})
    assert free.status_code == 200


def test_requests_under_way_are_answered_before_the_end() -> None:
    blocking = BlockingScorer()
    with ThreadPoolExecutor(1) as pool, served({"m": blocking}) as running:
        answer = pool.submit(httpx.post, f"{running.url}/v2/rerank", json=BODY)
        assert blocking.started.wait(30)
        running.stop()
        assert not answer.done()
        blocking.go_on.set()
        assert answer.result().status_code == 200


def test_it_lives_before_it_is_ready(blocking: BlockingScorer) -> None:
    loading = threading.Event()

    class Slow(OverlapScorer):
        def load(self) -> None:
            loading.set()
            assert blocking.go_on.wait(30)

    with served({"m": Slow()}) as running:
        assert loading.wait(30)
        assert httpx.get(f"{running.url}/health/live").json() == {"live": True, "ready": False}
        for path in ("/health", "/health/ready"):
            assert httpx.get(running.url + path).status_code == 503
        blocking.go_on.set()
        until(lambda: httpx.get(f"{running.url}/health").status_code == 200)


async def test_a_model_that_cannot_be_loaded_is_reported() -> None:
    class Broken(OverlapScorer):
        def load(self) -> None:
            raise ServiceError("the hub is down")

    app = create_app({"m": Broken()})
    failures: list[BaseException] = []
    app.state.on_failure = failures.append
    async with app.router.lifespan_context(app):
        while not failures:
            await asyncio.sleep(0)  # only the turn of the task that loads
    assert isinstance(failures[0], ServiceError)


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/v2/rerank", {"query": "q", "documents": ["a"] * 51}, 413, "51 documents are more than"),
        ("/rerank", {"query": "q", "texts": ["a"] * 51}, 413, "51 documents are more than"),
        ("/v2/rerank", {"query": "q", "documents": ["a" * 30_000]}, 413, "30001 characters"),
        ("/v2/rerank", {"query": "q", "documents": ["a" * 200_000]}, 413, None),
        ("/v2/rerank", {"query": "q", "documents": ["a"], "model": "x"}, 404, "overlap, nano"),
        ("/v2/rerank", {"query": " ", "documents": ["a"]}, 422, "query is blank"),
        ("/v2/rerank", {"documents": ["a"]}, 422, "query: Field required"),
        ("/rerank", {"documents": ["a"]}, 422, "query: Field required"),
        ("/rerank", {"query": "q"}, 422, "texts: Field required"),
        ("/rerank", [], 422, "the body must be a JSON object"),
        ("/v2/rerank", {"query": "q", "documents": [7]}, 422, "documents.0"),
        ("/v2/rerank", {"query": "q", "documents": ["a"], "top_n": 0}, 422, "top_n"),
        ("/v2/rerank", [], 422, "the body must be a JSON object"),
        ("/nowhere", {}, 404, "Not Found"),
    ],
)
def test_what_does_not_fit(
    client: httpx.Client, path: str, body: Any, status: int, told: str | None
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status
    if told is not None:
        failure = response.json()
        assert told in failure["message"]
        assert failure["message"] == failure["error"]
        assert failure["id"] == response.headers["x-request-id"]


def test_a_body_that_is_not_json(client: httpx.Client) -> None:
    json = {"Content-Type": "application/json"}
    response = client.post("/v2/rerank", content='{"query": ', headers=json)
    assert response.status_code == 422
    assert "not JSON" in response.json()["message"]
    for content in ("[" * 90_000, b'{"query": "\xff"}'):
        response = client.post("/v2/rerank", content=content, headers=json)
        assert response.status_code in (400, 422)
    half = '{"query": "\\ud800 a", "documents": ["a \\ud800"], "return_documents": true}'
    answer = client.post("/v2/rerank", content=half, headers=json).json()
    assert answer["results"][0]["document"]["text"] == "a \ufffd"
    # No other type is read: a form of a foreign page could send it.
    plain = client.post("/v2/rerank", content='{"query": "q", "documents": []}')
    assert plain.status_code == 422
    assert "application/json" in plain.json()["message"]


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("busy", 429, "RateLimitError"),
        ("late", 504, "DeadlineExceeded"),
        ("locked", 502, "AuthenticationError"),
        ("down", 502, "ServiceError"),
        ("all", 502, "AllScorersFailed"),
        ("bug", 500, "KeyError"),
    ],
)
def test_what_fails_behind_it(
    client: httpx.Client,
    model: str,
    status: int,
    kind: str,
    records: Records,
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = client.post("/v2/rerank", json={**BODY, "model": model})
    assert (response.status_code, response.json()["error_type"]) == (status, kind)
    if model == "busy":
        assert response.headers["retry-after"] == "7"
    record = records.of_request()
    assert getattr(record, "error.type") == kind
    for told in (response.text, caplog.text, str(record.__dict__)):
        assert "secret place" not in told
        assert "text of a document" not in told


@pytest.mark.parametrize("limit", ["concurrency", "max_documents", "max_characters", "max_body"])
def test_limits_are_checked(limit: str) -> None:
    make: Any = create_app
    with pytest.raises(ConfigurationError, match=f"{limit} must be a whole number"):
        make({"m": OverlapScorer()}, **{limit: 0})
    with pytest.raises(ConfigurationError, match="models is empty"):
        make({})
