"""CohereScorer's good days: real SDK, real HTTP, a stand-in server on this machine."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from typing import Any

import cohere
import pytest

from rerank_core import (
    CohereScorer,
    ConfigurationError,
    Scale,
    Span,
    rerank,
)
from support.cohere_runs import KEY, QUERY, SCORES, TEXTS, numbered, run
from support.cohere_server import CohereServer, Reply

SDK_OPTIONS = inspect.signature(cohere.ClientV2.rerank).parameters


def test_scores_come_back_in_the_texts_order(
    scorer: CohereScorer, server: CohereServer, mode: str
) -> None:
    scoring = run(scorer, mode, QUERY, TEXTS)
    assert scoring.scores == SCORES
    assert (scoring.usage.pairs, scoring.usage.requests) == (4, 1)
    assert scoring.usage.billed_units == {"search_units": 1.0}
    assert scoring.usage.seconds > 0
    assert scoring.spans is None
    [request] = server.requests
    assert request.path == "/v2/rerank"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS[:4]}


def test_it_is_a_scorer_on_the_unit_scale(scorer: CohereScorer) -> None:
    assert scorer.scale is Scale.UNIT
    assert scorer.name == "rerank-v3.5"


def test_empty_input_asks_nobody(scorer: CohereScorer, server: CohereServer, mode: str) -> None:
    assert run(scorer, mode, QUERY, ["", "  "]).scores == (None, None)
    assert server.requests == []


def test_set_options_are_sent(server: CohereServer, mode: str) -> None:
    options = {"max_tokens_per_doc": 512}
    if "priority" in SDK_OPTIONS:
        options["priority"] = 3
    scorer = CohereScorer("m", api_key=KEY, base_url=server.url, **options)  # type: ignore[arg-type]
    run(scorer, mode, QUERY, TEXTS)
    assert server.requests[0].body.items() >= options.items()


def test_an_option_the_sdk_lacks_is_refused_before_anything_is_sent(
    server: CohereServer, mode: str
) -> None:
    class OlderClient(cohere.ClientV2):
        def rerank(self, *, model: str, query: str, documents: list[str], request_options: dict):  # type: ignore[no-untyped-def, override, type-arg]
            raise AssertionError("never called")

    scorer = CohereScorer(
        "m", client=OlderClient(KEY, base_url=server.url), max_tokens_per_doc=5, max_retries=0
    )
    with pytest.raises(ConfigurationError, match="max_tokens_per_doc is not known"):
        run(scorer, mode, QUERY, TEXTS)
    assert server.requests == []


def test_spans_where_the_sdk_has_them_else_a_clear_refusal(server: CohereServer, mode: str) -> None:
    scorer = CohereScorer("rerank-v5.0-pro", api_key=KEY, base_url=server.url, relevant_spans=True)
    texts = ["the \U0001f31e solar cost", "nothing", ""]
    if "relevant_spans" not in SDK_OPTIONS:
        with pytest.raises(ConfigurationError, match="relevant_spans is not known"):
            run(scorer, mode, QUERY, texts)
        return
    scoring = run(scorer, mode, QUERY, texts)
    assert scoring.spans == ((Span(6, 11, 1.0), Span(12, 16, 1.0)), (), ())
    assert texts[0][6:11] == "solar"
    assert server.requests[0].body["relevant_spans"] == {"mode": "enabled"}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (True, {}),
        ({}, {}),
        ({"max_spans": None}, {}),
        ({"threshold": 0}, {"threshold": 0.0}),
        ({"max_spans": 1, "threshold": 0.25}, {"threshold": 0.25, "max_spans": 1}),
    ],
)
def test_spans_are_asked_for_with_options(
    server: CohereServer, mode: str, asked: Any, sent: dict[str, Any]
) -> None:
    if "relevant_spans" not in SDK_OPTIONS:
        pytest.skip("this SDK knows no spans")
    scorer = CohereScorer("m", api_key=KEY, base_url=server.url, relevant_spans=asked)
    spans = run(scorer, mode, QUERY, ["solar cost"]).spans
    assert server.requests[0].body["relevant_spans"] == {"mode": "enabled", **sent}
    assert spans == ((Span(0, 5, 1.0), Span(6, 10, 1.0))[: sent.get("max_spans")],)
    assert scorer.to_config().get("relevant_spans") == (sent or True)


def test_every_span_reaches_the_ranking_with_its_score(server: CohereServer) -> None:
    if "relevant_spans" not in SDK_OPTIONS:
        pytest.skip("this SDK knows no spans")
    spans = [{"start": 6, "end": 10, "score": 0.9}, {"start": 0, "end": 5, "score": 0.4}]
    result = {"index": 1, "relevance_score": 0.9, "relevant_spans": spans}
    server.script(Reply({"results": [result, {"index": 0, "relevance_score": 0.1}]}))
    scorer = CohereScorer("m", api_key=KEY, base_url=server.url, relevant_spans=True)
    best, other = rerank(QUERY, ["nothing", "solar cost"], scorer)
    assert best.spans == (Span(6, 10, 0.9), Span(0, 5, 0.4))
    assert not other.spans


def test_v5_models_are_billed_by_tokens(server: CohereServer, mode: str) -> None:
    prices = {"million_tokens": 50_000}
    scorer = CohereScorer("rerank-v5.0-pro", api_key=KEY, base_url=server.url, prices=prices)
    usage = run(scorer, mode, QUERY, TEXTS).usage
    assert usage.billed_units == {"input_tokens": 4 * 3 + 2 + 3 + 1 + 2}
    assert usage.cost == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("units", "tokens", "billed"),
    [
        ({"billed_units": {"input_tokens": 40, "search_units": 1}}, 40, {"input_tokens": 40.0}),
        ({"billed_units": {"input_tokens": 40}, "tokens": {"input_tokens": 52}}, 52, {}),
        ({"billed_units": {"new_units": 2.5, "odd": "x", "unknown": -1}}, 0, {"new_units": 2.5}),
        ({"billed_units": "x"}, 0, {}),
        ("x", 0, {}),
        (None, 0, {}),
    ],
)
def test_usage_is_read_with_care(
    scorer: CohereScorer,
    server: CohereServer,
    units: object,
    tokens: int,
    billed: dict[str, float],
) -> None:
    server.script(Reply({"results": [{"index": 0, "relevance_score": 1}], "meta": units}))
    usage = scorer.score(QUERY, ["a"]).usage
    assert usage.tokens == tokens
    assert usage.billed_units.items() >= billed.items()
    assert not {"odd", "unknown"} & usage.billed_units.keys()


def test_units_have_plain_names_of_the_services_own(
    server: CohereServer, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    units: dict[str, Any] = {KEY: 1, KEY[:12]: 1, "classified": 1, "river": 1, "a b": 1, "": 1}
    units |= {"x" * 41: 1, "line\nbreak": 1, "\x1b[0m": 1, "\u00e9": 1}
    units |= {f"unit_{number}": number for number in range(5000)}
    units |= {"search_units": 3, "input_tokens": 7}
    results = [{"index": 0, "relevance_score": 1}]
    server.script(*[Reply({"results": results, "meta": {"billed_units": units}})] * 2)
    scorer = CohereScorer("m", api_key=KEY, base_url=server.url, prices={"search_unit": 1})
    usage = run(scorer, mode, "river", ["classified report"]).usage
    assert 2 < len(usage.billed_units) <= 16
    assert usage.cost == 3
    assert usage.billed_units.items() >= {"search_units": 3.0, "input_tokens": 7.0}.items()
    assert all(re.fullmatch(r"[a-z]+_[a-z0-9]+", name) for name in usage.billed_units)
    assert rerank("river", ["classified report"], scorer).usage.billed_units == usage.billed_units
    told = [vars(record) for record in caplog.records if record.name == "rerank_core"]
    fields = {name for record in told for name in record if "billed_units" in name}
    prefix = "rerank.usage.billed_units"
    assert fields == {f"{prefix}.search_units", f"{prefix}.input_tokens"}
    assert KEY[:12] not in str(told)


def test_2500_texts_are_split_and_every_text_keeps_its_score(
    scorer: CohereScorer, server: CohereServer, mode: str
) -> None:
    query, texts, expected = numbered(2500)
    scoring = run(scorer, mode, query, texts)
    assert scoring.scores == expected
    sizes = [len(request.body["documents"]) for request in server.requests]
    assert sorted(sizes) == [833, 833, 834]
    assert scoring.usage.requests == 3
    assert scoring.usage.pairs == 2500
    assert scoring.usage.billed_units == {"search_units": 27.0}


@pytest.mark.parametrize(("count", "requests"), [(1000, 1), (1001, 2)])
def test_a_request_holds_at_most_1000_texts(
    scorer: CohereScorer, server: CohereServer, count: int, requests: int
) -> None:
    scorer.score("w", [f"w{i}" for i in range(count)])
    assert len(server.requests) == requests


def test_progress_is_told_after_each_request(scorer: CohereScorer) -> None:
    query, texts, _ = numbered(2500)
    told: list[tuple[int, int]] = []
    scorer.score(query, texts, progress=lambda *counts: told.append(counts))
    assert told == [(833, 2500), (1666, 2500), (2500, 2500)]
    told.clear()
    asyncio.run(scorer.ascore(query, texts, progress=lambda *counts: told.append(counts)))
    assert len(told) == 3
    assert told[-1] == (2500, 2500)


def test_fingerprints_tell_different_scores_apart() -> None:
    made = [
        CohereScorer("a"),
        CohereScorer("b"),
        CohereScorer("a", base_url="https://other.example"),
        CohereScorer("a", max_tokens_per_doc=100),
        CohereScorer("a", relevant_spans=True),
        CohereScorer("a", relevant_spans={"threshold": 0.5}),
        CohereScorer("a", relevant_spans={"threshold": 0.5, "max_spans": 2}),
        CohereScorer("a", client=cohere.ClientV2(KEY)),
        CohereScorer("a", client=cohere.ClientV2(KEY, base_url="https://other.example")),
    ]
    assert len({scorer.fingerprint for scorer in made}) == len(made)
    assert made[0].fingerprint == CohereScorer("a", api_key=KEY, timeout=5).fingerprint
    assert made[0].fingerprint == CohereScorer("a", scale="probability").fingerprint
