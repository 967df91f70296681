"""Beside the reranker that llama-index-core ships; `peers.py` has the others."""

from __future__ import annotations

from collections.abc import Callable

from llama_index.core.postprocessor import SentenceTransformerRerank

from support.llamaindex_peers import assert_like_sentence_transformers
from support.models import TinyModel


def test_the_order_is_that_of_sentence_transformer_rerank(tiny: Callable[..., TinyModel]) -> None:
    assert_like_sentence_transformers(SentenceTransformerRerank, tiny())
