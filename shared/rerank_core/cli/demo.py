"""`rerank demo`: what reranking changes, on questions about Python and on four passages."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core._display import change_of_place, printable
from rerank_core._errors import MissingExtraError, ScorerError
from rerank_core._loading import load_scorer
from rerank_core._reranking import rerank
from rerank_core._types import Scale
from rerank_core.cli._guard import interrupt_held
from rerank_core.evaluation import Collection, first_stage

if TYPE_CHECKING:
    from rerank_core._scorer import Scorer

__all__ = [
    "DEPTH",
    "PASSAGES",
    "PLACES",
    "QUESTION",
    "Places",
    "place_of_answer",
    "read_places",
    "run_demo",
]


class Passage(NamedTuple):
    """A retrieved passage with its first-stage score."""

    id: str
    score: float
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

DEPTH = 50
"""Number of candidates that are reranked."""

PLACES = Path(__file__).with_name("demo.json")
"""Places of the answers to all questions of the sample; `benchmarks.before_after` writes them."""

_QUESTIONS = 3
_SHOWN = 3  # passages of each
_SIDE_BY_SIDE = 5

_CODE = """\
# LangChain
from langchain_rerank import RerankCompressor
compressor = RerankCompressor(scorer={scorer}, top_n=5)
best = compressor.compress_documents(documents, query)

# LlamaIndex
from llamaindex_rerank import RerankPostprocessor
postprocessor = RerankPostprocessor(scorer={scorer}, top_n=5)
best = postprocessor.postprocess_nodes(nodes, query_str=query)"""

_Reranker: TypeAlias = "Callable[[Scorer, str, Mapping[str, str]], list[tuple[str, float]]]"


class WholeConsole(Console):
    """A console that holds Ctrl-C back while it prints, so that output ends after a whole line."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, see `Console.print`."""
        with interrupt_held():
            super().print(*objects, **options)


@dataclass(frozen=True)
class Places:
    """Places of the best answer to each question, in BM25's order and after reranking.

    Attributes:
        scorer: Fingerprint of the scorer.
        of: Both places by query id, from 1; None where the answer is not among the candidates.
    """

    scorer: str
    of: Mapping[str, tuple[int | None, int | None]]

    @property
    def summary(self) -> str:
        """Number of questions won, lost, unchanged, and without an answer to rerank."""
        found = [(before, after) for before, after in self.of.values() if before and after]
        won = sum(after < before for before, after in found)
        lost = sum(after > before for before, after in found)
        return (
            f"{won} answers moved up, {lost} moved down, {len(found) - won - lost} stayed, "
            f"{len(self.of) - len(found)} were not found"
        )

    @property
    def first(self) -> tuple[int, int]:
        """Number of questions whose answer comes first, before and after."""
        before, after = zip(*self.of.values(), strict=True)
        return before.count(1), after.count(1)

    @property
    def far_up(self) -> list[str]:
        """Questions whose answer moved from place 10 to 40 to the first one."""
        return [
            query
            for query, (before, after) in self.of.items()
            if before and 10 <= before <= 40 and after == 1
        ]

    @property
    def furthest_down(self) -> str:
        """The question whose answer lost most places."""
        return max(self.of, key=lambda query: (self.of[query][1] or 0) - (self.of[query][0] or 0))


def read_places() -> Places:
    """Read `PLACES`."""
    found = json.loads(PLACES.read_text(encoding="utf-8"))
    return Places(found["scorer"], {query: tuple(pair) for query, pair in found["places"].items()})


def place_of_answer(ranked: Sequence[str], answers: Container[str]) -> int | None:
    """Return the place of the best answer among ranked ids, from 1, or None."""
    return next((place for place, name in enumerate(ranked, start=1) if name in answers), None)


def run_demo(console: Console, *, scorer: str = "nano") -> None:
    """Show candidates before and after reranking, without a framework and with both.

    Args:
        console: Where to print.
        scorer: The scorer, as for `load_scorer`.

    Raises:
        MissingExtraError: If bm25s is not installed.
        RerankError: If the scorer cannot be made or fails.
    """
    if isinstance(console.file, TextIOWrapper):
        console.file.reconfigure(errors="replace")  # not every encoding has arrows
    try:
        import_module("bm25s")
    except ImportError as error:
        raise MissingExtraError("demo", "rerank demo") from error
    loaded = load_scorer(scorer)
    question, candidates = _show_questions(console, loaded)
    _show_passages(console, loaded)
    _show_frameworks(console, loaded, question, candidates)
    console.print()
    console.rule("The same in your program")
    console.print(Text(_CODE.format(scorer=json.dumps(scorer))), soft_wrap=True)


def _show_questions(console: Console, scorer: Scorer) -> tuple[str, dict[str, str]]:
    """Show a few questions; return the first of them and the texts of its candidates by id."""
    sample, places = Collection.sample(), read_places()
    of_all = len(places.of)
    console.rule(f"{of_all} questions about Python")
    before, after = places.first
    console.print(
        Text(
            f"For each of them, BM25 finds {DEPTH} of {len(sample.documents):,} passages of "
            f"Python's documentation, and nano reranks these. {places.summary} by BM25. "
            f"The answer comes first {after} times instead of {before}. (Counted beforehand; "
            "rerank eval --sample measures it again.)"
        )
    )
    shown = places.far_up[:: max(1, len(places.far_up) // _QUESTIONS)][:_QUESTIONS]
    fallen = places.furthest_down
    some = replace(sample, judgements={q: sample.judgements[q] for q in [*shown, fallen]})
    found = first_stage("bm25", some, DEPTH).candidates
    console.print(
        Text(
            f"\n{len(shown)} of the {len(places.far_up)} whose answer (*) BM25 has at place 10 to "
            "40 and nano puts first, and the one that nano harms most:"
        )
    )
    for query in [*shown, fallen]:
        names = [hit.id for hit in found[query]]
        ranking = rerank(sample.queries[query], [sample.documents[name] for name in names], scorer)
        places_were = [item.index + 1 for item in ranking]
        answer = place_of_answer([names[was - 1] for was in places_were], sample.judgements[query])
        table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
        for justify in ("right", "right", "left", "left"):
            table.add_column(justify=justify, no_wrap=True)
        table.add_column()  # the only one that gives way on a narrow terminal
        rows = {*range(1, _SHOWN + 1)} | ({answer} if answer else set())
        for place in sorted(rows):
            was = places_were[place - 1]
            right = names[was - 1] in sample.judgements[query]
            passage = _snippet(sample.documents[names[was - 1]])
            cells = (f"{place}.", f"was {was}", change_of_place(was - place), "*" if right else "")
            table.add_row(*cells, passage, style="bold" if right else "")
        console.print(Text(f"\nQuestion: {sample.queries[query]}"))
        console.print(table)
    console.print(
        Text("\nWhether reranking helps on your questions, only they can tell: rerank eval --help")
    )
    names = [hit.id for hit in found[shown[0]]]
    return sample.queries[shown[0]], {name: sample.documents[name] for name in names}


def _show_passages(console: Console, scorer: Scorer) -> None:
    console.print()
    console.rule("Four retrieved passages")
    console.print(Text(f"Question: {QUESTION}"))
    texts, scores = [p.text for p in PASSAGES], [p.score for p in PASSAGES]
    ranking = rerank(QUESTION, texts, scorer, prior=scores)
    console.print(_table("Before: the retriever's order", PASSAGES))
    rows = [(PASSAGES[item.index].id, item.score, item.text) for item in ranking]
    console.print(_table(f"After: {ranking.scorer}", rows))
    note = f"Scores are on the scale {ranking.scale.value!r}"
    if ranking.scale is not Scale.PROBABILITY:
        note += ": compare them within one question; they are not probabilities"
    console.print(Text(f"{note}."))


def _table(title: str, rows: Sequence[tuple[str, float | None, str]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("id", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("text")
    for identity, score, text in rows:
        table.add_row(identity, "-" if score is None else f"{score:.2f}", _snippet(text))
    return table


def _snippet(text: str) -> Text:
    return Text(printable(text[:500]), no_wrap=True, overflow="ellipsis")


def _show_frameworks(
    console: Console, scorer: Scorer, question: str, candidates: Mapping[str, str]
) -> None:
    """Rerank through both frameworks, as far as they are installed, and check that they agree."""
    console.print()
    console.rule("LangChain and LlamaIndex, side by side")
    console.print(Text(f"Question: {question}"))
    results = {}
    rerankers: Mapping[str, _Reranker] = {"LangChain": _langchain, "LlamaIndex": _llamaindex}
    for name, reranker in rerankers.items():
        try:
            results[name] = reranker(scorer, question, candidates)
        except MissingExtraError as error:
            console.print(Text(str(error)), soft_wrap=True)
    if not results:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in results:
        table.add_column(name)
        table.add_column("score", justify="right", no_wrap=True)
    for rows in [*zip(*results.values(), strict=True)][:_SIDE_BY_SIDE]:
        table.add_row(*(cell for row in rows for cell in (_snippet(row[0]), f"{row[1]:.2f}")))
    console.print(table)
    if len(results) == len(rerankers):
        first, second = results.values()
        if first != second:
            raise ScorerError("LangChain and LlamaIndex do not agree on the order", provider="demo")
        console.print(Text(f"Same order and same scores for all {len(first)} candidates."))


def _langchain(
    scorer: Scorer, question: str, candidates: Mapping[str, str]
) -> list[tuple[str, float]]:
    from langchain_rerank import RerankCompressor  # says what to install, if need be

    from langchain_core.documents import Document  # isort: skip

    documents = [Document(page_content=text, id=name) for name, text in candidates.items()]
    compressor = RerankCompressor(scorer=scorer, top_n=None)
    best = compressor.compress_documents(documents, question)
    return [(str(found.id), found.metadata["relevance_score"]) for found in best]


def _llamaindex(
    scorer: Scorer, question: str, candidates: Mapping[str, str]
) -> list[tuple[str, float]]:
    from llamaindex_rerank import RerankPostprocessor

    from llama_index.core.schema import NodeWithScore, TextNode  # isort: skip

    nodes = [NodeWithScore(node=TextNode(text=text, id_=name)) for name, text in candidates.items()]
    postprocessor = RerankPostprocessor(scorer=scorer, top_n=None)
    best = postprocessor.postprocess_nodes(nodes, query_str=question)
    return [(found.node.node_id, found.score or 0.0) for found in best]
