"""Code that uses the LangChain adapter, for the type checker; never run."""

from typing import Any, assert_type

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableParallel, RunnablePassthrough

from langchain_rerank import CrossEncoderModel, RerankCompressor, RerankRetriever, RerankRunnable
from langchain_rerank.middleware import RerankMiddleware
from rerank_core import Blend, Windowed, load_scorer


def compressors(documents: list[Document]) -> None:
    compressor = RerankCompressor(scorer="nano", top_n=None, min_score=0.2, blend="rrf")
    assert_type(compressor.compress_documents(documents, "question"), list[Document])
    assert_type(compressor.to_dict(), dict[str, Any])
    assert_type(RerankCompressor.from_dict(compressor.to_dict()), RerankCompressor)
    RerankCompressor(scorer=Windowed(load_scorer("nano")), span_key="passage")
    RerankCompressor(rank_fields=["title"], text_key="window")
    RerankCompressor(blend=Blend("minmax", weight=0.3), prior_key="similarity")
    RerankCompressor(max_tokens=2000, count_tokens=len, score_key=None)
    RerankCompressor(top_n="three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RerankCompressor(topn=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def asynchronously(compressor: RerankCompressor, documents: list[Document]) -> None:
    assert_type(await compressor.acompress_documents(documents, "question"), list[Document])


def retrievers(base: BaseRetriever, compressor: RerankCompressor) -> None:
    retriever = RerankRetriever(base_retriever=base, scorer="nano", k=5, fetch_k=50)
    assert_type(retriever.invoke("question"), list[Document])
    assert_type(retriever.invoke("question", k=3), list[Document])
    assert_type(retriever.k, int | None)
    RerankRetriever(base_retriever=retriever, compressor=compressor, tags=["second stage"])
    ContextualCompressionRetriever(base_compressor=compressor, base_retriever=retriever)
    RerankRetriever(compressor=compressor)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    RerankRetriever(base_retriever=base, top_n=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    RerankRetriever(base_retriever=base, min_score="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def chains(base: BaseRetriever, documents: list[Document]) -> None:
    step = RerankCompressor().as_runnable()
    assert_type(step, RerankRunnable)
    assert_type(step.invoke({"query": "question", "documents": documents}), list[Document])
    chain = RunnableParallel(query=RunnablePassthrough(), documents=base) | step
    assert_type(chain.invoke("question"), list[Document])
    RunnablePassthrough.assign(documents=step)
    step.with_retry().with_fallbacks([step])


def cross_encoders() -> None:
    model = CrossEncoderModel("nano")
    assert_type(model.score([("question", "text")]), list[float])
    CrossEncoderReranker(model=model, top_n=3)
    CrossEncoderModel(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def agents(compressor: RerankCompressor) -> None:
    RerankMiddleware(compressor, query="user", tools=["search"])
    RerankMiddleware(query="model")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
