"""The postprocessor where LlamaIndex users put it, over a real index."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import RetrieverTool

from llamaindex_rerank import RerankPostprocessor
from support.embeddings import embed
from support.scorers import OverlapScorer

TEXTS = (
    "black coffee with sugar",
    "tea tea tea tea",
    "green tea with milk",
    "green paint for walls",
    "how to brew green tea",
    "tea from china",
)
QUERY = "how brew green tea"
BEST = [("id-4", 1.0), ("id-2", 0.5)]


class HashingEmbedding(BaseEmbedding):
    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text)


@pytest.fixture
def index() -> VectorStoreIndex:
    nodes = [TextNode(text=text, id_=f"id-{n}") for n, text in enumerate(TEXTS)]
    return VectorStoreIndex(nodes, embed_model=HashingEmbedding())


def engine(index: VectorStoreIndex, **arguments: Any) -> RetrieverQueryEngine:
    return RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=5),
        llm=MockLLM(),
        response_mode=ResponseMode.COMPACT,
        node_postprocessors=[
            RerankPostprocessor(**{"scorer": OverlapScorer(), "top_n": 2, **arguments})
        ],
    )


def found(nodes: Sequence[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(node.node_id, node.score) for node in nodes]


async def test_in_a_query_engine(index: VectorStoreIndex) -> None:
    for response in (engine(index).query(QUERY), await engine(index).aquery(QUERY)):
        assert isinstance(response, Response)
        assert found(response.source_nodes) == BEST
        # The mock LLM answers with its prompt: the passages are in it, their scores are not.
        assert "how to brew green tea" in str(response)
        assert "relevance_score" not in str(response)


def test_the_engine_sets_its_callback_manager(index: VectorStoreIndex) -> None:
    postprocessor = RerankPostprocessor(scorer=OverlapScorer())
    retriever = index.as_retriever()
    made = RetrieverQueryEngine.from_args(
        retriever, llm=MockLLM(), node_postprocessors=[postprocessor]
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


async def test_in_a_chat_engine(index: VectorStoreIndex) -> None:
    chat = ContextChatEngine.from_defaults(
        retriever=index.as_retriever(similarity_top_k=5),
        llm=MockLLM(),
        memory=ChatMemoryBuffer.from_defaults(token_limit=1000, tokenizer_fn=str.split),
        node_postprocessors=[RerankPostprocessor(scorer=OverlapScorer(), top_n=2)],
    )
    assert found(chat.chat(QUERY).source_nodes) == BEST
    assert found((await chat.achat(QUERY)).source_nodes) == BEST


async def test_in_a_retriever_tool(index: VectorStoreIndex) -> None:
    tool = RetrieverTool.from_defaults(
        index.as_retriever(similarity_top_k=5),
        node_postprocessors=[RerankPostprocessor(scorer=OverlapScorer(), top_n=2)],
    )
    assert found(tool.call(QUERY).raw_output) == BEST
    assert found((await tool.acall(QUERY)).raw_output) == BEST


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
