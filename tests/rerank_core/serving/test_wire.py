"""Both wires, by clients of others and ours."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import cohere
import httpx
import pytest

from rerank_core import CohereScorer, Scale, TeiScorer, load_scorer, rerank

QUERY = "solar panel cost"
Logits: TypeAlias = tuple[float | None, ...]
TEXTS = ["a panel", "solar panel cost", "nothing", "solar cost", ""]


@pytest.fixture(scope="module")
def logits() -> Logits:
    return load_scorer("nano").score(QUERY, TEXTS).scores


def sigmoid(logit: float | None) -> float:
    return 0.0 if logit is None else 1 / (1 + math.exp(-logit))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_coheres_own_sdk(address: str, version: str, logits: Logits) -> None:
    make: Any = cohere.ClientV2 if version == "v2" else cohere.Client
    with httpx.Client() as http:
        client = make("any-key", base_url=address, httpx_client=http)
        answer = client.rerank(model="nano", query=QUERY, documents=TEXTS, top_n=3)
    best = sorted(range(4), key=lambda i: -(logits[i] or 0.0))
    assert [result.index for result in answer.results] == best[:3]
    for result in answer.results:
        assert result.relevance_score == pytest.approx(sigmoid(logits[result.index]), abs=1e-12)
    assert answer.meta.api_version.version == version[1:]
    assert answer.meta.tokens.input_tokens > 0


async def test_coheres_own_async_sdk(address: str) -> None:
    async with cohere.AsyncClientV2("any-key", base_url=address) as client:
        answer = await client.rerank(model="overlap", query=QUERY, documents=TEXTS)
    assert [result.index for result in answer.results] == [1, 3, 0, 2, 4]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_our_cohere_scorer(address: str, path: str, logits: Logits) -> None:
    remote = CohereScorer("nano", base_url=address, path=path, api_key=False)
    scoring = remote.score(QUERY, TEXTS)
    assert scoring.scores == pytest.approx([*map(sigmoid, logits[:4]), None], abs=1e-12)
    here = load_scorer("nano").score(QUERY, TEXTS)
    assert scoring.usage.tokens == here.usage.tokens


def test_our_cohere_scorer_asks_for_logits(address: str, logits: Logits) -> None:
    remote = CohereScorer(
        "nano", base_url=address, api_key=False, raw_scores=True, extra_body={"raw_scores": True}
    )
    assert remote.score(QUERY, TEXTS).scores == pytest.approx(logits)
    assert remote.scale is Scale.LOGIT


@pytest.mark.parametrize("raw", [False, True])
def test_our_tei_scorer(address: str, raw: bool) -> None:
    remote = TeiScorer(address, api_key=False, raw_scores=raw)
    ranking = rerank(QUERY, TEXTS, remote)
    assert [(item.index, item.score) for item in ranking][:2] == [(1, 1.0), (3, 2 / 3)]
    assert ranking.usage.requests == 1


def test_teis_flag_decides_about_the_sigmoid(client: httpx.Client, logits: Logits) -> None:
    body = {"model": "nano", "query": QUERY, "texts": TEXTS[:2], "return_text": True}
    for raw in (False, True):
        response = client.post("/rerank", json={**body, "raw_scores": raw})
        expected = {i: logits[i] if raw else sigmoid(logits[i]) for i in range(2)}
        for rank in response.json():
            assert rank["score"] == pytest.approx(expected[rank["index"]], abs=1e-6)
            assert rank["text"] == TEXTS[rank["index"]]
        assert int(response.headers["x-compute-tokens"]) > 0


def test_a_pair_that_would_be_cut_is_refused_where_tei_was_told_so(client: httpx.Client) -> None:
    body = {"model": "nano", "query": QUERY, "texts": ["word " * 1000]}
    assert client.post("/rerank", json=body).status_code == 200
    response = client.post("/rerank", json={**body, "truncate": False})
    assert response.status_code == 422
    assert "longer than the model reads" in response.json()["error"]
    left = client.post("/rerank", json={**body, "truncation_direction": "Left"})
    assert left.status_code == 422


def test_scores_within_0_and_1_stay_as_they_are(client: httpx.Client) -> None:
    body = {"query": QUERY, "documents": TEXTS}
    results = client.post("/v2/rerank", json=body).json()["results"]
    assert [(r["index"], r["relevance_score"]) for r in results[:3]] == [
        (1, 1.0),
        (3, 2 / 3),
        (0, 1 / 3),
    ]


def test_older_and_other_fields(client: httpx.Client) -> None:
    """Documents as objects (Cohere's version 1), texts sent back (Jina), and fields of nobody."""
    body = {
        "model": "overlap",
        "query": QUERY,
        "documents": [{"text": "a panel", "id": 7}, QUERY],
        "return_documents": True,
        "max_chunks_per_doc": 10,
        "priority": 0,
        "top_n": None,
    }
    answer = client.post("/v1/rerank", json=body).json()
    assert [r["document"]["text"] for r in answer["results"]] == [QUERY, "a panel"]
    assert answer["model"] == "overlap"
    assert answer["usage"]["total_tokens"] == answer["meta"]["tokens"]["input_tokens"]


def test_spans_where_they_are_asked_for_and_known(client: httpx.Client) -> None:
    body: dict[str, Any] = {"model": "spans", "query": "q", "documents": ["abc", "def"]}

    def ask(**wanted: Any) -> Any:
        answer = client.post("/v2/rerank", json={**body, "relevant_spans": wanted}).json()
        return answer["results"][0].get("relevant_spans")

    best = {"start": 0, "end": 2, "score": sigmoid(1.0)}
    other = {"start": 1, "end": 3, "score": sigmoid(-1.0)}
    assert ask(mode="enabled") == [best, other]
    assert ask(mode="enabled", max_spans=1) == ask(mode="enabled", threshold=0.5) == [best]
    assert ask(mode="disabled") is None
    scorer = CohereScorer(
        "spans", base_url=str(client.base_url), api_key=False, relevant_spans=True
    )
    found = scorer.score("q", ["abc"]).spans
    assert found is not None
    assert (found[0][0].start, found[0][0].end) == (0, 2)


def test_what_was_not_scored_comes_last_and_is_named(client: httpx.Client) -> None:
    body = {"model": "half", "query": "q", "documents": ["first", "", "ab", "a"]}
    for raw in (False, True):
        answer = client.post("/v2/rerank", json={**body, "raw_scores": raw}).json()
        assert [r["index"] for r in answer["results"]] == [3, 2, 0, 1]
        scores = [r["relevance_score"] for r in answer["results"]]
        assert scores == sorted(scores, reverse=True)
        report = answer["rerank"]
        assert report["unscored"] == [0, 1]
        assert report["scale"] == ("logit" if raw else "unit")


def test_no_documents(client: httpx.Client) -> None:
    answer = client.post("/v2/rerank", json={"query": "q", "documents": []}).json()
    assert answer["results"] == []
    assert client.post("/rerank", json={"query": "q", "texts": []}).json() == []


def test_models_and_facts(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in models][:3] == ["overlap", "nano", "cut"]
    assert models[1]["scale"] == "logit"
    assert client.get("/info").json()["max_client_batch_size"] == 50
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/rerank", "/v2/rerank", "/rerank", "/v1/models", "/health", "/metrics"} <= {*paths}


def test_a_combinator_gives_the_scores_of_what_is_within(client: httpx.Client) -> None:
    body = {"query": QUERY, "documents": TEXTS}
    cut, plain = (
        client.post("/v2/rerank", json={**body, "model": model}).json()["results"]
        for model in ("cut", "nano")
    )
    assert cut == plain
