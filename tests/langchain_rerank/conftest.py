"""A real FAISS index over six texts, each with an id."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
from langchain_core.embeddings import Embeddings

from support.embeddings import TEXTS, embed

if TYPE_CHECKING:
    from langchain_community.vectorstores import FAISS


class HashingEmbeddings(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [embed(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return embed(text)


@pytest.fixture
def store() -> FAISS:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "`langchain-community` is being sunset", DeprecationWarning
        )
        from langchain_community.vectorstores import FAISS

    return FAISS.from_texts(
        list(TEXTS),
        HashingEmbeddings(),
        metadatas=[{"source": {"page": n}} for n in range(len(TEXTS))],
        ids=[f"id-{n}" for n in range(len(TEXTS))],
    )
