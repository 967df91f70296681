"""Reranking for LangChain: `RerankCompressor`, a document compressor over `rerank_core`."""

from rerank_core import MissingExtraError

try:
    from langchain_rerank._compressor import RerankCompressor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "langchain_core":
        raise
    raise MissingExtraError("langchain", "langchain_rerank") from error

__all__ = ["RerankCompressor"]
