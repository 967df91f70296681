"""A process for one system: loads it through its public code, then scores what stdin asks for.

A script without imports from this project, as most systems run in environments that lack it. It
takes the system's kind and its model, and for each line ``{"query": …, "texts": […]}`` it writes a
line with the seconds that scoring took, scores in the order of the texts, and its peak memory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


class _System:
    """A loaded system; making documents and reading results stay outside the time taken."""

    threads = "all cores (ONNX Runtime's default)"

    def documents(self, texts: list[str]) -> Any:
        return texts

    def run(self, query: str, documents: Any) -> Any:
        raise NotImplementedError

    def scores(self, result: Any) -> list[float]:
        return [float(score) for score in result]


class _RerankCore(_System):
    def __init__(self, model: str) -> None:
        from rerank_core import load_scorer, rerank
        from rerank_core._local.onnx import default_threads

        self._rerank, self._scorer = rerank, load_scorer(model)
        self.threads = f"{default_threads()}, one per batch"

    def run(self, query: str, documents: Any) -> Any:
        return self._rerank(query, documents, self._scorer)

    def scores(self, result: Any) -> list[float]:
        return [item.score for item in sorted(result, key=lambda item: item.index)]


class _Torch(_System):
    def __init__(self) -> None:
        import torch

        self.threads = f"{torch.get_num_threads()} (torch's default)"


class _SentenceTransformers(_Torch):
    def __init__(self, model: str) -> None:
        from sentence_transformers import CrossEncoder

        super().__init__()
        self._model = CrossEncoder(model)

    def run(self, query: str, documents: Any) -> Any:
        return self._model.predict([(query, text) for text in documents])


class _LangChain(_Torch):
    def __init__(self, model: str) -> None:
        from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
        from langchain_community.cross_encoders import HuggingFaceCrossEncoder
        from langchain_core.documents import Document

        super().__init__()
        self._document = Document
        encoder = HuggingFaceCrossEncoder(model_name=model)
        self._reranker = CrossEncoderReranker(model=encoder, top_n=10_000)

    def documents(self, texts: list[str]) -> Any:
        return [
            self._document(page_content=text, metadata={"place": place})
            for place, text in enumerate(texts)
        ]

    def run(self, query: str, documents: Any) -> Any:
        return self._reranker.compress_documents(documents, query)

    def scores(self, result: Any) -> list[float]:
        """Return places from the end in their stead, as this system gives no scores."""
        places = [document.metadata["place"] for document in result]
        return [float(-places.index(place)) for place in range(len(places))]


class _LlamaIndex(_Torch):
    def __init__(self, model: str) -> None:
        from llama_index.core.postprocessor import SentenceTransformerRerank
        from llama_index.core.schema import NodeWithScore, TextNode

        super().__init__()
        self._node, self._with_score = TextNode, NodeWithScore
        self._reranker = SentenceTransformerRerank(model=model, top_n=10_000)

    def documents(self, texts: list[str]) -> Any:
        return [
            self._with_score(node=self._node(text=text, id_=str(place)))
            for place, text in enumerate(texts)
        ]

    def run(self, query: str, documents: Any) -> Any:
        return self._reranker.postprocess_nodes(documents, query_str=query)

    def scores(self, result: Any) -> list[float]:
        return [float(node.score) for node in sorted(result, key=lambda node: int(node.node_id))]


class _Rerankers(_Torch):
    def __init__(self, model: str) -> None:
        from rerankers import Reranker

        super().__init__()
        self._ranker = Reranker(model, model_type="cross-encoder", verbose=0)

    def run(self, query: str, documents: Any) -> Any:
        return self._ranker.rank(query, documents)

    def scores(self, result: Any) -> list[float]:
        found = sorted(result.results, key=lambda item: item.document.doc_id)
        return [float(item.score) for item in found]


class _FlashRank(_System):
    def __init__(self, model: str) -> None:
        from flashrank import Ranker, RerankRequest

        self._request = RerankRequest
        folder, name = os.path.split(model)
        self._ranker = Ranker(model_name=name, cache_dir=folder)

    def documents(self, texts: list[str]) -> Any:
        return [{"id": place, "text": text} for place, text in enumerate(texts)]

    def run(self, query: str, documents: Any) -> Any:
        return self._ranker.rerank(self._request(query=query, passages=documents))

    def scores(self, result: Any) -> list[float]:
        return [float(item["score"]) for item in sorted(result, key=lambda item: item["id"])]


class _FastEmbed(_System):
    def __init__(self, model: str) -> None:
        from fastembed.common.model_description import ModelSource
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        name = "benchmark/cross-encoder"
        TextCrossEncoder.add_custom_model(
            name, sources=ModelSource(hf=name), model_file="model.onnx"
        )
        self._model = TextCrossEncoder(name, specific_model_path=model)

    def run(self, query: str, documents: Any) -> Any:
        return list(self._model.rerank(query, documents))


_KINDS = {
    "rerank-core": _RerankCore,
    "sentence-transformers": _SentenceTransformers,
    "langchain": _LangChain,
    "llamaindex": _LlamaIndex,
    "rerankers": _Rerankers,
    "flashrank": _FlashRank,
    "fastembed": _FastEmbed,
}


def _peak_bytes() -> int:
    """Most memory this process has had.

    Not getrusage's on Linux: that one starts from the memory of the process that started this.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)


def _limit_memory() -> None:
    """Let a system that wants more than half of the machine's memory fail, and nothing else."""
    if sys.platform == "linux":
        import resource

        half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        resource.setrlimit(resource.RLIMIT_DATA, (half, half))


def main() -> None:
    """Serve requests until stdin ends."""
    _limit_memory()
    # What a system prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    system = _KINDS[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        request = json.loads(line)
        documents = system.documents(request["texts"])
        started = time.perf_counter()
        result = system.run(request["query"], documents)
        seconds = time.perf_counter() - started
        answer = {
            "seconds": seconds,
            "scores": system.scores(result),
            "peak_bytes": _peak_bytes(),
            "threads": system.threads,
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
