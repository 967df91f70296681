from __future__ import annotations

import io
import random
import re
import signal
import sys
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from rerank_core import MissingExtraError, load_scorer, rerank
from rerank_core.cli._guard import guarded
from rerank_core.cli.demo import (
    DEPTH,
    PASSAGES,
    QUESTION,
    WholeConsole,
    place_of_answer,
    read_places,
    run_demo,
)
from rerank_core.evaluation import Collection, first_stage
from support.models import TinyModel


@pytest.fixture(scope="module")
def shown() -> str:
    out = StringIO()
    run_demo(Console(file=out, width=80))
    return out.getvalue()


def test_the_places_are_those_that_nano_gives_today() -> None:
    sample, places, nano = Collection.sample(), read_places(), load_scorer("nano")
    assert places.scorer == nano.fingerprint, "run python -m benchmarks.before_after again"
    assert tuple(places.of) == sample.evaluated
    found = first_stage("bm25", sample, DEPTH).candidates
    ids = {query: [hit.id for hit in found[query]] for query in places.of}
    for query, (before, _) in places.of.items():
        assert place_of_answer(ids[query], sample.judgements[query]) == before
    ranked = [query for query, (before, _) in places.of.items() if before]
    for query in random.Random(0).sample(ranked, 5):
        texts = [sample.documents[name] for name in ids[query]]
        order = [ids[query][item.index] for item in rerank(sample.queries[query], texts, nano)]
        after = place_of_answer(order, sample.judgements[query])
        # int8 models round otherwise on other processors.
        assert after is not None
        assert abs(after - (places.of[query][1] or 0)) <= 1, query


def test_it_counts_what_was_won_and_lost(shown: str) -> None:
    places = read_places()
    pairs = [(before, after) for before, after in places.of.values() if before and after]
    up = sum(after < before for before, after in pairs)
    down = sum(after > before for before, after in pairs)
    assert f"{up} answers moved up, {down} moved down" in shown
    assert f"{len(places.of)} questions about Python" in shown
    assert f"3 of the {len(places.far_up)} whose answer" in shown


def test_the_answers_come_from_far_down(shown: str) -> None:
    questions = re.split(r"^Question: ", shown.partition("Four retrieved")[0], flags=re.MULTILINE)
    answers = [re.findall(r"^(\d+)\. +was (\d+) [↑↓=]\d* +\*", each, re.M) for each in questions]
    assert len(answers) == 5
    for found in answers[1:4]:
        place, was = found[0]
        assert place == "1"
        assert 10 <= int(was) <= 40
    assert all(int(place) > int(was) for place, was in answers[4])  # what is lost is shown, too


def test_it_fits_a_narrow_terminal(shown: str) -> None:
    assert max(map(len, shown.splitlines())) <= 80


def test_the_four_passages_are_shown_before_and_after(shown: str) -> None:
    part = shown.partition("Four retrieved passages")[2].partition("side by side")[0]
    ids = re.findall(r"^(doc_\d+) +(-?\d+\.\d+) ", part, flags=re.MULTILINE)
    assert ids[:4] == [(passage.id, f"{passage.score:.2f}") for passage in PASSAGES]
    ranking = rerank(QUESTION, [passage.text for passage in PASSAGES])
    assert ids[4:] == [(PASSAGES[item.index].id, f"{item.score:.2f}") for item in ranking]
    assert ids[4][0] == "doc_101"
    assert [name for name, _ in ids[4:]].index("doc_205") < 3
    assert "they are not probabilities" in " ".join(part.split())


def test_both_frameworks_stand_side_by_side(shown: str) -> None:
    part = shown.partition("side by side")[2].partition("The same in your program")[0]
    rows = re.findall(r"^(\S+) +(\d+\.\d+) +(\S+) +(\d+\.\d+) *$", part, re.MULTILINE)
    assert len(rows) == 5
    assert all(row[:2] == row[2:] for row in rows)
    assert f"Same order and same scores for all {DEPTH} candidates" in part


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("langchain_core", "langchain_rerank", "langchain"),
        ("llama_index.core", "llamaindex_rerank", "llamaindex"),
    ],
)
def test_it_goes_without_a_framework(
    module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch, tiny: Any
) -> None:
    for name in [name for name in sys.modules if name.startswith(package)]:
        monkeypatch.delitem(sys.modules, name)
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    out = StringIO()
    run_demo(Console(file=out, width=80), scorer=str(tiny().onnx))
    assert f'needs an extra: pip install "rerank-core[{extra}]"' in out.getvalue()
    assert "Same order" not in out.getvalue()
    assert "The same in your program" in out.getvalue()


def test_an_encoding_without_arrows_is_no_failure(tiny: Callable[..., TinyModel]) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    run_demo(Console(file=stream, width=80), scorer=str(tiny().onnx))
    stream.flush()
    assert b"was " in raw.getvalue()


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
