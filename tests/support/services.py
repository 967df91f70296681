"""Stand-ins for Voyage, SGLang and NIM, each in the shape of its own documentation.

Their scores are the share of query words a text holds; where a service sends logits, ten times it
less five. A server refuses fields that its API does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rerank_core.testing import Reply, Request
from rerank_core.testing._scorers import overlap

__all__ = ["nim", "sglang", "voyage"]


def voyage(request: Request) -> Reply:
    """https://docs.voyageai.com/reference/reranker-api"""
    known = {"query", "documents", "model", "top_k", "return_documents", "truncation"}
    if refusal := _refusal(request, "/v1/rerank", known, ("query", "documents", "model")):
        return refusal
    query, texts = request.body["query"], request.body["documents"]
    if len(texts) > 1000:
        return Reply({"detail": "The number of documents cannot exceed 1,000."}, status=400)
    return Reply(
        {
            "object": "list",
            "data": _ranked(query, texts, "relevance_score"),
            "model": request.body["model"],
            "usage": {"total_tokens": sum(_words(query, texts))},
        }
    )


def sglang(request: Request) -> Reply:
    """sgl-project/sglang: python/sglang/srt/entrypoints/openai/protocol.py, RerankResponse"""
    known = {"query", "documents", "instruct", "top_n", "return_documents", "model"}
    if refusal := _refusal(request, "/v1/rerank", known, ("query", "documents")):
        return refusal
    query, texts = request.body["query"], request.body["documents"]
    tokens = _words(query, texts)
    ranked = _ranked(query, texts, "score", lambda share: share * 10 - 5)
    for result in ranked:
        index = result["index"]
        result["document"] = texts[index] if request.body.get("return_documents", True) else None
        result["meta_info"] = {
            "id": "9fbaa4f0d64f41e5a3f4e3a3f2a3d5b0",
            "finish_reason": None,
            "prompt_tokens": tokens[index],
            "e2e_latency": 0.012,
        }
    return Reply(ranked)


def nim(request: Request) -> Reply:
    """https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/using-reranking.html"""
    known = {"model", "query", "passages", "truncate"}
    if refusal := _refusal(request, "/v1/ranking", known, ("model", "query", "passages")):
        return refusal
    query = request.body["query"]["text"]
    texts = [passage["text"] for passage in request.body["passages"]]
    if len(texts) > 512 or request.body.get("truncate") not in (None, "END", "NONE"):
        return Reply({"error": "passages: at most 512; truncate: END or NONE"}, status=422)
    tokens = sum(_words(query, texts))
    return Reply(
        {
            "rankings": _ranked(query, texts, "logit", lambda share: share * 10 - 5),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _refusal(request: Request, path: str, known: set[str], needed: Sequence[str]) -> Reply | None:
    if (request.method, request.path) != ("POST", path):
        return Reply({"detail": "Not Found"}, status=404)
    body: Mapping[str, Any] = request.body
    if odd := sorted(body.keys() - known) + [name for name in needed if name not in body]:
        return Reply({"detail": f"not permitted, or missing: {odd}"}, status=422)
    return None


def _ranked(
    query: str, texts: Sequence[str], name: str, scored: Callable[[float], float] = float
) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = [
        {"index": index, name: scored(overlap(query, text))} for index, text in enumerate(texts)
    ]
    return sorted(results, key=lambda result: -float(result[name]))


def _words(query: str, texts: Sequence[str]) -> list[int]:
    return [len(query.split()) + len(text.split()) for text in texts]
