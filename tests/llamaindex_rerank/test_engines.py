"""The postprocessor in LlamaIndex's query engines and tools, over a real index."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool, RetrieverTool

from llamaindex_rerank import RerankPostprocessor
from rerank_core.testing import OverlapScorer
from support.llamaindex import BEST, QUERY, ScriptedLLM, found, make_index

ANSWER = "steep it for three minutes"


@pytest.fixture
def index() -> VectorStoreIndex:
    return make_index()


def best_two(**arguments: Any) -> RerankPostprocessor:
    return RerankPostprocessor(**{"scorer": OverlapScorer(), "top_n": 2, **arguments})


def engine(
    index: VectorStoreIndex, streaming: bool = False, **arguments: Any
) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=5),
        llm=ScriptedLLM(ANSWER) if streaming else MockLLM(),
        response_mode=ResponseMode.COMPACT,
        node_postprocessors=[best_two(**arguments)],
        streaming=streaming,
    )


async def test_in_a_query_engine(index: VectorStoreIndex) -> None:
    used = engine(index, keep_retrieval_score=True)
    for response in (used.query(QUERY), await used.aquery(QUERY)):
        assert isinstance(response, Response)
        assert found(response.source_nodes) == BEST
        assert {*response.source_nodes[0].metadata} == {"relevance_score", "retrieval_score"}
        # The mock LLM answers with its prompt: the passages are in it, their scores are not.
        assert "how to brew green tea" in str(response)
        assert "tea from china" not in str(response)
        assert "score" not in str(response)


async def test_in_a_streaming_query_engine(index: VectorStoreIndex) -> None:
    response = engine(index, streaming=True).query(QUERY)
    assert isinstance(response, StreamingResponse)
    assert found(response.source_nodes) == BEST  # they are there before the first word
    assert [*response.response_gen] == ["steep", " it", " for", " three", " minutes"]
    aresponse = await engine(index, streaming=True).aquery(QUERY)
    assert isinstance(aresponse, AsyncStreamingResponse)
    assert found(aresponse.source_nodes) == BEST
    assert "".join([token async for token in aresponse.async_response_gen()]) == ANSWER


def test_the_engine_sets_its_callback_manager(index: VectorStoreIndex) -> None:
    postprocessor = best_two()
    made = RetrieverQueryEngine.from_args(
        index.as_retriever(), llm=MockLLM(), node_postprocessors=[postprocessor]
    )
    assert postprocessor.callback_manager is made.callback_manager


def test_the_docstore_is_not_touched(index: VectorStoreIndex) -> None:
    before = {key: node.model_dump_json() for key, node in index.docstore.docs.items()}
    for node in engine(index).query(QUERY).source_nodes:
        node.metadata["changed"] = True
    assert {key: node.model_dump_json() for key, node in index.docstore.docs.items()} == before


async def test_nothing_left_by_the_stage_before(index: VectorStoreIndex) -> None:
    nothing = SimilarityPostprocessor(similarity_cutoff=2.0)
    empty = engine(index)
    empty._node_postprocessors.insert(0, nothing)
    assert empty.query(QUERY).source_nodes == []
    assert (await empty.aquery(QUERY)).source_nodes == []


async def test_in_a_router_query_engine(index: VectorStoreIndex) -> None:
    paint = make_index([TextNode(text="white paint", id_="white")])
    llm = ScriptedLLM('[{"choice": 2, "reason": "it is about tea"}]')
    router = RouterQueryEngine.from_defaults(
        [
            QueryEngineTool.from_defaults(engine(paint), name="paint", description="on paint"),
            QueryEngineTool.from_defaults(engine(index), name="tea", description="on tea"),
        ],
        llm=llm,
        selector=LLMSingleSelector.from_defaults(llm=llm),
    )
    assert found(router.query(QUERY).source_nodes) == BEST
    assert found((await router.aquery(QUERY)).source_nodes) == BEST
    assert len(llm.prompts) == 2


async def test_in_a_retriever_tool(index: VectorStoreIndex) -> None:
    tool = RetrieverTool.from_defaults(
        index.as_retriever(similarity_top_k=5),
        node_postprocessors=[best_two(keep_retrieval_score=True)],
    )
    for output in (tool.call(QUERY), await tool.acall(QUERY)):
        assert found(output.raw_output) == BEST
        assert output.content == "how to brew green tea\n\ngreen tea with milk\n\n"


def test_sixteen_threads_over_one_engine(index: VectorStoreIndex) -> None:
    shared = engine(index, top_n=4)
    queries = [f"{word} tea" for word in ("green", "brew green", "china", "milk with")] * 4
    expected = [found(shared.query(query).source_nodes) for query in queries]
    barrier = threading.Barrier(16)

    def worker(query: str) -> list[tuple[str, float | None]]:
        barrier.wait()
        return found(shared.query(query).source_nodes)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(worker, queries)) == expected
