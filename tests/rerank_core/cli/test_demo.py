from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from rerank_core import MissingExtraError, OnnxCrossEncoder, rerank
from rerank_core.cli._guard import guarded
from rerank_core.cli.demo import (
    PASSAGES,
    QUESTION,
    WholeConsole,
    run_demo,
    standard_library_chunks,
)
from support.models import TinyModel


@pytest.fixture(scope="module")
def shown() -> str:
    out = StringIO()
    run_demo(Console(file=out, width=120))
    return out.getvalue()


def test_the_four_passages_are_shown_before_and_after(shown: str) -> None:
    first_part = shown.partition("Real retrieval")[0]
    ids = re.findall(r"^(doc_\d+) +(-?\d+\.\d+) ", first_part, flags=re.MULTILINE)
    assert ids[:4] == [
        ("doc_101", "0.85"),
        ("doc_205", "0.72"),
        ("doc_312", "0.65"),
        ("doc_450", "0.60"),
    ]
    texts = [passage.text for passage in PASSAGES]
    ranking = rerank(QUESTION, texts, OnnxCrossEncoder("nano"))
    assert ids[4:] == [(PASSAGES[item.index].id, f"{item.score:.2f}") for item in ranking]
    assert "they are not probabilities" in first_part


def test_the_right_passage_comes_first_and_the_one_without_ai_falls(shown: str) -> None:
    ids = re.findall(r"^(doc_\d+)", shown, flags=re.MULTILINE)[4:]
    assert ids[0] == "doc_101"
    assert ids.index("doc_205") < ids.index("doc_312")


def test_real_retrieval_goes_through_both_frameworks(shown: str) -> None:
    second_part = shown.partition("Real retrieval")[2]
    costs = re.findall(
        r"LangChain \d+ ms, LlamaIndex \d+ ms: same order, same scores\. "
        r"Usage of each: 50 pairs, [\d,]+ tokens",
        " ".join(second_part.split()),
    )
    assert len(costs) == second_part.count("Before: BM25") == second_part.count("After: nano") == 3
    for wanted in ("timeit", "secrets", "logging.handlers.TimedRotating"):
        assert re.search(rf"After: nano\s+id +score +text\s+{wanted}", second_part)


def test_it_ends_with_code_that_runs(shown: str) -> None:
    from langchain_core.documents import Document
    from llama_index.core.schema import NodeWithScore, TextNode

    code = shown.rpartition("The same in your program")[2].partition("\n")[2]
    names: dict[str, Any] = {
        "documents": [Document("a river"), Document("a list")],
        "nodes": [NodeWithScore(node=TextNode(text="a river"))],
        "query": "river",
    }
    langchain, _, llamaindex = code.strip().partition("# LlamaIndex")
    exec(langchain, names)
    assert names["best"][0].page_content == "a river"
    exec(llamaindex, names)
    assert names["best"][0].node.get_content() == "a river"


def test_another_scorer_can_be_shown(tiny: Callable[..., TinyModel]) -> None:
    out = StringIO()
    run_demo(Console(file=out, width=120), scorer=str(tiny().onnx))
    assert "After: onnx-model" in out.getvalue()
    assert "'unit'" in out.getvalue()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[demo\]"'):
        run_demo(Console(file=StringIO()))


def test_an_interrupt_waits_for_what_is_being_printed() -> None:
    class Interrupted(StringIO):
        def write(self, text: str) -> int:
            signal.raise_signal(signal.SIGINT)
            return super().write(text)

    out = Interrupted()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(SystemExit) as raised, guarded():
        WholeConsole(file=out).print("a\nb")
    signal.signal(signal.SIGINT, before)
    assert (raised.value.code, out.getvalue()) == (130, "a\nb\n")


def test_the_corpus_is_real_and_always_the_same() -> None:
    chunks = standard_library_chunks()
    assert chunks == standard_library_chunks()
    assert len(chunks) > 2000
    assert len({chunk.text for chunk in chunks}) == len(chunks)
    assert all(chunk.text.startswith(chunk.id.partition("#")[0] + ": ") for chunk in chunks)
    assert any(chunk.id == "json" for chunk in chunks)
    assert not any(chunk.id.startswith(("test.", "_")) for chunk in chunks)
