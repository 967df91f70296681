"""`rerank demo`: what a second stage changes, on four passages and on real documentation."""

from __future__ import annotations

import ast
import json
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core._display import printable
from rerank_core._errors import MissingExtraError, ScorerError
from rerank_core._loading import load_scorer
from rerank_core._reranking import rerank
from rerank_core._types import Ranking, Scale
from rerank_core.cli._guard import interrupt_held

if TYPE_CHECKING:
    from rerank_core._scorer import Scorer

__all__ = ["PASSAGES", "QUESTION", "QUESTIONS", "run_demo", "standard_library_chunks"]


class Passage(NamedTuple):
    """A retrieved passage with its first-stage score."""

    id: str
    score: float | None
    text: str


QUESTION = "What are the latest advancements in AI for drug discovery?"
PASSAGES = (
    Passage(
        "doc_101",
        0.85,
        "Deep learning is changing how medicines are found: generative models now propose new "
        "drug molecules, predict how strongly they bind to a protein, and rank them by toxicity, "
        "which shortens drug discovery from years to months.",
    ),
    Passage(
        "doc_205",
        0.72,
        "Artificial intelligence is spreading through many industries. In healthcare it helps "
        "doctors to read scans, plan treatments and predict how patients will fare.",
    ),
    Passage(
        "doc_312",
        0.65,
        "Pharmaceutical companies spend billions on research and development. Bringing a drug "
        "from the laboratory through clinical trials to approval takes more than ten years.",
    ),
    Passage(
        "doc_450",
        0.60,
        "Recent progress in artificial intelligence includes language models that write and "
        "translate text, and vision systems that recognise objects in pictures.",
    ),
)
"""Passages as a retriever might return them: near the question, in poor order."""

QUESTIONS = (
    "How can I measure how long a small piece of code takes to run?",
    "How do I generate a secure random password token?",
    "How do I write log messages to a file that rotates every day?",
)
_CANDIDATES = 50
_SHOWN = 5

_SHORTEST, _LONGEST = 60, 900  # characters of a chunk
_NOT_FOR_USERS = frozenset(
    {"distutils", "idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
)

_CODE = """\
# LangChain
from langchain_rerank import RerankCompressor
compressor = RerankCompressor(scorer={scorer}, top_n=5)
best = compressor.compress_documents(documents, query)

# LlamaIndex
from llamaindex_rerank import RerankPostprocessor
postprocessor = RerankPostprocessor(scorer={scorer}, top_n=5)
best = postprocessor.postprocess_nodes(nodes, query_str=query)"""


class WholeConsole(Console):
    """A console that holds Ctrl-C back while it prints, so that output ends after a whole line."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, see `Console.print`."""
        with interrupt_held():
            super().print(*objects, **options)


class Chunk(NamedTuple):
    """A piece of documentation.

    Attributes:
        id: Where it is from, such as ``"csv.DictReader"``; later pieces of one text are numbered.
        text: The piece, under the name of what it documents.
    """

    id: str
    text: str


def run_demo(console: Console, *, scorer: str = "nano") -> None:
    """Show candidates before and after reranking, through both frameworks.

    Args:
        console: Where to print.
        scorer: The scorer, as for `load_scorer`.

    Raises:
        MissingExtraError: If LangChain, LlamaIndex or bm25s is not installed.
        RerankError: If the scorer cannot be made or fails.
    """
    for module in ("langchain_core", "llama_index.core", "bm25s"):
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError("demo", "rerank demo") from error
    loaded = load_scorer(scorer)
    _show_passages(console, loaded)
    _show_retrieval(console, loaded)
    console.rule("The same in your program")
    console.print(Text(_CODE.format(scorer=json.dumps(scorer))), soft_wrap=True)


def _show_passages(console: Console, scorer: Scorer) -> None:
    console.rule("Four retrieved passages")
    console.print(Text(f"Question: {QUESTION}"))
    texts, scores = [p.text for p in PASSAGES], [p.score for p in PASSAGES]
    ranking = rerank(QUESTION, texts, scorer, prior=scores)
    console.print(_table("Before: the retriever's order", PASSAGES))
    console.print(_after(ranking, [p.id for p in PASSAGES]))
    note = f"Scores are on the scale {ranking.scale.value!r}"
    if ranking.scale is not Scale.PROBABILITY:
        note += ": compare them within one question; they are not probabilities"
    console.print(Text(f"{note}."))


def _show_retrieval(console: Console, scorer: Scorer) -> None:
    from langchain_rerank import RerankCompressor
    from llamaindex_rerank import RerankPostprocessor

    compress = RerankCompressor(scorer=scorer, top_n=None).compress_documents
    postprocess = RerankPostprocessor(scorer=scorer, top_n=None).postprocess_nodes
    chunks = standard_library_chunks()
    retrieve = _bm25(chunks)
    title = f"Before: BM25, top {min(_CANDIDATES, len(chunks))} of {len(chunks):,} chunks"
    console.rule("Real retrieval: the documentation of Python's standard library")
    for question in QUESTIONS:
        found, scores = retrieve(question)
        ranking = rerank(question, [chunk.text for chunk in found], scorer, prior=scores)
        console.print()
        console.print(Text(f"Question: {question}"))
        before = [Passage(c.id, score, c.text) for c, score in zip(found, scores, strict=True)]
        console.print(_table(title, before[:_SHOWN]))
        console.print(_after(ranking, [chunk.id for chunk in found]))
        console.print(Text(_frameworks(question, found, ranking, compress, postprocess)))
    console.print()
    console.print(
        Text(
            "A reranker does not help every question. Whether it helps yours, only your own "
            "questions can tell."
        )
    )


def _frameworks(
    question: str,
    found: Sequence[Chunk],
    ranking: Ranking,
    compress: Callable[..., Sequence[Any]],
    postprocess: Callable[..., Sequence[Any]],
) -> str:
    """Rerank through both frameworks, check that they agree with the core, and return the cost."""
    from langchain_core.documents import Document
    from llama_index.core.schema import NodeWithScore, TextNode

    documents = [Document(page_content=chunk.text, id=chunk.id) for chunk in found]
    nodes = [NodeWithScore(node=TextNode(text=chunk.text, id_=chunk.id)) for chunk in found]
    started = perf_counter()
    kept = compress(documents, question)
    between = perf_counter()
    scored = postprocess(nodes, query_str=question)
    ended = perf_counter()

    core = [(found[item.index].id, item.score) for item in ranking]
    langchain = [(document.id, document.metadata.get("relevance_score")) for document in kept]
    llamaindex = [(node.node.node_id, node.score) for node in scored]
    if not core == langchain == llamaindex:
        raise ScorerError("LangChain and LlamaIndex do not agree on the order", provider="demo")
    usage = ranking.usage
    return (
        f"LangChain {1000 * (between - started):.0f} ms, "
        f"LlamaIndex {1000 * (ended - between):.0f} ms: same order, same scores. "
        f"Usage of each: {usage.pairs} pairs, {usage.tokens:,} tokens, "
        f"{usage.padding:,} padding, {usage.truncated} truncated."
    )


def _bm25(chunks: Sequence[Chunk]) -> Callable[[str], tuple[list[Chunk], list[float]]]:
    """Index the chunks, and return a function that finds the best of them for a question."""
    import bm25s

    index = bm25s.BM25()
    tokens = bm25s.tokenize([chunk.text for chunk in chunks], show_progress=False)
    index.index(tokens, show_progress=False)

    def retrieve(question: str) -> tuple[list[Chunk], list[float]]:
        wanted = bm25s.tokenize(question, show_progress=False)
        count = min(_CANDIDATES, len(chunks))
        positions, scores = index.retrieve(wanted, k=count, show_progress=False)
        return [chunks[position] for position in positions[0].tolist()], scores[0].tolist()

    return retrieve


def _after(ranking: Ranking, ids: Sequence[str]) -> Table:
    rows = [Passage(ids[item.index], item.score, item.text) for item in ranking[:_SHOWN]]
    return _table(f"After: {ranking.scorer}", rows)


def _table(title: str, rows: Sequence[Passage]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True, overflow="ellipsis", max_width=36)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("text")  # the only column that gives way on a narrow terminal
    for identity, score, text in rows:
        snippet = Text(printable(text[:500]), no_wrap=True, overflow="ellipsis")
        table.add_row(Text(printable(identity)), "-" if score is None else f"{score:.2f}", snippet)
    return table


def standard_library_chunks() -> list[Chunk]:
    """Cut the documentation strings of the standard library's Python files into chunks.

    Nothing is imported: the files are parsed. Paragraphs are kept whole.

    Returns:
        The chunks, sorted by module; the same for one Python version.
    """
    root = Path(sysconfig.get_path("stdlib"))
    chunks: dict[str, Chunk] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _NOT_FOR_USERS.isdisjoint(parts) and not parts[0].startswith("_"):
            module = ".".join(parts).removesuffix(".__init__")
            for chunk in _chunks_of(path, module):
                chunks.setdefault(chunk.text, chunk)  # some texts are in several modules
    return list(chunks.values())


def _chunks_of(path: Path, module: str) -> Iterator[Chunk]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # some files of the library are broken on purpose
        return
    waiting: list[tuple[str, ast.AST]] = [(module, tree)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for number, piece in enumerate(_pieces(ast.get_docstring(node) or ""), start=1):
                yield Chunk(name if number == 1 else f"{name}#{number}", f"{name}: {piece}")
            waiting += [
                (f"{name}.{child.name}", child)
                for child in node.body
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not child.name.startswith("_")
            ]


def _pieces(documentation: str) -> Iterator[str]:
    """Join paragraphs up to the greatest length of a chunk."""
    piece = ""
    for paragraph in documentation.split("\n\n"):
        if piece and len(piece) + len(paragraph) > _LONGEST:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    if len(piece) >= _SHORTEST:
        yield piece
