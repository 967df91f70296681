"""Beside LlamaIndex's rerankers in packages of their own, one of which needs an older Cohere SDK.

So this is not part of the suite: `nox -s peers` installs them and runs it.
"""

from __future__ import annotations

from collections.abc import Callable

# mypy: disable-error-code="import-not-found,import-untyped"
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.sbert_rerank import SentenceTransformerRerank

from support.llamaindex_peers import assert_like_cohere, assert_like_sentence_transformers
from support.models import TinyModel


def test_the_order_is_that_of_sentence_transformer_rerank(tiny: Callable[..., TinyModel]) -> None:
    assert_like_sentence_transformers(SentenceTransformerRerank, tiny())


def test_the_order_is_that_of_cohere_rerank() -> None:
    assert_like_cohere(CohereRerank)
