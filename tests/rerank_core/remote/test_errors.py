"""Every failure becomes one of our errors, with the original chained."""

from __future__ import annotations

import logging
import threading
import traceback

import httpx
import pytest

from rerank_core import (
    AuthenticationError,
    DeadlineExceeded,
    HttpScorer,
    RateLimitError,
    ScorerError,
    ServiceError,
)
from rerank_core.testing import Reply, ScriptedServer
from support.cohere_runs import KEY, failure, numbered, run
from support.remote import SERVICES, Service

HTML = "<html><body>Bad Gateway, said the proxy</body></html>"


@pytest.mark.parametrize(
    ("reply", "kind", "attempts"),
    [
        (Reply({"message": "bad"}, status=400), ServiceError, 1),
        (Reply({"message": "bad"}, status=401), AuthenticationError, 1),
        (Reply({"message": "bad"}, status=402), ServiceError, 1),
        (Reply({"message": "bad"}, status=403), AuthenticationError, 1),
        (Reply({"message": "bad"}, status=404), ServiceError, 1),
        (Reply({"message": "bad"}, status=408), ServiceError, 3),
        (Reply({"message": "bad"}, status=409), ServiceError, 3),
        (Reply({"message": "bad"}, status=422), ServiceError, 1),
        (Reply({"message": "bad"}, status=429), RateLimitError, 3),
        (Reply({"message": "bad"}, status=498), ServiceError, 1),
        (Reply({"message": "bad"}, status=500), ServiceError, 3),
        (Reply(HTML, status=502), ServiceError, 3),
        (Reply(HTML, status=503), ServiceError, 3),
        (Reply(b"", status=504), ServiceError, 3),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else None,
)
def test_every_status_has_its_error(
    scorer: HttpScorer,
    server: ScriptedServer,
    mode: str,
    reply: Reply,
    kind: type[ScorerError],
    attempts: int,
) -> None:
    server.script(*[reply] * attempts)
    error = failure(scorer, mode)
    assert type(error) is kind
    assert error.status_code == reply.status
    assert error.retryable == (attempts > 1)
    assert error.__cause__ is not None
    assert len(server.requests) == attempts
    assert ("bad" in str(error)) == (b"bad" in str(reply.body).encode())
    assert "proxy" not in str(error)  # no HTML page in a message


def test_error_details_reach_the_user(
    scorer: HttpScorer, server: ScriptedServer, mode: str
) -> None:
    headers = {"X-Debug-Trace-Id": "trace-7"}
    server.script(Reply({"message": "model 'x' not found " * 40}, status=404, headers=headers))
    error = failure(scorer, mode)
    assert error.request_id == "trace-7"
    assert "model 'x' not found" in str(error)
    assert len(str(error)) < 500
    assert error.hint is not None
    server.script(Reply({"id": "body-8", "detail": "no"}, status=400))
    assert failure(scorer, mode).request_id == "body-8"


def test_a_slow_service_exceeds_the_deadline(
    service: Service, server: ScriptedServer, mode: str
) -> None:
    server.script(*[Reply(wait_for=threading.Event())] * 2)
    scorer = service.scorer(timeout=0.05, max_retries=1)
    error = failure(scorer, mode)
    assert isinstance(error, DeadlineExceeded)
    assert error.retryable
    assert isinstance(error.__cause__, httpx.TimeoutException)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply(drop=True),
        Reply(b'{"results": [', headers={"Content-Length": "1000"}),
    ],
    ids=["no answer", "half an answer"],
)
def test_a_dropped_connection(
    scorer: HttpScorer, server: ScriptedServer, mode: str, reply: Reply
) -> None:
    server.script(*[reply] * 3)
    error = failure(scorer, mode)
    assert type(error) is ServiceError
    assert error.retryable
    assert isinstance(error.__cause__, httpx.TransportError)
    assert len(server.requests) == 3


def test_nobody_listens(service: Service, mode: str) -> None:
    with SERVICES[service.provider]() as gone:
        pass
    error = failure(gone.scorer(), mode)
    assert isinstance(error.__cause__, httpx.ConnectError)
    assert error.retryable


@pytest.mark.parametrize("status", [401, 422, 500, 502])
def test_a_key_that_the_service_echoes_is_removed_everywhere(
    scorer: HttpScorer,
    server: ScriptedServer,
    mode: str,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "rerank_core")
    caplog.set_level(logging.DEBUG, "httpx")
    padding = "x" * 182  # so that the key straddles the place where messages are cut
    body = {"message": f"{padding} {KEY}", "error": {"key": KEY}, "id": KEY}
    server.script(*[Reply(body, status=status, headers={"X-Request-Id": KEY})] * 3)
    error = failure(scorer, mode)
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.__cause__)
    logged = " ".join(str(record.__dict__) for record in caplog.records)
    for secret in (KEY, KEY[:12]):
        assert secret not in shown
        assert secret not in logged
    assert caplog.records


def test_an_error_says_what_was_spent(
    service: Service, scorer: HttpScorer, server: ScriptedServer
) -> None:
    server.script(service.answer, *[Reply(status=503)] * 3)
    query, texts, _ = numbered(2000)
    with pytest.raises(ServiceError) as caught:
        scorer.score(query, texts)
    usage = caught.value.usage
    assert usage is not None
    assert (usage.requests, usage.pairs) == (4, 1000)


def test_scores_arrive_after_an_earlier_failure(
    scorer: HttpScorer, server: ScriptedServer, mode: str
) -> None:
    server.script(Reply({"message": "bad"}, status=400))
    failure(scorer, mode)
    assert run(scorer, mode).scores == (1.0, 0.0)
