"""Code that uses the LlamaIndex adapter, for the type checker; never run."""

from typing import assert_type

from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from llamaindex_rerank import RerankPostprocessor
from rerank_core import Blend, load_scorer


def postprocessors(nodes: list[NodeWithScore]) -> None:
    postprocessor = RerankPostprocessor(scorer="nano", top_n=None, min_score=0.2, blend="rrf")
    assert_type(postprocessor.postprocess_nodes(nodes, query_str="question"), list[NodeWithScore])
    postprocessor.postprocess_nodes(nodes, QueryBundle("question"))
    RerankPostprocessor(scorer=load_scorer("nano"), blend=Blend("minmax", weight=0.3))
    RerankPostprocessor(max_tokens=2000, count_tokens=len, score_key=None)
    RerankPostprocessor(span_key="passage", metadata_mode=MetadataMode.NONE)
    RerankPostprocessor(rank_fields=["title"], text_key="window")
    RerankPostprocessor(top_n="three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RerankPostprocessor(topn=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def asynchronously(postprocessor: RerankPostprocessor, nodes: list[NodeWithScore]) -> None:
    assert_type(
        await postprocessor.apostprocess_nodes(nodes, query_str="question"), list[NodeWithScore]
    )


def query_engines(retriever: BaseRetriever) -> None:
    RetrieverQueryEngine.from_args(retriever, node_postprocessors=[RerankPostprocessor()])
    RetrieverQueryEngine(retriever=retriever, node_postprocessors=[RerankPostprocessor()])
