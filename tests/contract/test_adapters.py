"""Both adapters: the same order and scores as `rerank`, and the same manners."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from llama_index.core.schema import NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode

from langchain_rerank import RerankCompressor
from llamaindex_rerank import RerankPostprocessor
from rerank_core import (
    Arrange,
    Blend,
    Budget,
    Cached,
    Cascade,
    CohereScorer,
    Deadline,
    Excerpt,
    Fallback,
    InvalidInputError,
    OnnxCrossEncoder,
    Scorer,
    Windowed,
    load_scorer,
    rerank,
)
from rerank_core.testing import OverlapScorer, Reply, ScriptedScorer, ScriptedServer
from support.adapters import BOTH, Harness, pairs
from support.odd import Unprintable, nested
from support.scorers import BlockingScorer

QUERY = "green tea"
TEXTS = ("black coffee", "green tea", "", "green paint", "tea", "green tea")


@pytest.fixture(params=BOTH, ids=["langchain", "llamaindex"])
def harness(request: pytest.FixtureRequest) -> Harness:
    found = request.param
    assert isinstance(found, Harness)
    return found


def assert_all_agree(
    query: str, texts: Sequence[str], priors: Sequence[float], **arguments: Any
) -> None:
    ranking = rerank(query, texts, **arguments, prior=priors)
    expected = [(item.excerpt, item.score) for item in ranking]
    for harness in BOTH:
        adapter = harness.make(**arguments)
        inputs = harness.inputs(texts, priors, {})
        assert pairs(harness.results(harness.run(adapter, query, inputs))) == expected
        outputs = asyncio.run(harness.arun(adapter, query, inputs))
        assert pairs(harness.results(outputs)) == expected


finite = st.floats(-1e6, 1e6)


@settings(deadline=None, max_examples=60)
@given(
    candidates=st.lists(st.tuples(st.sampled_from("abcdefg ") | st.text(), finite), max_size=12),
    scores=st.dictionaries(st.sampled_from("abcdefg"), finite),
    top_n=st.none() | st.integers(1, 14),
    min_score=st.none() | finite,
    blend=st.none() | st.builds(Blend, st.sampled_from(("rrf", "minmax", "zscore"))),
    max_tokens=st.none() | st.integers(1, 20),
    trim=st.lists(st.sampled_from(("excerpt", "distinct", "adaptive", "arrange")), max_size=2),
)
def test_adapters_agree_with_rerank(
    candidates: list[tuple[str, float]],
    scores: dict[str, float],
    top_n: int | None,
    min_score: float | None,
    blend: Blend | None,
    max_tokens: int | None,
    trim: list[str],
) -> None:
    assert_all_agree(
        QUERY,
        [text for text, _ in candidates],
        [prior for _, prior in candidates],
        scorer=ScriptedScorer(scores),
        top_n=top_n,
        min_score=min_score,
        blend=blend,
        max_tokens=max_tokens,
        count_tokens=len,
        trim=trim,
    )


def test_adapters_agree_with_rerank_on_the_embedded_model() -> None:
    assert_all_agree(QUERY, TEXTS, range(len(TEXTS)), scorer=load_scorer("nano"), top_n=4)


def test_defaults_keep_the_best_five_by_the_embedded_model(harness: Harness) -> None:
    texts = [f"{word} with milk" for word in ("tea", "coffee", "soup", "rice", "oats", "eggs")]
    adapter = harness.adapter()
    results = harness.results(harness.run(adapter, "tea", harness.inputs(texts, range(6), {})))
    assert len(results) == 5
    assert results[0].text == "tea with milk"
    assert adapter.scorer.name == load_scorer("nano").name


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a text"], r"\[0\] must be a (Document|NodeWithScore), not 'a text'"),
        ("a text", r"must be a list of (Document|NodeWithScore), not str"),
        ({"a": "a text"}, r"(documents|nodes) must be a list, not dict: .* keys"),
    ],
)
def test_wrong_inputs_are_refused(harness: Harness, inputs: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        harness.run(harness.make(), QUERY, inputs)


def test_a_blank_query_is_refused(harness: Harness) -> None:
    with pytest.raises(InvalidInputError, match="query is blank"):
        harness.run(harness.make(), "  ", harness.inputs(TEXTS, range(6), {}))


@pytest.mark.parametrize("prior", [None, float("nan")])
def test_ranks_are_blended_without_priors(harness: Harness, prior: Any) -> None:
    inputs = harness.inputs(["tea", "green tea"], [prior, 0.5], {})
    outputs = harness.run(harness.make(blend="rrf:0.3"), QUERY, inputs)
    assert [result.text for result in harness.results(outputs)] == ["green tea", "tea"]


def test_what_cannot_be_seen_is_not_scored(harness: Harness) -> None:
    inputs = harness.inputs(["\u200b\0", "tea"], [0.9, 0.1], {})
    outputs = harness.results(harness.run(harness.make(), QUERY, inputs))
    assert pairs(outputs) == [("tea", 0.5), ("\u200b\0", None)]
    with pytest.raises(InvalidInputError, match="query is blank"):
        harness.run(harness.make(), "\ufeff", inputs)


def test_a_threshold_drops_what_a_cascade_left_to_its_cheap_stage(harness: Harness) -> None:
    cascade = Cascade([(OverlapScorer(), 1), OverlapScorer()])
    adapter = harness.make(scorer=cascade, min_score=0.9)
    inputs = harness.inputs(["tea", "green tea", "soup"], range(3), {})
    assert pairs(harness.results(harness.run(adapter, QUERY, inputs))) == [("green tea", 1.0)]


def test_every_passage_of_a_service_is_in_the_metadata_with_its_score(harness: Harness) -> None:
    spans = [{"start": 6, "end": 9, "score": 0.9}, {"start": 0, "end": 5, "score": 0.4}]
    pytest.importorskip("cohere.types.rerank_relevant_spans", reason="this SDK knows no spans")
    result = {"index": 0, "relevance_score": 0.8, "relevant_spans": spans}
    with ScriptedServer(Reply({"results": [result]})) as server:
        scorer = CohereScorer("m", api_key="k", base_url=server.url, relevant_spans=True)
        adapter = harness.make(scorer=scorer, span_key="passages")
        outputs = harness.run(adapter, QUERY, harness.inputs(["green tea"], [0.5], {}))
    assert harness.results(outputs)[0].metadata["passages"] == spans


def test_inputs_may_be_a_generator(harness: Harness) -> None:
    inputs = harness.inputs(TEXTS, range(6), {})
    outputs = harness.run(harness.make(top_n=1), QUERY, (item for item in inputs))
    assert pairs(harness.results(outputs)) == [("green tea", 1.0)]


async def test_nothing_to_score_costs_no_model_call(harness: Harness) -> None:
    scorer = OverlapScorer()
    adapter = harness.make(scorer=scorer)
    assert harness.run(adapter, QUERY, []) == []
    assert await harness.arun(adapter, QUERY, []) == []
    assert scorer.calls == []


@pytest.mark.parametrize(
    "value",
    [
        nested(500, list),
        nested(5_000, dict),
        OrderedDict(deep=nested(5_000, list)),
        Unprintable(),
        [Unprintable()],
        "x" * 1_000_000,
        10**5000,
        "\ud800",
    ],
    ids=["500", "5,000", "ordered", "unprintable", "list", "long", "digits", "surrogate"],
)
async def test_no_metadata_costs_a_document(harness: Harness, value: object) -> None:
    adapter = harness.make()
    for keys in ([], ["odd"]):  # part of a node's text, and left out of it
        inputs = harness.inputs(["tea", "coffee"], [2, 1], {"odd": value})
        for item in inputs:
            if isinstance(item, NodeWithScore):
                item.node.excluded_embed_metadata_keys = keys
        for outputs in (
            harness.run(adapter, QUERY, inputs),
            await harness.arun(adapter, QUERY, inputs),
        ):
            found = harness.results(outputs)
            assert [result.text for result in found] == ["tea", "coffee"]
            assert all("odd" in result.metadata for result in found)


def test_inputs_stay_as_they_were_and_share_nothing(harness: Harness) -> None:
    lock = threading.Lock()  # cannot be copied
    nested = {"tags": [["a"], {"b"}], "ordered": OrderedDict(x=["c"]), "pair": ([1], lock)}
    inputs = harness.inputs(["tea"], [0.25], {**nested, "relevance_score": 9.0})
    before = repr(inputs)
    (result,) = harness.results(harness.run(harness.make(), QUERY, inputs))
    assert repr(inputs) == before
    assert result.score == 0.5
    assert {key: result.metadata[key] for key in nested} == nested
    assert result.metadata["pair"][1] is lock
    assert type(result.metadata["ordered"]) is OrderedDict
    result.metadata["tags"][0].append("changed")
    result.metadata["tags"][1].add("changed")
    result.metadata["ordered"]["x"].append("changed")
    result.metadata["pair"][0].append("changed")
    assert repr(inputs) == before


def test_an_unscored_text_carries_no_score_not_even_a_stale_one(harness: Harness) -> None:
    inputs = harness.inputs(["", "tea"], [0.9, 0.1], {"relevance_score": 9.0})
    tea, blank = harness.results(harness.run(harness.make(), QUERY, inputs))
    assert tea.metadata["relevance_score"] == 0.5
    assert blank.text == ""
    assert "relevance_score" not in blank.metadata


def test_the_score_key_can_be_another_or_none(harness: Harness) -> None:
    inputs = harness.inputs(["tea"], [0.1], {"kept": 1})
    (renamed,) = harness.run(harness.make(score_key="second_stage"), QUERY, inputs)
    assert type(renamed.metadata["second_stage"]) is float
    assert "relevance_score" not in renamed.metadata
    (untouched,) = harness.run(harness.make(score_key=None), QUERY, inputs)
    assert untouched.metadata == inputs[0].metadata


def test_scores_of_a_second_reranking_are_the_first_ones(harness: Harness) -> None:
    adapter = harness.make(top_n=None)
    once = harness.run(adapter, QUERY, harness.inputs(TEXTS, range(6), {}))
    twice = harness.run(adapter, QUERY, once)
    assert pairs(harness.results(twice)) == pairs(harness.results(once))
    assert adapter.scorer.calls[0][0] == adapter.scorer.calls[1][0]
    assert set(adapter.scorer.calls[0][1]) == set(adapter.scorer.calls[1][1])


def test_sixteen_threads_get_what_one_gets(harness: Harness) -> None:
    adapter = harness.make(top_n=4, blend="rrf")
    inputs = harness.inputs(TEXTS, range(6), {"shared": ["x"]})
    queries = [f"{word} tea {i}" for i in range(40) for word in ("green", "black", "paint")]
    barrier = threading.Barrier(16)

    def worker(queries: Sequence[str]) -> list[list[tuple[str, float | None]]]:
        barrier.wait()
        return [pairs(harness.results(harness.run(adapter, q, inputs))) for q in queries]

    expected = [pairs(harness.results(harness.run(adapter, q, inputs))) for q in queries]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(worker, [queries] * 16))
    assert found == [expected] * 16


async def test_the_event_loop_runs_while_the_scorer_works(harness: Harness) -> None:
    scorer = BlockingScorer()
    inputs = harness.inputs(TEXTS, range(6), {})
    task = asyncio.create_task(harness.arun(harness.make(scorer=scorer, top_n=1), QUERY, inputs))
    await asyncio.to_thread(scorer.started.wait, 20)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    scorer.go_on.set()
    assert pairs(harness.results(await task)) == [("green tea", 1.0)]


async def test_a_cancelled_call_stops_its_worker(harness: Harness) -> None:
    scorer = BlockingScorer()
    inputs = harness.inputs(TEXTS, range(6), {})
    task = asyncio.create_task(harness.arun(harness.make(scorer=scorer), QUERY, inputs))
    await asyncio.to_thread(scorer.started.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scorer.go_on.set()
    await asyncio.to_thread(scorer.finished.wait, 20)
    assert scorer.error is not None


def _missing() -> list[Scorer]:
    absent, nano = OnnxCrossEncoder("owner/no-such-model"), load_scorer("nano")
    return [
        Fallback(OnnxCrossEncoder("/no/such/model")),
        Fallback(absent),
        Fallback(load_scorer("owner/no-such-model")),
        Fallback(Cascade([(nano, 2), Cascade([(nano, 1), absent])])),
        Cached(Fallback(absent)),
        Windowed(Fallback(absent)),
        Deadline(Fallback(absent), 30),
    ]


@pytest.mark.parametrize("scorer", _missing(), ids=repr)
async def test_a_model_that_is_missing_keeps_first_stage_order(
    harness: Harness, scorer: Scorer
) -> None:
    texts = ["tea", "soup", "green tea"]
    inputs, adapter = harness.inputs(texts, range(3), {}), harness.make(scorer=scorer)
    for outputs in (
        harness.run(adapter, QUERY, inputs),
        await harness.arun(adapter, QUERY, inputs),
    ):
        assert pairs(harness.results(outputs)) == [(text, None) for text in texts]
    assert rerank(QUERY, texts, scorer).degraded


ARTICLE = "Soup is hot. Green tea is steeped for three minutes. Dogs bark."


def test_a_shortened_text_is_that_of_a_copy(harness: Harness) -> None:
    inputs = harness.inputs([ARTICLE, "coffee"], [1, 2], {"title": "Drinks", "trimmed": "old"})
    adapter = harness.make(trim=["excerpt=0.1", "budget=30"], rank_fields=["title"])
    before = copy.deepcopy(inputs)
    first, *_ = harness.results(harness.run(adapter, QUERY, inputs))
    assert first.text == "Green tea is steeped for three minutes."
    kept = first.metadata["trimmed"]
    assert kept["original"] == ARTICLE  # without the title, which was read before it
    assert [ARTICLE[span["start"] : span["end"]] for span in kept["spans"]] == [first.text]
    assert inputs == before
    whole, *_ = harness.results(harness.run(harness.make(trim=["distinct"]), QUERY, inputs))
    assert "trimmed" not in whole.metadata  # what an earlier reranker wrote does not stay
    quiet = harness.make(trim="excerpt=0.1", trim_key=None)
    first, *_ = harness.results(harness.run(quiet, QUERY, inputs))
    assert (first.text, first.metadata["trimmed"]) == (kept["original"][13:52], "old")


@pytest.mark.parametrize("fields", [{"rank_fields": ["title"]}, {}])
def test_a_trimmed_adapter_comes_back(harness: Harness, fields: dict[str, Any]) -> None:
    trim = [Excerpt(drop=0.25), {"type": "budget", "tokens": 9, "counter": "nano"}, "arrange"]
    adapter = harness.adapter(trim=trim, max_tokens=20, count_tokens="nano", **fields)
    data = adapter.to_dict()
    assert [step["type"] for step in data["trim"]] == ["excerpt", "budget", "arrange"]
    again = type(adapter).from_dict(json.loads(json.dumps(data)))
    assert again.trim == adapter.trim == (Excerpt(drop=0.25), Budget(9), Arrange())


def test_a_text_that_stands_for_another_does_not_hide_it(harness: Harness) -> None:
    inputs = harness.inputs([ARTICLE], [1], {"window": "green tea"})
    adapter = harness.make(trim="excerpt=0.1", text_key="window")
    (result,) = harness.results(harness.run(adapter, QUERY, inputs))
    assert result.text == "Green tea is steeped for three minutes."


def test_texts_of_one_document_are_put_together() -> None:
    texts, names = ["tea", "soup", "green tea", "hot soup"], ["a", "b", "a", "b"]
    documents = [
        Document(t, metadata={"source": name}) for t, name in zip(texts, names, strict=True)
    ]
    compressor = RerankCompressor(scorer=OverlapScorer(), trim="arrange=by_document")
    kept = compressor.compress_documents(documents, QUERY)
    assert [document.page_content for document in kept] == ["tea", "green tea", "soup", "hot soup"]
    nodes = [
        TextNode(text=t, relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=name)})
        for t, name in zip(texts, names, strict=True)
    ]
    postprocessor = RerankPostprocessor(scorer=OverlapScorer(), trim="arrange=by_document")
    scored = [NodeWithScore(node=node) for node in nodes]
    found = postprocessor.postprocess_nodes(scored, query_str=QUERY)
    assert [node.text for node in found] == ["tea", "green tea", "soup", "hot soup"]
