"""One way to call both framework adapters on plain texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_rerank import RerankCompressor
from llamaindex_rerank import RerankPostprocessor
from rerank_core.testing import OverlapScorer


class Result(NamedTuple):
    text: str
    score: float | None
    metadata: dict[str, Any]


class Harness(ABC):
    """Runs an adapter on plain texts."""

    adapter: type[Any]

    @abstractmethod
    def inputs(
        self, texts: Sequence[str], priors: Sequence[float], metadata: dict[str, Any]
    ) -> list[Any]: ...

    @abstractmethod
    def results(self, outputs: Sequence[Any]) -> list[Result]: ...

    @abstractmethod
    def run(self, adapter: Any, query: Any, inputs: Any) -> Any: ...

    @abstractmethod
    async def arun(self, adapter: Any, query: Any, inputs: Any) -> Any: ...

    def make(self, **arguments: Any) -> Any:
        return self.adapter(**{"scorer": OverlapScorer(), **arguments})


class LangChain(Harness):
    adapter = RerankCompressor

    def make(self, **arguments: Any) -> Any:
        return super().make(**{"prior_key": "prior", **arguments})

    def inputs(
        self, texts: Sequence[str], priors: Sequence[float], metadata: dict[str, Any]
    ) -> list[Document]:
        return [
            Document(t, metadata={**metadata, "prior": p})
            for t, p in zip(texts, priors, strict=True)
        ]

    def results(self, outputs: Sequence[Document]) -> list[Result]:
        return [
            Result(d.page_content, d.metadata.get("relevance_score"), d.metadata) for d in outputs
        ]

    def run(self, adapter: Any, query: Any, inputs: Any) -> Any:
        return adapter.compress_documents(inputs, query)

    async def arun(self, adapter: Any, query: Any, inputs: Any) -> Any:
        return await adapter.acompress_documents(inputs, query)


class LlamaIndex(Harness):
    adapter = RerankPostprocessor

    def inputs(
        self, texts: Sequence[str], priors: Sequence[float], metadata: dict[str, Any]
    ) -> list[NodeWithScore]:
        keys = [*metadata]
        return [
            NodeWithScore(
                node=TextNode(text=t, metadata={**metadata}, excluded_embed_metadata_keys=keys),
                score=p,
            )
            for t, p in zip(texts, priors, strict=True)
        ]

    def results(self, outputs: Sequence[NodeWithScore]) -> list[Result]:
        for node in outputs:
            assert node.score == node.metadata.get("relevance_score")
        return [Result(n.text, n.score, n.metadata) for n in outputs]

    def run(self, adapter: Any, query: Any, inputs: Any) -> Any:
        return adapter.postprocess_nodes(inputs, query_str=query)

    async def arun(self, adapter: Any, query: Any, inputs: Any) -> Any:
        return await adapter.apostprocess_nodes(inputs, query_str=query)


BOTH = (LangChain(), LlamaIndex())


def pairs(results: Sequence[Result]) -> list[tuple[str, float | None]]:
    return [(result.text, result.score) for result in results]
