"""The compressor where LangChain users put it, over a real FAISS index."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_classic.retrievers import ContextualCompressionRetriever, EnsembleRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.documents import BaseDocumentTransformer, Document
from langchain_core.runnables import (
    RunnableConfig,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tools import create_retriever_tool

from langchain_rerank import RerankCompressor
from rerank_core.testing import OverlapScorer

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`langchain-community` is being sunset", DeprecationWarning)
    from langchain_community.docstore import InMemoryDocstore
    from langchain_community.vectorstores import FAISS


class Shout(BaseDocumentTransformer):
    def transform_documents(
        self, documents: Sequence[Document], **kwargs: Any
    ) -> Sequence[Document]:
        return [d.model_copy(update={"page_content": d.page_content.upper()}) for d in documents]


def reranked(store: FAISS, **arguments: Any) -> ContextualCompressionRetriever:
    return ContextualCompressionRetriever(
        base_compressor=RerankCompressor(**{"scorer": OverlapScorer(), "top_n": 2, **arguments}),
        base_retriever=store.as_retriever(search_kwargs={"k": 5}),
    )


QUERY = "how brew green tea"
BEST = [("id-4", 1.0), ("id-2", 0.5)]


def found(documents: Sequence[Document]) -> list[tuple[str | None, float]]:
    return [(d.id, d.metadata["relevance_score"]) for d in documents]


async def test_contextual_compression_over_faiss(store: FAISS) -> None:
    retriever = reranked(store)
    results = retriever.invoke(QUERY)
    assert found(results) == BEST
    assert results[0].metadata["source"] == {"page": 4}
    assert await retriever.ainvoke(QUERY) == results


def test_the_docstore_is_not_poisoned(store: FAISS) -> None:
    assert isinstance(store.docstore, InMemoryDocstore)
    kept = store.docstore._dict
    before = {doc_id: doc.model_copy(deep=True) for doc_id, doc in kept.items()}
    (first,) = store.similarity_search(QUERY, k=1)
    # What makes poisoning possible: the store hands out the very objects it keeps.
    assert first is kept[str(first.id)]
    for document in reranked(store).invoke(QUERY):
        document.metadata["source"]["page"] = "changed"
    assert kept == before


async def test_nothing_retrieved(store: FAISS) -> None:
    store.delete([f"id-{n}" for n in range(6)])
    assert reranked(store).invoke(QUERY) == []
    assert await reranked(store).ainvoke(QUERY) == []


async def test_in_a_compressor_pipeline(store: FAISS) -> None:
    retriever = reranked(store)
    retriever.base_compressor = DocumentCompressorPipeline(
        transformers=[RerankCompressor(scorer=OverlapScorer(), top_n=2), Shout()]
    )
    results = retriever.invoke(QUERY)
    assert found(results) == BEST
    assert results[0].page_content == "HOW TO BREW GREEN TEA"
    assert await retriever.ainvoke(QUERY) == results


async def test_behind_an_ensemble(store: FAISS) -> None:
    plain = store.as_retriever(search_kwargs={"k": 3})
    retriever = EnsembleRetriever(retrievers=[reranked(store), plain], weights=[0.9, 0.1])
    assert retriever.invoke(QUERY)[0].id == "id-4"
    assert (await retriever.ainvoke(QUERY))[0].id == "id-4"


async def test_in_a_runnable_chain(store: FAISS) -> None:
    compressor = RerankCompressor(scorer=OverlapScorer(), top_n=2)

    def step(found: dict[str, Any], config: RunnableConfig) -> list[Document]:
        return compressor.compress_documents(found["docs"], found["query"], config["callbacks"])

    async def astep(found: dict[str, Any], config: RunnableConfig) -> list[Document]:
        return await compressor.acompress_documents(
            found["docs"], found["query"], config["callbacks"]
        )

    retriever = store.as_retriever(search_kwargs={"k": 5})
    chain = RunnableParallel(docs=retriever, query=RunnablePassthrough()) | RunnableLambda(
        step, astep
    )
    assert found(chain.invoke(QUERY)) == BEST
    assert found(await chain.ainvoke(QUERY)) == BEST


def test_as_a_tool(store: FAISS) -> None:
    tool = create_retriever_tool(
        reranked(store), "tea", "Facts on tea.", response_format="content_and_artifact"
    )
    call = {"type": "tool_call", "id": "1", "name": "tea", "args": {"query": QUERY}}
    message = tool.invoke(call)
    assert found(message.artifact) == BEST
    assert message.content.startswith("how to brew green tea")


def test_sixteen_threads_over_one_retriever(store: FAISS) -> None:
    retriever = reranked(store, top_n=4)
    queries = [f"{word} tea" for word in ("green", "brew green", "china", "milk with")] * 4
    expected = [retriever.invoke(query) for query in queries]
    barrier = threading.Barrier(16)

    def worker(query: str) -> list[Document]:
        barrier.wait()
        return retriever.invoke(query)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(worker, queries)) == expected
