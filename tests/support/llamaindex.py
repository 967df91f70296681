"""A small LlamaIndex index, and an LLM that says what it is told to and keeps what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.schema import BaseNode, NodeWithScore, TextNode
from pydantic import PrivateAttr

from support.embeddings import TEXTS, embed

__all__ = ["BEST", "QUERY", "HashingEmbedding", "ScriptedLLM", "found", "make_index"]

QUERY = "how brew green tea"
BEST = [("id-4", 1.0), ("id-2", 0.5)]
"""The two best of `make_index` for `QUERY` by `OverlapScorer`; by embeddings id-1 is second."""


class HashingEmbedding(BaseEmbedding):
    """`embed` for LlamaIndex."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return embed(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return embed(text)


class ScriptedLLM(CustomLLM):
    """Gives its answers in turn, then repeats the last one; streams them word by word.

    Args:
        answers: What it says.

    Attributes:
        prompts: Every prompt so far.
    """

    _answers: list[str] = PrivateAttr()
    _prompts: list[str] = PrivateAttr()

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self._answers = [*answers]
        self._prompts = []

    @property
    def prompts(self) -> list[str]:
        return self._prompts

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def _answer(self, prompt: str) -> str:
        self._prompts.append(prompt)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self._answer(prompt))

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        words = self._answer(prompt).split(" ")

        def stream() -> CompletionResponseGen:
            for end, word in enumerate(words):
                so_far = " ".join(words[: end + 1])
                yield CompletionResponse(text=so_far, delta=f" {word}" if end else word)

        return stream()


def make_index(nodes: Sequence[BaseNode] | None = None) -> VectorStoreIndex:
    """Index the nodes, or one node for each of a few texts, under the ids id-0, id-1, …"""
    if nodes is None:
        nodes = [TextNode(text=text, id_=f"id-{n}") for n, text in enumerate(TEXTS)]
    return VectorStoreIndex([*nodes], embed_model=HashingEmbedding())


def found(nodes: Sequence[NodeWithScore]) -> list[tuple[str, float | None]]:
    """Return what came out: ids and scores."""
    return [(node.node_id, node.score) for node in nodes]
