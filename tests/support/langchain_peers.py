"""Documents that LangChain's own rerankers and ours are compared on."""

from __future__ import annotations

import random
from typing import Any

from langchain_core.documents import Document

from support.models import WORDS

__all__ = ["DOCUMENTS", "QUERY", "SUNSET", "places"]

SUNSET = "`langchain-community` is being sunset"

chance = random.Random(7)
QUERY = "neural network for drug discovery"
DOCUMENTS = [
    Document(" ".join(chance.sample(WORDS, chance.randint(3, 30))), metadata={"n": n})
    for n in range(40)
]


def places(documents: Any) -> list[int]:
    return [document.metadata["n"] for document in documents]
