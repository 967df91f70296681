"""`rerank demo`: what a second stage changes, on four passages and on real documentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from rerank_core._display import printable
from rerank_core._errors import MissingExtraError, ScorerError
from rerank_core._loading import load_scorer
from rerank_core._reranking import rerank
from rerank_core._types import Ranking, Scale
from rerank_core.cli.demo._corpus import QUESTIONS, Chunk, standard_library_chunks
from rerank_core.cli.demo._passages import PASSAGES, QUESTION

if TYPE_CHECKING:
    from rich.console import Console

    from langchain_rerank import RerankCompressor
    from llamaindex_rerank import RerankPostprocessor
    from rerank_core._scorer import Scorer

__all__ = ["run_demo", "standard_library_chunks"]

_CANDIDATES = 50
_SHOWN = 5

_CODE = """\
# LangChain
from langchain_rerank import RerankCompressor
compressor = RerankCompressor(scorer={scorer}, top_n=5)
best = compressor.compress_documents(documents, query)

# LlamaIndex
from llamaindex_rerank import RerankPostprocessor
postprocessor = RerankPostprocessor(scorer={scorer}, top_n=5)
best = postprocessor.postprocess_nodes(nodes, query_str=query)"""


def run_demo(console: Console, *, scorer: str = "nano") -> None:
    """Show candidates before and after reranking, through both frameworks.

    Args:
        console: Where to print.
        scorer: What scores, as for `load_scorer`.

    Raises:
        MissingExtraError: If LangChain, LlamaIndex or bm25s is not installed.
        RerankError: If the scorer cannot be made or fails.
    """
    for module in ("langchain_core", "llama_index.core", "bm25s"):
        _need(module)
    loaded = load_scorer(scorer)
    _show_passages(console, loaded)
    _show_retrieval(console, loaded)
    console.rule("The same in your program")
    console.print(Text(_CODE.format(scorer=json.dumps(scorer))), soft_wrap=True)


def _show_passages(console: Console, scorer: Scorer) -> None:
    console.rule("Four retrieved passages")
    console.print(Text(f"Question: {QUESTION}"))
    ranking = rerank(
        QUESTION,
        [passage.text for passage in PASSAGES],
        scorer,
        prior=[passage.score for passage in PASSAGES],
    )
    before = [(p.id, f"{p.score:.2f}", p.text) for p in PASSAGES]
    after = [(PASSAGES[item.index].id, _score(item.score), item.text) for item in ranking]
    console.print(_table("Before: the retriever's order", before))
    console.print(_table(f"After: {ranking.scorer}", after))
    note = f"Scores are on the scale {ranking.scale.value!r}"
    if ranking.scale is not Scale.PROBABILITY:
        note += ": compare them within one question; they are not probabilities"
    console.print(Text(f"{note}."))


def _show_retrieval(console: Console, scorer: Scorer) -> None:
    compressor, postprocessor = _adapters(scorer)
    chunks = standard_library_chunks()
    retrieve = _bm25(chunks)
    count = f"top {min(_CANDIDATES, len(chunks))} of {len(chunks):,} chunks"
    console.rule("Real retrieval: the documentation of Python's standard library")
    for question in QUESTIONS:
        found, scores = retrieve(question)
        ranking = rerank(question, [chunk.text for chunk in found], scorer, prior=scores)
        console.print()
        console.print(Text(f"Question: {question}"))
        before = [
            (chunk.id, _score(score), chunk.text)
            for chunk, score in zip(found[:_SHOWN], scores, strict=False)
        ]
        after = [(found[item.index].id, _score(item.score), item.text) for item in ranking[:_SHOWN]]
        console.print(_table(f"Before: BM25, {count}", before))
        console.print(_table(f"After: {ranking.scorer}", after))
        _show_frameworks(console, question, found, ranking, compressor, postprocessor)
    console.print()
    console.print(
        Text(
            "A reranker does not help every question. Whether it helps yours, only your own "
            "questions can tell."
        )
    )


def _show_frameworks(
    console: Console,
    question: str,
    found: Sequence[Chunk],
    ranking: Ranking,
    compressor: RerankCompressor,
    postprocessor: RerankPostprocessor,
) -> None:
    """Rerank through both frameworks, check that they agree with the core, and say the cost."""
    from langchain_core.documents import Document
    from llama_index.core.schema import NodeWithScore, TextNode

    documents = [Document(page_content=chunk.text, id=chunk.id) for chunk in found]
    nodes = [NodeWithScore(node=TextNode(text=chunk.text, id_=chunk.id)) for chunk in found]
    started = perf_counter()
    kept = compressor.compress_documents(documents, question)
    between = perf_counter()
    scored = postprocessor.postprocess_nodes(nodes, query_str=question)
    ended = perf_counter()

    core = [(found[item.index].id, item.score) for item in ranking]
    langchain = [(document.id, document.metadata.get("relevance_score")) for document in kept]
    llamaindex = [(node.node.node_id, node.score) for node in scored]
    if not core == langchain == llamaindex:
        raise ScorerError("LangChain and LlamaIndex do not agree on the order", provider="demo")
    usage = ranking.usage
    console.print(
        Text(
            f"LangChain {1000 * (between - started):.0f} ms, "
            f"LlamaIndex {1000 * (ended - between):.0f} ms: same order, same scores. "
            f"Usage of each: {usage.pairs} pairs, {usage.tokens:,} tokens, "
            f"{usage.padding:,} padding, {usage.truncated} truncated."
        )
    )


def _need(module: str) -> None:
    try:
        import_module(module)
    except ImportError as error:
        raise MissingExtraError("demo", "rerank demo") from error


def _adapters(scorer: Scorer) -> tuple[RerankCompressor, RerankPostprocessor]:
    from langchain_rerank import RerankCompressor
    from llamaindex_rerank import RerankPostprocessor

    return (
        RerankCompressor(scorer=scorer, top_n=None),
        RerankPostprocessor(scorer=scorer, top_n=None),
    )


def _bm25(chunks: Sequence[Chunk]) -> Callable[[str], tuple[list[Chunk], list[float]]]:
    """Index the chunks, and return what finds the best of them for a question."""
    import bm25s

    index = bm25s.BM25()
    tokens = bm25s.tokenize([chunk.text for chunk in chunks], show_progress=False)
    index.index(tokens, show_progress=False)

    def retrieve(question: str) -> tuple[list[Chunk], list[float]]:
        wanted = bm25s.tokenize(question, show_progress=False)
        positions, scores = index.retrieve(
            wanted, k=min(_CANDIDATES, len(chunks)), show_progress=False
        )
        return [chunks[position] for position in positions[0].tolist()], scores[0].tolist()

    return retrieve


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"


def _table(title: str, rows: Sequence[tuple[str, str, str]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True, overflow="ellipsis", max_width=36)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("text")  # the only one that gives way on a narrow terminal
    for identity, score, text in rows:
        snippet = Text(printable(text[:500]), no_wrap=True, overflow="ellipsis")
        table.add_row(Text(printable(identity)), score, snippet)
    return table
