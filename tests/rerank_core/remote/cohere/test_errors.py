"""Answers of Cohere's shape that do not fit, and errors of its SDK."""

from __future__ import annotations

from typing import Any

import pytest
from cohere.core import ApiError

from rerank_core import (
    CohereScorer,
    MalformedResponseError,
    NonFiniteScoreError,
    ScorerError,
    ServiceError,
)
from support.cohere_runs import failure, numbered
from support.cohere_server import CohereServer, Reply, answer

HTML = "<html><body>Bad Gateway, said the proxy</body></html>"


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


def test_the_error_of_the_sdk_is_chained(
    scorer: CohereScorer, server: CohereServer, mode: str
) -> None:
    server.script(Reply({"message": "model not found"}, status=404))
    error = failure(scorer, mode)
    assert isinstance(error.__cause__, ApiError)
    assert error.hint is not None
    assert "rerank-v3.5" in error.hint


def test_an_error_holds_the_units_that_were_billed(
    scorer: CohereScorer, server: CohereServer
) -> None:
    server.script(answer, *[Reply(status=503)] * 3)
    query, texts, _ = numbered(2000)
    with pytest.raises(ServiceError) as caught:
        scorer.score(query, texts)
    assert caught.value.usage is not None
    assert caught.value.usage.billed_units["search_units"] >= 1
