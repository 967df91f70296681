"""Limits of an answer, and its scores, which are matched to the texts by their index."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pytest

from rerank_core import HttpScorer, MalformedResponseError, NonFiniteScoreError, ScorerError
from rerank_core.testing import Reply, Request, ScriptedServer
from support.cohere_runs import failure, run
from support.remote import Service


def one(score: Any = 0.5, index: Any = 1) -> dict[str, Any]:
    return {"index": index, "score": score}


@pytest.mark.parametrize(
    ("results", "kind", "said"),
    [
        ([], MalformedResponseError, "0 scores came back for 2 texts"),
        ([one(index=0)], MalformedResponseError, "first without one is 1"),
        ([one(), one()], MalformedResponseError, "index 1 came back twice"),
        ([one(index=0), one(index=2)], MalformedResponseError, "index 2"),
        ([one(index=0), one(index=-1)], MalformedResponseError, "index -1"),
        ([one(index=None)], MalformedResponseError, "index is None"),
        ([one(index="x")], MalformedResponseError, "index is 'x'"),
        ([{"score": 0.5}], MalformedResponseError, "index is"),
        ([{"index": 0}], MalformedResponseError, "score of text 0 is"),
        ([one(None)], MalformedResponseError, "score of text 1 is None"),
        ([one("high")], MalformedResponseError, "score of text 1 is 'high'"),
        ([one(7.25)], MalformedResponseError, "outside 0 to 1"),
        ([one(-0.1)], MalformedResponseError, "outside 0 to 1"),
        ([one(float("nan"))], NonFiniteScoreError, "is nan"),
        ([one(float("inf"))], NonFiniteScoreError, "is inf"),
    ],
)
def test_scores_that_do_not_fit_are_refused(
    service: Service,
    mode: str,
    results: list[dict[str, Any]],
    kind: type[ScorerError],
    said: str,
) -> None:
    service.server.script(Reply(service.body(results), headers={"X-Request-Id": "r-1"}))
    error = failure(service.scorer(), mode)
    assert type(error) is kind
    assert said in str(error)
    assert error.request_id == "r-1"
    assert not error.retryable
    assert len(service.server.requests) == 1


def test_scores_are_matched_by_index(service: Service, mode: str) -> None:
    results = [one(0.25, index=2), one(0.75, index=0), one(1, index=1)]
    service.server.script(Reply(service.body(results)))
    assert run(service.scorer(), mode, "q", ["a", "b", "c"]).scores == (0.75, 1.0, 0.25)


@pytest.mark.parametrize(
    ("body", "headers", "limit"),
    [
        (b" " * (2**26 + 1), {}, "64 MiB"),
        # Compressed, it is measured as it comes: what it grows to would fill the memory first.
        (gzip.compress(random.Random(0).randbytes(2**20)), {"Content-Encoding": "gzip"}, "1 MiB"),
    ],
)
def test_an_answer_too_large_is_not_read_to_its_end(
    scorer: HttpScorer,
    server: ScriptedServer,
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
    service: Service, scorer: HttpScorer, server: ScriptedServer, mode: str
) -> None:
    def respond(request: Request) -> Reply:
        body = gzip.compress(json.dumps(service.answer(request).body).encode())
        return Reply(body, headers={"Content-Encoding": "gzip"})

    server.script(respond)
    assert run(scorer, mode).scores == (1.0, 0.0)
    assert server.requests[0].headers["accept-encoding"] == "identity"
