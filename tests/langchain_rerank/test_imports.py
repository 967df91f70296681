"""``import langchain_rerank`` loads langchain-core and the light part of the core, no more."""

from __future__ import annotations

import subprocess
import sys

HEAVY = {
    "cohere",
    "faiss",
    "langchain",
    "langchain_classic",
    "langchain_community",
    "langgraph",
    "llama_index",
    "numpy",
    "onnxruntime",
    "sentence_transformers",
    "tokenizers",
    "torch",
    "transformers",
}


def loaded_by(code: str) -> set[str]:
    code = f"import sys; {code}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_import_is_light() -> None:
    loaded = loaded_by("import langchain_rerank")
    assert {"langchain_core", "rerank_core"} <= loaded
    assert loaded & HEAVY == set()


def test_so_is_making_what_is_not_yet_used() -> None:
    code = (
        "from langchain_rerank import RerankCompressor, RerankRetriever; "
        "from langchain_core.runnables import RunnableLambda; "
        "RerankRetriever(base_retriever=RunnableLambda(list), compressor=RerankCompressor()); "
        "RerankCompressor(scorer='cohere:rerank-v3.5').as_runnable()"
    )
    assert loaded_by(code) & (HEAVY - {"numpy"}) == set()
