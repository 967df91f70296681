"""Reranking for LlamaIndex: `RerankPostprocessor`, a node postprocessor over `rerank_core`."""

from rerank_core import MissingExtraError

try:
    from llamaindex_rerank._postprocessor import RerankPostprocessor
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "llama_index":
        raise
    raise MissingExtraError("llamaindex", "llamaindex_rerank") from error

__all__ = ["RerankPostprocessor"]
