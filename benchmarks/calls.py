"""The calls that `--against` times, in a process that has the code of one side on its path.

A script without imports from this package, and with public names of rerank-core only, as it runs
on the code of earlier revisions too. It takes the folder of that code and a JSON file of `Inputs`.
For each line of stdin, ``{"call": …, "seconds": …}``, it repeats a call for so long, at least
once, and answers with the list of seconds that each one took.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_core import CohereScorer, Scale, Scorer, Scoring, Usage, arerank, load_scorer, rerank

__all__ = ["ByLength", "adapter_calls"]


class ByLength(Scorer):
    """Scores a text by its length, which takes no time."""

    name = fingerprint = "length"
    scale = Scale.LOGIT

    def _score(self, _query: str, texts: Sequence[str], _progress: Any) -> Scoring:
        return Scoring(tuple(float(len(text)) for text in texts), Usage(pairs=len(texts)))


@dataclass(frozen=True)
class Inputs:
    """Inputs of the calls.

    Attributes:
        queries: Questions; the first one is asked where one is enough.
        mixed: 50 candidates as chunks of documents are.
        short: 50 short candidates.
        model: Folder of an ONNX model, or None.
        service: Address of a stand-in for Cohere's service.
    """

    queries: list[str]
    mixed: list[str]
    short: list[str]
    model: str | None
    service: str


def adapter_calls(query: str, texts: Sequence[str]) -> dict[str, Callable[[], object]]:
    """Return a call of each adapter, by the framework's name, with a scorer that takes no time."""
    return {"LangChain": _langchain(query, texts), "LlamaIndex": _llamaindex(query, texts)}


_METADATA = {"source": "https://example.org/page", "page": 7}


def _langchain(query: str, texts: Sequence[str]) -> Callable[[], object]:
    from langchain_core.documents import Document

    from langchain_rerank import RerankCompressor

    compressor = RerankCompressor(scorer=ByLength(), top_n=None)
    documents = [Document(page_content=text, metadata=dict(_METADATA)) for text in texts]
    return lambda: compressor.compress_documents(documents, query)


def _llamaindex(query: str, texts: Sequence[str]) -> Callable[[], object]:
    from llama_index.core.schema import NodeWithScore, TextNode

    from llamaindex_rerank import RerankPostprocessor

    postprocessor = RerankPostprocessor(scorer=ByLength(), top_n=None)
    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata=dict(_METADATA)), score=0.5)
        for text in texts
    ]
    return lambda: postprocessor.postprocess_nodes(nodes, query_str=query)


def _nano(inputs: Inputs) -> Callable[[], object]:
    scorer = load_scorer("nano")
    return lambda: rerank(inputs.queries[0], inputs.mixed, scorer)


def _onnx(inputs: Inputs) -> Callable[[], object]:
    scorer = load_scorer(f"onnx:{inputs.model}")
    return lambda: rerank(inputs.queries[0], inputs.mixed[:10], scorer)


def _many(inputs: Inputs) -> Callable[[], object]:
    scorer = load_scorer("nano")
    queries = inputs.queries[:5]
    groups = [inputs.short[start::5] for start in range(len(queries))]
    return lambda: scorer.score_many(queries, groups)


def _cohere(inputs: Inputs) -> Callable[[], object]:
    scorer = CohereScorer("m", api_key="k-0123456789", base_url=inputs.service)
    return lambda: rerank(inputs.queries[0], inputs.short, scorer)


def _acohere(inputs: Inputs) -> Callable[[], object]:
    scorer = CohereScorer("m", api_key="k-0123456789", base_url=inputs.service)
    run = asyncio.Runner().run  # one event loop, which keeps its connections
    return lambda: run(arerank(inputs.queries[0], inputs.short, scorer))


_CALLS: dict[str, Callable[[Inputs], Callable[[], object]]] = {
    "nano": _nano,
    "onnx": _onnx,
    "score_many": _many,
    "cohere": _cohere,
    "cohere, async": _acohere,
    "langchain": lambda inputs: _langchain(inputs.queries[0], inputs.short),
    "llamaindex": lambda inputs: _llamaindex(inputs.queries[0], inputs.short),
}


def _repeat(call: Callable[[], object], seconds: float) -> list[float]:
    taken: list[float] = []
    now = time.perf_counter()
    end = now + seconds
    while not taken or now < end:
        started = now
        call()
        now = time.perf_counter()
        taken.append(now - started)
    return taken


def _check_origin(folder: Path) -> None:
    """Make sure that no package of the other side is measured."""
    for name in ("rerank_core", "langchain_rerank", "llamaindex_rerank"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and not Path(file).resolve().is_relative_to(folder.resolve()):
            raise RuntimeError(f"{name} comes from {file}, not from {folder}")


def main() -> None:
    """Serve requests until stdin ends."""
    folder, inputs_file = map(Path, sys.argv[1:])
    inputs = Inputs(**json.loads(inputs_file.read_text(encoding="utf-8")))
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    ready: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request["call"]
        if name not in ready:
            ready[name] = _CALLS[name](inputs)
            _check_origin(folder)
            ready[name]()  # a model is loaded, or a connection opened
            gc.collect()
            gc.freeze()  # a collection should not wander through libraries
        print(json.dumps(_repeat(ready[name], request["seconds"])), file=answers, flush=True)


if __name__ == "__main__":
    main()
