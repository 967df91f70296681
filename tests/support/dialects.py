"""Answers of servers that follow Cohere, each in the exact shape of its own.

Their scores are the share of query words a text holds. A server refuses fields that its dialect
does not have, which few real ones do: what is sent must please the strictest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rerank_core.testing import OverlapScorer, Reply, Request

__all__ = ["DIALECTS", "Dialect"]

TOKENS = 42  # read for any request
BASIC = frozenset({"model", "query", "documents", "top_n"})


@dataclass(frozen=True)
class Dialect:
    """One server's way to speak.

    Attributes:
        name: The server.
        paths: Where it listens.
        body: Makes the answer of the sorted results, each an index and a score, and the request.
        fields: What a request may hold.
        tokens: What an answer's usage must be read as.
        billed: The billed units likewise.
    """

    name: str
    paths: tuple[str, ...]
    body: Callable[[list[tuple[int, float]], dict[str, Any]], dict[str, Any]]
    fields: frozenset[str] = BASIC
    tokens: int = TOKENS
    billed: dict[str, float] = field(default_factory=dict)

    def answer(self, request: Request) -> Reply:
        """Answer as the server does, where it listens."""
        if request.path not in self.paths:
            return Reply({"detail": "Not Found"}, status=404)
        unknown = request.body.keys() - self.fields
        if unknown:
            return Reply({"detail": f"Extra inputs are not permitted: {unknown}"}, status=422)
        scores = OverlapScorer().score(request.body["query"], request.body["documents"]).scores
        scored = [(index, score or 0.0) for index, score in enumerate(scores)]
        scored.sort(key=lambda pair: -pair[1])
        return Reply(self.body(scored, request.body))


def _plain(scored: list[tuple[int, float]]) -> list[dict[str, Any]]:
    return [{"index": index, "relevance_score": score} for index, score in scored]


def _with_documents(
    scored: list[tuple[int, float]], request: dict[str, Any], **more: None
) -> list[dict[str, Any]]:
    texts = request["documents"]
    return [
        {"index": index, "document": {"text": texts[index], **more}, "relevance_score": score}
        for index, score in scored
    ]


DIALECTS = [
    Dialect(  # https://docs.cohere.com/reference/rerank
        "cohere",
        ("/v2/rerank", "/v1/rerank"),
        lambda scored, request: {
            "results": _plain(scored),
            "id": "07734bd2-2473-4f07-94e1-0d9f0e6843cf",
            "meta": {
                "api_version": {"version": "2", "is_experimental": False},
                "billed_units": {"search_units": 1},
            },
        },
        BASIC | {"max_tokens_per_doc", "priority"},
        tokens=0,
        billed={"search_units": 1.0},
    ),
    Dialect(  # vllm-project/vllm: vllm/entrypoints/pooling/scoring/protocol.py, RerankResponse
        "vllm",
        ("/rerank", "/v1/rerank", "/v2/rerank"),
        lambda scored, request: {
            "id": "rerank-b389becfb1070107",
            "model": request["model"],
            "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS},
            "results": _with_documents(scored, request, multi_modal=None),
        },
        BASIC | {"truncate_prompt_tokens", "use_activation", "max_tokens_per_doc", "instruction"},
    ),
    Dialect(  # Jina's form, as gateways give it: https://docs.newapi.pro/en/api/jinaai-rerank
        "jina",
        ("/v1/rerank",),
        lambda scored, request: {
            "model": request["model"],
            "object": "list",
            "usage": {"total_tokens": TOKENS},
            "results": _with_documents(scored, request)
            if request.get("return_documents", True)
            else _plain(scored),
        },
        BASIC | {"return_documents"},
    ),
    Dialect(  # ggml-org/llama.cpp: tools/server/README.md, POST /reranking; and its source
        "llama.cpp",
        ("/v1/rerank", "/rerank", "/v1/reranking", "/reranking"),
        lambda scored, request: {
            "model": request["model"],
            "object": "list",
            "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS},
            "results": _plain(scored),
        },
    ),
    Dialect(  # infinity_emb 0.0.78: fastapi_schemas/pymodels.py, ReRankResult
        "infinity",
        ("/rerank",),
        lambda scored, request: {
            "object": "rerank",
            "results": [{**result, "document": None} for result in _plain(scored)],
            "model": request["model"],
            "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS},
            "id": "infinity-7e0f0f2f-9a9e-4d76-8e53-5a8f7c1f7a34",
            "created": 1_700_000_000,
        },
        BASIC | {"return_documents", "raw_scores"},
    ),
    Dialect(  # BerriAI/litellm: litellm/types/rerank.py, RerankResponse
        "litellm",
        ("/rerank", "/v1/rerank", "/v2/rerank"),
        lambda scored, request: {
            "id": None,
            "results": _plain(scored),
            "meta": {
                "api_version": None,
                "billed_units": {"search_units": None, "total_tokens": TOKENS},
                "tokens": {"input_tokens": TOKENS, "output_tokens": None},
            },
        },
        BASIC | {"rank_fields", "return_documents", "max_chunks_per_doc", "max_tokens_per_doc"},
        billed={"total_tokens": float(TOKENS)},
    ),
]
