"""LangChain's own suite for retrievers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_rerank import RerankRetriever
from rerank_core.testing import OverlapScorer

if tuple(map(int, version("langchain-core").split(".")[:2])) < (1, 4):
    pytest.skip("langchain-tests needs langchain-core 1.4", allow_module_level=True)

from langchain_tests.integration_tests import RetrieversIntegrationTests


class TestRerankRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[RerankRetriever]:
        return RerankRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        texts = [f"tea number {n}" for n in range(8)]
        store = InMemoryVectorStore.from_texts(texts, DeterministicFakeEmbedding(size=8))
        return {"base_retriever": store.as_retriever(), "scorer": OverlapScorer()}

    @property
    def retriever_query_example(self) -> str:
        return "tea number 3"
