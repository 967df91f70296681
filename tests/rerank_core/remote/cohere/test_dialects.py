"""CohereScorer against everybody else who speaks like Cohere: paths, shapes, scales, usage."""

from __future__ import annotations

import pickle
from typing import Any

import cohere
import pytest

from rerank_core import CohereScorer, ConfigurationError, MalformedResponseError, Scale, load_scorer
from rerank_core.testing import Request, ScriptedServer
from support.cohere_runs import KEY, QUERY, SCORES, TEXTS, failure, run
from support.cohere_server import CohereServer, Reply, answer
from support.dialects import DIALECTS, Dialect

SPOKEN = [(dialect, path) for dialect in DIALECTS for path in dialect.paths]


@pytest.mark.parametrize(
    ("dialect", "path"), SPOKEN, ids=[f"{dialect.name}{path}" for dialect, path in SPOKEN]
)
@pytest.mark.parametrize("prefix", ["", "/gateway"])
def test_every_dialect_is_understood(dialect: Dialect, path: str, prefix: str, mode: str) -> None:
    def respond(request: Request) -> Reply:
        assert request.path.startswith(prefix)
        return dialect.answer(Request(path, request.headers, request.body, request.port))

    with ScriptedServer(respond=respond) as server:
        scorer = CohereScorer("m", base_url=server.url + prefix, path=path)
        scoring = run(scorer, mode, QUERY, TEXTS)
    assert scoring.scores == SCORES
    assert scoring.usage.tokens == dialect.tokens
    assert scoring.usage.billed_units == dialect.billed
    assert (scoring.usage.pairs, scoring.usage.requests) == (4, 1)
    [request] = server.requests
    assert request.path == prefix + path
    assert request.body == {"model": "m", "query": QUERY, "documents": TEXTS[:4]}
    assert "authorization" not in request.headers


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_wrong_path_is_explained(dialect: Dialect, mode: str) -> None:
    with ScriptedServer(respond=dialect.answer) as server:
        error = failure(CohereScorer("m", base_url=server.url, path="/rank"), mode)
    assert error.status_code == 404
    assert "'/rank' is added to it" in str(error)


@pytest.mark.parametrize(
    "address", ["/exactly/here", "/v1/rerank?api-version=2024-05-01&region=eu", "/ends/with/", ""]
)
def test_an_exact_address_is_used_as_it_is(address: str, mode: str) -> None:
    with CohereServer() as server:
        scorer = CohereScorer("m", api_key=KEY, base_url=server.url + address, path="")
        assert run(scorer, mode, QUERY, TEXTS).scores == SCORES
        assert server.requests[0].path == (address or "/")
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert server.requests[0].headers["host"] == server.url.removeprefix("http://")
        server.script(Reply(b"", status=404))
        assert "base_url: it is used as it is" in str(failure(scorer, mode))


def test_the_address_travels(server: CohereServer, mode: str) -> None:
    scorer = CohereScorer(
        "m",
        base_url=server.url,
        path="/v1/rerank",
        raw_scores=True,
        extra_body={"return_documents": False},
    )
    for other in (load_scorer(scorer.to_config()), pickle.loads(pickle.dumps(scorer))):
        assert run(other, mode, QUERY, TEXTS).scores == SCORES
        assert other.fingerprint == scorer.fingerprint
        assert other.scale is Scale.LOGIT
    assert {request.path for request in server.requests} == {"/v1/rerank"}
    assert all(request.body["return_documents"] is False for request in server.requests)
    assert repr(scorer) == f"CohereScorer('m', base_url={server.url!r}, path='/v1/rerank')"


def test_the_address_from_the_environment_takes_a_path(
    server: CohereServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO_API_URL", server.url)
    CohereScorer("m", path="/rerank").score("a", ["a"])
    assert server.requests[0].path == "/rerank"


def test_what_changes_scores_changes_the_fingerprint() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"path": "/rerank"},
        {"path": ""},
        {"raw_scores": True},
        {"extra_body": {"truncate_prompt_tokens": 128}},
        {"extra_body": {"truncate_prompt_tokens": 256}},
        {"base_url": "http://127.0.0.1:9/v1"},
        {"instruction": "Find the law."},
    ]
    prints = {
        CohereScorer("m", **{"base_url": "http://127.0.0.1:9", **change}).fingerprint
        for change in changes
    }
    assert len(prints) == len(changes)


def test_an_instruction_is_sent_to_a_server_that_takes_it(mode: str) -> None:
    (vllm,) = (dialect for dialect in DIALECTS if dialect.name == "vllm")
    with ScriptedServer(respond=vllm.answer) as server:
        scorer = CohereScorer("m", base_url=server.url, instruction="Prefer the newest law.")
        for same in (scorer, load_scorer(scorer.to_config()), pickle.loads(pickle.dumps(scorer))):
            assert run(same, mode, QUERY, TEXTS).scores == SCORES
            assert same.fingerprint == scorer.fingerprint
    assert all(r.body["instruction"] == "Prefer the newest law." for r in server.requests)
    for refused in ({}, {"base_url": "https://api.cohere.com"}, {"client": cohere.ClientV2(KEY)}):
        with pytest.raises(ConfigurationError, match="Cohere's service takes no instruction"):
            CohereScorer("m", instruction="Prefer the newest law.", **refused)


def logits(request: Request) -> Reply:
    """Infinity's and vLLM's way: logits where they are asked for."""
    reply = answer(request)
    if request.body.get("raw_scores") or request.body.get("use_activation") is False:
        for result in reply.body["results"]:
            result["relevance_score"] = result["relevance_score"] * 20 - 10
    return reply


@pytest.mark.parametrize("asked", [{"raw_scores": True}, {"use_activation": False}])
def test_raw_scores_are_on_the_logit_scale(asked: dict[str, bool], mode: str) -> None:
    with CohereServer(respond=logits) as server:
        raw = CohereScorer("m", base_url=server.url, raw_scores=True, extra_body=asked)
        scoring = run(raw, mode, QUERY, TEXTS)
        assert scoring.scores == pytest.approx((-10 / 3, 10, -10, 10 / 3, None))
        assert raw.scale is Scale.LOGIT
        unaware = CohereScorer("m", base_url=server.url, extra_body=asked)
        assert unaware.scale is Scale.UNIT
        error = failure(unaware, mode)
    assert isinstance(error, MalformedResponseError)
    assert "raw_scores=True" in str(error)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "rerank"}, "path must be"),
        ({"path": "/rerank?x=1"}, "path must be"),
        ({"path": "/re rank"}, "path must be"),
        ({"path": None}, "path must be"),
        ({"path": ""}, "needs base_url"),
        ({"path": "", "base_url": "https://h/x#f"}, "base_url"),
        ({"raw_scores": "yes"}, "raw_scores"),
        ({"extra_body": [1]}, "extra_body must be a mapping"),
        ({"extra_body": {"x": object()}}, "extra_body must be a mapping"),
        ({"extra_body": {"x": float("nan")}}, "extra_body must be a mapping"),
        ({"extra_body": {1: "x"}}, "extra_body must be a mapping"),
        ({"extra_body": {"documents": []}}, "'documents'"),
        ({"extra_body": {"top_n": 3}}, "'top_n'"),
        ({"instruction": " "}, "instruction must be a name such as 'Find the law.'"),
        (
            {"instruction": "a", "extra_body": {"instruction": "b"}, "base_url": "http://h"},
            "instruction is in extra_body, too",
        ),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        CohereScorer("m", **options)
