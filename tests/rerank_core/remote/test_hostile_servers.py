"""Servers that send too much, too slowly, or what nobody asked for."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rerank_core import Deadline, DeadlineExceeded, Fallback, HttpScorer, Scoring, load_scorer
from rerank_core.testing import OverlapScorer, Reply, Request, ScriptedServer
from support import faults
from support.cohere_runs import QUERY, SCORES, TEXTS, failure, run
from support.faults import RawServer
from support.remote import Service

CERTIFICATE = Path(faults.__file__).with_name("self_signed.pem")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def answer(service: Service, *scores: float, head: bytes = HEAD, chunked: bool = False) -> bytes:
    results = [{"index": index, "score": score} for index, score in enumerate(scores)]
    body = json.dumps(service.body(results)).encode()
    if chunked:
        framing = b"Transfer-Encoding: chunked\r\n\r\n"
        return head + framing + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("extra", ["answer", "junk", "blank line", "two answers", "half an answer"])
def test_what_nobody_asked_for_is_no_answer(
    service: Service, mode: str, extra: str, chunked: bool
) -> None:
    stale = answer(service, 0.8, 0.9, chunked=chunked)
    unasked = {
        "answer": stale,
        "junk": b"\x00junk",
        "blank line": b"\r\n",
        "two answers": stale * 2,
        "half an answer": stale[: len(stale) // 2],
    }[extra]
    with RawServer(answer(service, 0.1, 0.2, chunked=chunked) + unasked) as server:
        scorer = service.scorer(base_url=server.url, timeout=20, max_retries=0)
        for query in ("one", "two", "three"):
            assert run(scorer, mode, query).scores == (0.1, 0.2)


def test_after_an_error_neither(service: Service, mode: str) -> None:
    refused = answer(service, 0.1, head=b"HTTP/1.1 422 Unprocessable\r\n")
    with RawServer(refused + answer(service, 0.8, 0.9)) as server:
        scorer = service.scorer(base_url=server.url, timeout=20, max_retries=0)
        for _ in range(3):
            assert failure(scorer, mode).status_code == 422


@pytest.mark.skipif(not hasattr(socket, "TCP_CORK"), reason="two records cannot be sent as one")
def test_nor_in_a_tls_record_of_its_own(
    service: Service, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) as connection:
                    while connection.recv(65536):
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
                        connection.sendall(answer(service, 0.1, 0.2))
                        connection.sendall(answer(service, 0.8, 0.9))
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with service.scorer(base_url=url, timeout=20, max_retries=0) as scorer:
            for query in ("one", "two", "three"):
                assert run(scorer, mode, query).scores == (0.1, 0.2)
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        thread.join()


def test_what_is_looked_at_in_a_connection_is_there(
    scorer: HttpScorer, server: ScriptedServer, mode: str
) -> None:
    """The private parts of httpx and httpcore, without which unread bytes go unnoticed."""
    run(scorer, mode, QUERY, TEXTS)
    client = scorer._connections._client
    assert client is not None
    (connection,) = client.http._transport._pool.connections  # type: ignore[attr-defined]
    assert list(client.http._mounts) == []
    state = connection._connection._h11_state
    assert state.trailing_data == (b"", False)
    assert connection._connection._network_stream.get_extra_info("is_readable") is False


def test_a_hundred_calls_take_one_connection(scorer: HttpScorer, server: ScriptedServer) -> None:
    for _ in range(50):
        scorer.score(QUERY, TEXTS)
    for _ in range(5):
        asyncio.run(several(scorer, 10))
    assert len({request.port for request in server.requests}) == 1


async def several(scorer: HttpScorer, count: int) -> None:
    for _ in range(count):
        await scorer.ascore(QUERY, TEXTS)


def test_no_cookie_is_kept(
    service: Service, scorer: HttpScorer, server: ScriptedServer, mode: str
) -> None:
    def respond(request: Request) -> Reply:
        cookie = f"session{len(server.requests)}={'x' * 1000}; Path=/"
        return Reply(service.answer(request).body, headers={"Set-Cookie": cookie})

    server.script(*[respond] * 5)
    for _ in range(5):
        assert run(scorer, mode, QUERY, TEXTS).scores == SCORES
    assert all("cookie" not in request.headers for request in server.requests)


SLOW = {
    "nothing": (b"", None),
    "headers in drops": (HEAD + b"X-Drop: drop\r\n" * 900, 4),
    "early answers in drops": (CONTINUE * 900, len(CONTINUE)),
    "a flood of early answers": (CONTINUE * 40_000, None),
    "chunks in drops": (CHUNKED + b"1\r\n \r\n" * 900, 6),
    "trailers in drops": (CHUNKED + b"1\r\n \r\n0\r\n" + b"X-Drop: drop\r\n" * 900, 6),
    "a chunk's extension in drops": (CHUNKED + b"1;" + b"drop=drop;" * 900, 5),
    "a long body in drops": (HEAD + b"Content-Length: 9999\r\n\r\n" + b" " * 9999, 8),
}


@pytest.mark.parametrize("fault", SLOW)
def test_one_limit_holds_for_the_whole_attempt(service: Service, mode: str, fault: str) -> None:
    content, piece = SLOW[fault]
    with RawServer(content, piece) as server:
        scorer = service.scorer(base_url=server.url, timeout=0.2, max_retries=0)
        started = time.monotonic()
        error = failure(scorer, mode)
        assert time.monotonic() - started < 5
    assert isinstance(error, DeadlineExceeded)
    assert error.retryable


def test_nor_may_a_handshake_take_longer(service: Service, mode: str) -> None:
    with RawServer(b"") as server:
        url = server.url.replace("http:", "https:")
        error = failure(service.scorer(base_url=url, timeout=0.2, max_retries=0), mode)
    assert isinstance(error, DeadlineExceeded)


@pytest.fixture
def hung_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Name look-ups that last until the test ends, but for addresses."""
    found, ended = socket.getaddrinfo, threading.Event()

    def look_up(host: Any, *others: Any, **options: Any) -> object:
        if "lost.example" in str(host):
            ended.wait(60)
        return found(host, *others, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield
    ended.set()


@pytest.mark.usefixtures("hung_names")
def test_hung_name_look_ups_end_in_time_and_hold_up_nobody(
    service: Service, server: ScriptedServer
) -> None:
    lost = service.scorer(base_url="https://lost.example", timeout=0.2, max_retries=0)
    standing_in = Deadline(Fallback(lost, OverlapScorer(), failures=1000), 60)
    local = Deadline(load_scorer("nano"), 60)
    local.load()

    def ask(number: int) -> Scoring:
        asked = (standing_in, service.scorer(), local, standing_in)[number % 4]
        return asked.score("a", ["a", f"b {number}"])

    started = time.monotonic()
    with ThreadPoolExecutor(80) as pool:  # more than look-ups of one name at a time
        scorings = list(pool.map(ask, range(160)))
    assert time.monotonic() - started < 20
    assert all(None not in scoring.scores for scoring in scorings)
    assert {scoring.causes for scoring in scorings} == {(), ("DeadlineExceeded",)}


@pytest.mark.usefixtures("hung_names")
def test_a_hung_look_up_can_be_cancelled(service: Service, server: ScriptedServer) -> None:
    lost = service.scorer(base_url="https://lost.example", timeout=60)
    scoring = Deadline(lost, 0.1).score("a", ["a"])
    assert scoring.causes == ("deadline",)
    assert service.scorer().score("a", ["a"]).scores == (1.0,)
