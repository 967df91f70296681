"""A user's own provider, built on HttpScorer: two methods, and everything else comes with them."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from rerank_core import (
    AuthenticationError,
    ConfigurationError,
    HttpScorer,
    MalformedResponseError,
    Scale,
    Scoring,
    ServiceError,
    Usage,
)
from rerank_core.testing import Reply, Request, ScriptedServer
from rerank_core.testing._scorers import overlap
from support.cohere_runs import KEY, QUERY, SCORES, TEXTS, failure, run

if TYPE_CHECKING:
    import httpx


class ExampleScorer(HttpScorer):
    """Scores with the service of this example."""

    provider = "example"
    default_url = "https://rerank.example.com"
    key_variables = ("EXAMPLE_API_KEY",)
    max_texts = 3

    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        body = {"model": self.name, "query": query, "documents": texts, "top_k": len(texts)}
        return "/v1/rerank", body

    def _read(self, response: httpx.Response, texts: Sequence[str]) -> Scoring:
        body = response.json()
        scores = self._match(body["data"], texts, score="relevance_score")
        return Scoring(scores, Usage(tokens=body["usage"]["total_tokens"]))


class TunedScorer(ExampleScorer):
    """One with an argument of its own, whose service wants the key in another header."""

    def __init__(self, model: str, *, instruction: str | None = None, **options: Any) -> None:
        super().__init__(model, **options)
        self._instruction = instruction

    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        path, body = super()._request(query, texts)
        return path, {**body, "instruction": self._instruction}

    def _headers(self, key: str) -> dict[str, str]:
        return {"Api-Key": key}


def answer(request: Request) -> Reply:
    texts = request.body["documents"]
    data = [
        {"index": index, "relevance_score": overlap(request.body["query"], text)}
        for index, text in enumerate(texts)
    ]
    data.sort(key=lambda result: -float(result["relevance_score"]))
    return Reply({"data": data, "usage": {"total_tokens": 10 * len(texts)}})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(respond=answer) as running:
        yield running


@pytest.fixture
def scorer(server: ScriptedServer) -> ExampleScorer:
    return ExampleScorer("rerank-2", api_key=KEY, base_url=server.url)


def test_it_scores(scorer: ExampleScorer, server: ScriptedServer, mode: str) -> None:
    scoring = run(scorer, mode, QUERY, TEXTS[:3])
    assert scoring.scores == SCORES[:3]
    assert (scoring.usage.pairs, scoring.usage.requests, scoring.usage.tokens) == (3, 1, 30)
    assert scorer.scale is Scale.UNIT
    [request] = server.requests
    assert request.path == "/v1/rerank"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "rerank-2",
        "query": QUERY,
        "documents": TEXTS[:3],
        "top_k": 3,
    }


def test_texts_are_split(scorer: ExampleScorer, server: ScriptedServer, mode: str) -> None:
    scoring = run(scorer, mode, QUERY, TEXTS)
    assert scoring.scores == SCORES
    assert (scoring.usage.pairs, scoring.usage.requests, scoring.usage.tokens) == (4, 2, 40)
    assert [len(request.body["documents"]) for request in server.requests] == [2, 2]


def test_a_passing_failure_is_retried(
    scorer: ExampleScorer, server: ScriptedServer, mode: str
) -> None:
    server.script(Reply({"detail": "busy"}, status=503), Reply(drop=True))
    scoring = run(scorer, mode)
    assert scoring.scores == (1.0, 0.0)
    assert scoring.usage.requests == 3


def test_a_refusal_has_a_hint(scorer: ExampleScorer, server: ScriptedServer, mode: str) -> None:
    server.script(Reply({"detail": f"no {KEY}"}, status=404))
    error = failure(scorer, mode)
    assert type(error) is ServiceError
    assert "offers the model 'rerank-2'" in str(error)
    assert "'/v1/rerank' is added to it" in str(error)
    assert KEY not in f"{error!s} {error.__cause__!r}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"data": [{"index": 2, "relevance_score": 1}]}, "index 2 came back for 2 texts"),
        ({"data": [{"index": 0, "relevance_score": 1}]}, "first without one is 1"),
        ({"data": [{"index": 0, "relevance_score": 7}]}, "outside 0 to 1"),
        ({"data": None}, "not a list"),
        ({}, "cannot be read (KeyError"),
        ([], "cannot be read (TypeError"),
        (b"{", "cannot be read (JSONDecodeError"),
    ],
)
def test_an_odd_answer_is_refused(
    scorer: ExampleScorer, server: ScriptedServer, mode: str, body: Any, said: str
) -> None:
    server.script(Reply(body))
    error = failure(scorer, mode)
    assert type(error) is MalformedResponseError
    assert said in str(error)


@pytest.mark.parametrize("scores", [(), (0.5,), (0.5, None), (0.5, 0.5, 0.5)])
def test_a_text_without_a_score_is_an_error(
    server: ScriptedServer, mode: str, scores: tuple[float | None, ...]
) -> None:
    class Careless(ExampleScorer):
        def _read(self, response: httpx.Response, texts: Sequence[str]) -> Scoring:
            return Scoring(scores)

    error = failure(Careless("m", base_url=server.url), mode)
    assert type(error) is MalformedResponseError
    assert "scores came back for 2 texts" in str(error)


def test_the_key(server: ScriptedServer, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="plain http"):
        ExampleScorer(api_key=KEY, base_url="http://rerank.example.com")
    with pytest.raises(AuthenticationError, match="EXAMPLE_API_KEY"):
        run(ExampleScorer(), mode)  # the provider's own address needs one
    monkeypatch.setenv("EXAMPLE_API_KEY", KEY)
    with pytest.raises(ConfigurationError, match="plain http"):
        run(ExampleScorer(base_url="http://rerank.example.com"), mode)
    with pytest.raises(ConfigurationError, match="plain http"):
        run(TunedScorer("m", base_url="http://rerank.example.com"), mode)
    run(TunedScorer("m", base_url=server.url), mode)
    [request] = server.requests
    assert request.headers["api-key"] == KEY
    assert "authorization" not in request.headers


def test_options_prices_and_scale(server: ScriptedServer, mode: str) -> None:
    options: dict[str, Any] = {
        "base_url": server.url,
        "raw_scores": True,
        "prices": {"million_tokens": 50_000},
    }
    scorer = TunedScorer("m", instruction="find code", timeout=5, **options)
    assert scorer.scale is Scale.LOGIT
    assert run(scorer, mode).usage.cost == 1.0
    assert server.requests[0].body["instruction"] == "find code"
    config: dict[str, Any] = {
        "type": "example",
        "model": "m",
        "instruction": "find code",
        "timeout": 5,
        **options,
    }
    assert scorer.to_config() == config
    again = TunedScorer(**{name: value for name, value in config.items() if name != "type"})
    assert again.fingerprint == scorer.fingerprint
    assert TunedScorer("m", **options).fingerprint != scorer.fingerprint
    assert TunedScorer("m").to_config() == {"type": "example", "model": "m"}
    with pytest.raises(ConfigurationError, match="timeout"):
        TunedScorer("m", timeout=0)


def test_it_travels_and_closes(server: ScriptedServer) -> None:
    with ExampleScorer("m", api_key=False, base_url=server.url) as scorer:
        assert scorer.score("a", ["a"]).scores == (1.0,)
        copied = pickle.loads(pickle.dumps(scorer))
    assert copied.score("a", ["a"]).scores == (1.0,)
    for _ in range(2):
        assert asyncio.run(copied.ascore("a", ["a"])).scores == (1.0,)
    assert len({request.port for request in server.requests}) == 2


def test_without_a_default_address_one_must_be_given() -> None:
    class Local(ExampleScorer):
        default_url = ""

    with pytest.raises(ConfigurationError, match="base_url"):
        Local("m")
