"""Reranking for LangChain, over `rerank_core`.

`RerankCompressor` is a document compressor, `RerankRetriever` a retriever, `RerankRunnable` a step
for chains, and `CrossEncoderModel` a scorer for code that takes LangChain's cross-encoders. They
need langchain-core only. `langchain_rerank.middleware`, which needs langchain, is for agents.
"""

from typing import TYPE_CHECKING, Any

from rerank_core import MissingExtraError

try:
    from langchain_rerank._compressor import RerankCompressor, RerankRunnable
    from langchain_rerank._retriever import RerankRetriever
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "langchain_core":
        raise
    raise MissingExtraError("langchain", "langchain_rerank") from error

if TYPE_CHECKING:
    from langchain_rerank._cross_encoder import CrossEncoderModel

__all__ = [
    "CrossEncoderModel",
    "RerankCompressor",
    "RerankRetriever",
    "RerankRunnable",
]


def __getattr__(name: str) -> Any:
    # Its base class is in langchain-core or, with the first releases of 1, in langchain-classic,
    # which is slow to import.
    if name == "CrossEncoderModel":
        from langchain_rerank._cross_encoder import CrossEncoderModel

        return CrossEncoderModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
