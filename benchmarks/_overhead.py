"""What the adapters cost beside scoring: with a scorer that takes no time, against `rerank`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from rerank_core import Progress, Scale, Scorer, Scoring, Usage, rerank

__all__ = ["adapter_overhead"]


class _ByLength(Scorer):
    """Scores a text by its length."""

    name = fingerprint = "length"
    scale = Scale.LOGIT

    def _score(self, _query: str, texts: Sequence[str], _progress: Progress) -> Scoring:
        return Scoring(tuple(float(len(text)) for text in texts), Usage(pairs=len(texts)))


def adapter_overhead(query: str, texts: Sequence[str], repeats: int) -> dict[str, float]:
    """Time both adapters and the core in turns.

    Args:
        query: The question.
        texts: The candidates.
        repeats: Calls of each.

    Returns:
        Microseconds per document that each adapter adds to `rerank`, by the framework's name.
    """
    from langchain_core.documents import Document
    from llama_index.core.schema import NodeWithScore, TextNode

    from langchain_rerank import RerankCompressor
    from llamaindex_rerank import RerankPostprocessor

    scorer = _ByLength()
    compressor = RerankCompressor(scorer=scorer, top_n=None)
    postprocessor = RerankPostprocessor(scorer=scorer, top_n=None)
    metadata = {"source": "https://example.org/page", "page": 7}
    documents = [Document(page_content=text, metadata=dict(metadata)) for text in texts]
    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata=dict(metadata)), score=0.5)
        for text in texts
    ]
    calls: dict[str, Callable[[], object]] = {
        "core": lambda: rerank(query, texts, scorer),
        "LangChain": lambda: compressor.compress_documents(documents, query),
        "LlamaIndex": lambda: postprocessor.postprocess_nodes(nodes, query_str=query),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if number:  # the first one warms up
                seconds[name].append(time.perf_counter() - started)
    core = statistics.median(seconds.pop("core"))
    return {
        name: 1e6 * (statistics.median(taken) - core) / len(texts)
        for name, taken in seconds.items()
    }
