"""CohereScorer's bad days: every failure becomes one of our errors, with the original chained."""

from __future__ import annotations

import gzip
import json
import logging
import random
import threading
import traceback
from typing import Any

import cohere
import httpx
import pytest
from cohere.core import ApiError

from rerank_core import (
    AuthenticationError,
    CohereScorer,
    DeadlineExceeded,
    MalformedResponseError,
    NonFiniteScoreError,
    RateLimitError,
    ScorerError,
    ServiceError,
)
from support.cohere_runs import KEY, failure, numbered, run
from support.cohere_server import CohereServer, Reply, Request, answer

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
    scorer: CohereScorer,
    server: CohereServer,
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
    assert isinstance(error.__cause__, ApiError)
    assert len(server.requests) == attempts
    assert ("bad" in str(error)) == (b"bad" in str(reply.body).encode())
    assert "proxy" not in str(error)  # no HTML page in a message


def test_error_details_reach_the_user(
    scorer: CohereScorer, server: CohereServer, mode: str
) -> None:
    headers = {"X-Debug-Trace-Id": "trace-7"}
    server.script(Reply({"message": "model 'x' not found " * 40}, status=404, headers=headers))
    error = failure(scorer, mode)
    assert error.request_id == "trace-7"
    assert "model 'x' not found" in str(error)
    assert len(str(error)) < 500
    assert error.hint is not None
    assert "rerank-v3.5" in error.hint
    server.script(Reply({"id": "body-8", "detail": "no"}, status=400))
    assert failure(scorer, mode).request_id == "body-8"


def test_a_slow_service_exceeds_the_deadline(server: CohereServer, mode: str) -> None:
    server.script(*[Reply(wait_for=threading.Event())] * 2)
    scorer = CohereScorer("m", api_key=KEY, base_url=server.url, timeout=0.05, max_retries=1)
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
    scorer: CohereScorer, server: CohereServer, mode: str, reply: Reply
) -> None:
    server.script(*[reply] * 3)
    error = failure(scorer, mode)
    assert type(error) is ServiceError
    assert error.retryable
    assert isinstance(error.__cause__, httpx.TransportError)
    assert len(server.requests) == 3


def test_nobody_listens(mode: str) -> None:
    with CohereServer() as gone:
        pass
    error = failure(CohereScorer("m", api_key=KEY, base_url=gone.url), mode)
    assert isinstance(error.__cause__, httpx.ConnectError)
    assert error.retryable


def one(score: Any = 0.5, index: Any = 1) -> dict[str, Any]:
    return {"index": index, "relevance_score": score}


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b'{"results": [', MalformedResponseError, "not valid JSON"),
        (b"", MalformedResponseError, "not valid JSON"),
        (b"\xff\xfe{}", MalformedResponseError, ""),
        (HTML, MalformedResponseError, "not valid JSON"),
        ({}, MalformedResponseError, "not a list"),
        (None, MalformedResponseError, "not a list"),
        ([], MalformedResponseError, "cannot be read"),
        ("text", MalformedResponseError, "not valid JSON"),
        (7, MalformedResponseError, ""),
        ({"results": None}, MalformedResponseError, "not a list"),
        ({"results": {"0": 1}}, MalformedResponseError, "not a list"),
        ({"results": ["x", "y"]}, MalformedResponseError, ""),
        ({"results": []}, MalformedResponseError, "0 scores came back for 2 texts"),
        ({"results": [one(index=0)]}, MalformedResponseError, "first without one is 1"),
        ({"results": [one(), one()]}, MalformedResponseError, "index 1 came back twice"),
        ({"results": [one(index=0), one(index=2)]}, MalformedResponseError, "index 2"),
        ({"results": [one(index=0), one(index=-1)]}, MalformedResponseError, "index -1"),
        ({"results": [one(index=None)]}, MalformedResponseError, "index is None"),
        ({"results": [one(index="x")]}, MalformedResponseError, "index is 'x'"),
        ({"results": [{"relevance_score": 0.5}]}, MalformedResponseError, "index is"),
        ({"results": [{"index": 0}]}, MalformedResponseError, "score of text 0 is"),
        ({"results": [one(None)]}, MalformedResponseError, "score of text 1 is None"),
        ({"results": [one("high")]}, MalformedResponseError, "score of text 1 is 'high'"),
        ({"results": [one(7.25)]}, MalformedResponseError, "outside 0 to 1"),
        ({"results": [one(-0.1)]}, MalformedResponseError, "outside 0 to 1"),
        ({"results": [one(float("nan"))]}, NonFiniteScoreError, "is nan"),
        ({"results": [one(float("inf"))]}, NonFiniteScoreError, "is inf"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    scorer: CohereScorer,
    server: CohereServer,
    mode: str,
    body: Any,
    kind: type[ScorerError],
    said: str,
) -> None:
    server.script(Reply(body, headers={"X-Request-Id": "r-1"}))
    error = failure(scorer, mode)
    assert type(error) is kind
    assert said in str(error)
    assert error.request_id == "r-1"
    assert not error.retryable
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "span",
    [
        {"start": 0, "end": 9},
        {"start": -1, "end": 1},
        {"start": 1, "end": 1},
        {"start": 0},
        {"end": 1},
    ],
)
def test_a_span_outside_its_text_is_refused(
    scorer: CohereScorer, server: CohereServer, span: dict[str, int]
) -> None:
    # Read from any answer, so that it shows with SDKs that cannot ask for spans, too.
    server.script(Reply({"results": [one(index=0) | {"relevant_spans": [span | {"score": 1}]}]}))
    with pytest.raises(MalformedResponseError, match="a span of text 0"):
        scorer.score("a", ["abc"])


def test_a_ready_clients_failures_are_mapped_too(server: CohereServer) -> None:
    server.script(Reply({"message": f"no key like {KEY}"}, status=401))
    with cohere.ClientV2(KEY, base_url=server.url) as client:
        error = failure(CohereScorer("m", client=client), "score")
    assert isinstance(error, AuthenticationError)
    assert KEY not in str(error)
    assert len(server.requests) == 1


def test_a_ready_client_is_not_waited_for_longer(server: CohereServer) -> None:
    server.script(Reply(wait_for=threading.Event()))
    with cohere.ClientV2(KEY, base_url=server.url) as client:
        error = failure(CohereScorer("m", client=client, timeout=0.05, max_retries=0), "score")
    assert isinstance(error, DeadlineExceeded)


@pytest.mark.parametrize("status", [401, 422, 500, 502])
def test_a_key_that_the_service_echoes_is_removed_everywhere(
    scorer: CohereScorer,
    server: CohereServer,
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


@pytest.mark.parametrize(
    ("body", "headers", "limit"),
    [
        (b" " * (2**26 + 1), {}, "64 MiB"),
        # Compressed, it is measured as it comes: what it grows to would fill the memory first.
        (gzip.compress(random.Random(0).randbytes(2**20)), {"Content-Encoding": "gzip"}, "1 MiB"),
    ],
)
def test_an_answer_too_large_is_not_read_to_its_end(
    scorer: CohereScorer,
    server: CohereServer,
    mode: str,
    body: bytes,
    headers: dict[str, str],
    limit: str,
) -> None:
    server.script(Reply(body, headers=headers))
    error = failure(scorer, mode)
    assert type(error) is MalformedResponseError
    assert f"the answer is over {limit}" in str(error)
    assert run(scorer, mode).scores == (1.0, 0.0)


def test_a_compressed_answer_is_read_though_none_is_asked_for(
    scorer: CohereScorer, server: CohereServer, mode: str
) -> None:
    def respond(request: Request) -> Reply:
        body = gzip.compress(json.dumps(answer(request).body).encode())
        return Reply(body, headers={"Content-Encoding": "gzip"})

    server.script(respond)
    assert run(scorer, mode).scores == (1.0, 0.0)
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_an_error_says_what_was_spent(scorer: CohereScorer, server: CohereServer) -> None:
    server.script(answer, *[Reply(status=503)] * 3)
    query, texts, _ = numbered(2000)
    with pytest.raises(ServiceError) as caught:
        scorer.score(query, texts)
    usage = caught.value.usage
    assert usage is not None
    assert (usage.requests, usage.pairs) == (4, 1000)
    assert usage.billed_units["search_units"] >= 1


def test_scores_arrive_after_an_earlier_failure(
    scorer: CohereScorer, server: CohereServer, mode: str
) -> None:
    server.script(Reply({"message": "bad"}, status=400), answer)
    failure(scorer, mode)
    assert run(scorer, mode).scores == (1.0, 0.0)
