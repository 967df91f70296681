"""Cohere's models at other clouds, through the SDK's own clients for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import cohere
import pytest

from rerank_core import AuthenticationError, CohereScorer, RateLimitError, rerank
from support.cohere_runs import KEY, QUERY, SCORES, TEXTS, failure, run
from support.cohere_server import CohereServer, Reply, Request, answer

SECRET = "aws-secret-0123456789/abcdefghij"


def invoked(request: Request) -> Reply:
    """Answer as the clouds of Amazon do: the model is in the path, and the tokens in the head."""
    results = answer(request).body["results"]
    return Reply({"results": results}, headers={"X-Amzn-Bedrock-Input-Token-Count": "42"})


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[CohereServer]:
    pytest.importorskip("boto3", reason="the SDK signs requests to Amazon with boto3")
    from cohere import aws_client

    found = aws_client.get_url
    with CohereServer(respond=invoked) as server:

        def here(**options: Any) -> str:
            return server.url + urlsplit(found(**options)).path

        monkeypatch.setattr(aws_client, "get_url", here)
        yield server


@pytest.mark.parametrize(
    ("make", "model", "path"),
    [
        ("BedrockClientV2", "cohere.rerank-v3-5:0", "/model/cohere.rerank-v3-5:0/invoke"),
        ("SagemakerClientV2", "rerank-endpoint", "/endpoints/rerank-endpoint/invocations"),
    ],
)
def test_amazon_is_asked_through_a_ready_client(
    amazon: CohereServer, mode: str, make: str, model: str, path: str
) -> None:
    make_client = getattr(cohere, make)
    keys = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": SECRET}
    with make_client(aws_region="us-east-1", **keys) as client:
        scorer = CohereScorer(model, client=client, prices={"million_tokens": 1_000_000})
        scoring = run(scorer, mode, QUERY, TEXTS)
        assert scoring.scores == SCORES
        assert (scoring.usage.tokens, scoring.usage.requests, scoring.usage.cost) == (42, 1, 42)
        [request] = amazon.requests
        assert request.path == path
        assert request.body == {"query": QUERY, "documents": TEXTS[:4], "api_version": 2}
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEX")
        amazon.script(*[Reply({"message": "slow down"}, status=429)] * 3)
        assert type(failure(scorer, mode)) is RateLimitError
        assert len(amazon.requests) == 4
        amazon.script(Reply({"message": "not with these"}, status=403))
        error = failure(scorer, mode)
    assert type(error) is AuthenticationError
    assert "the ready client's credentials" in str(error)
    assert SECRET not in f"{error!s} {error.__cause__!r} {scorer!r}"


def test_azure_is_an_address_and_a_key(mode: str) -> None:
    def respond(request: Request) -> Reply:
        if request.path != "/deployment/v2/rerank":
            return Reply({"error": {"code": "404", "message": "Resource not found"}}, status=404)
        return answer(request)

    with CohereServer(respond=respond) as server:
        address = f"{server.url}/deployment"
        scorer = CohereScorer("Cohere-rerank-v4.0-fast", base_url=address, api_key=KEY)
        assert run(scorer, mode, QUERY, TEXTS).scores == SCORES
        assert rerank(QUERY, TEXTS, scorer)[0].text == QUERY
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
