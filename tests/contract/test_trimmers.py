"""The contract of all trimmers: nothing is rewritten, no score changes, async does the same."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank import RerankCompressor
from rerank_core import (
    Adaptive,
    Arrange,
    Budget,
    ConfigurationError,
    Distinct,
    Excerpt,
    Progress,
    Ranking,
    Scorer,
    Scoring,
    Span,
    TrimContext,
    Trimmer,
    arerank,
    rerank,
)
from rerank_core._trimming import make_trimmers
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.adapters import BOTH, Harness

TRIMMERS: list[Trimmer] = [
    Excerpt(),
    Excerpt(drop=0, neighbours=1, mark="\n"),
    Budget(tokens=12),
    Budget(tokens=1, counter=len),
    Budget(tokens=40, counter=str.split, mark=""),
    Distinct(),
    Distinct(overlap=0.2, words=1),
    Adaptive(),
    Adaptive(drop=0, at_least=2),
    Adaptive(drop=None, least=0.5),
    Arrange("edges"),
    Arrange("first_stage"),
]
QUERY = "green tea is steeped"
sentences = st.sampled_from(
    [
        "Green tea is steeped. ",
        "Tea grows on hills! ",
        "What is soup? ",
        "# Tea\n",
        "\n\n",
        "| tea | soup |\n|---|---|\n| green | hot |\n",
        "```\ngreen = 1\n```\n",
        "茶は緑。",
        "e.g. tea and more tea, ",
        "\ud800\0",
    ]
)
candidates = st.lists(st.lists(sentences, max_size=8).map("".join), max_size=7)


@settings(deadline=None, max_examples=20)
@pytest.mark.parametrize("trimmer", TRIMMERS, ids=repr)
@given(texts=candidates, top_n=st.none() | st.integers(1, 5))
def test_a_trimmer_cuts_and_never_rewrites(
    trimmer: Trimmer, texts: list[str], top_n: int | None
) -> None:
    plain = {item.index: item for item in rerank(QUERY, texts, OverlapScorer())}
    ranking = rerank(QUERY, texts, OverlapScorer(), top_n=top_n, trim=[trimmer])
    indices = [item.index for item in ranking]
    assert len({*indices}) == len(indices) <= (top_n or len(texts))
    for item in ranking:
        assert replace(item, kept=(), mark=plain[item.index].mark) == plain[item.index]
        end = 0
        for span in item.kept:
            assert end <= span.start < span.end <= len(item.text)
            end = span.end
        pieces = [item.text[span.start : span.end] for span in item.kept]
        assert item.excerpt == (item.mark.join(pieces) if pieces else texts[item.index])
    assert ranking.tokens_before is not None
    assert ranking.tokens_after is not None
    again = asyncio.run(arerank(QUERY, texts, OverlapScorer(), top_n=top_n, trim=[trimmer]))
    assert again.items == ranking.items
    assert (again.degraded, again.causes) == (ranking.degraded, ranking.causes)


@pytest.mark.parametrize("trimmer", TRIMMERS, ids=repr)
def test_a_trimmer_comes_back_from_its_configuration(trimmer: Trimmer) -> None:
    if isinstance(trimmer, Budget) and not isinstance(trimmer.counter, str):
        with pytest.raises(ValueError, match="counter is no name"):
            trimmer.to_config()
    else:
        assert make_trimmers([trimmer.to_config()]) == (trimmer,)


@pytest.mark.parametrize("trimmer", TRIMMERS, ids=repr)
def test_nothing_is_asked_for_nothing(trimmer: Trimmer) -> None:
    scorer = ScriptedScorer(ValueError("asked"))
    ranking = rerank("q", [], scorer, trim=[trimmer])
    assert (len(ranking), ranking.tokens_before, ranking.tokens_after) == (0, 0, 0)
    assert scorer.calls == []


@pytest.mark.parametrize("trimmer", TRIMMERS, ids=repr)
def test_what_was_not_scored_is_read_no_more(trimmer: Trimmer) -> None:
    scorer = ScriptedScorer({})
    texts = ["Green tea. Hot.", "Soup. Cold."]
    ranking = rerank("tea", texts, scorer, trim=[trimmer])
    assert len(scorer.calls) == 1
    if not isinstance(trimmer, Budget):
        assert {item.excerpt for item in ranking} == {*texts}
    assert ranking.items


class Broken(Trimmer):
    """Raises what it was given."""

    def __init__(self, error: Exception, *, strict: bool = False) -> None:
        self.error = error
        self.strict = strict

    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:
        raise self.error


@pytest.mark.parametrize("call", [rerank, lambda *a, **k: asyncio.run(arerank(*a, **k))])
def test_a_trimmer_that_fails_leaves_the_ranking_whole(call: Any) -> None:
    ranking = call("tea", ["soup", "tea"], OverlapScorer(), trim=[Broken(OSError("key=secret"))])
    assert [item.text for item in ranking] == ["tea", "soup"]
    assert (ranking.degraded, ranking.causes) == ("Broken failed: OSError", ("OSError",))
    with pytest.raises(OSError, match="secret"):
        call("tea", ["tea"], OverlapScorer(), trim=[Broken(OSError("secret"), strict=True)])


def test_a_trimmer_of_the_users_own_has_no_configuration() -> None:
    with pytest.raises(ConfigurationError, match="Broken cannot be written as a configuration"):
        Broken(OSError()).to_config()
    compressor = RerankCompressor(scorer="nano", trim=[Broken(OSError())])
    with pytest.raises(ConfigurationError, match="Broken cannot be written"):
        compressor.to_dict()


def test_what_is_no_ranking_counts_as_a_failure() -> None:
    class Wrong(Trimmer):
        def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:
            return None  # type: ignore[return-value]

    ranking = rerank("tea", ["tea"], OverlapScorer(), trim=[Wrong()])
    assert (len(ranking), ranking.causes) == (1, ("TypeError",))


PIECES = st.sampled_from(
    [
        "Green tea is steeped. ",
        "- green tea\n- soup\n  with rice\n1) Tea!\n",
        "| tea | soup |\n|---|---|\n| green | hot |\n| steeped | cold |\n",
        "## Tea\n\n",
        "Tea\n===\n",
        "````md\n```\ngreen = 1\n```\n````\n",
        "~~~ never closed. Green\n",
        "緑茶は蒸す。「熱い。」とても。",
        "ชาเขียวเป็นเครื่องดื่มที่ดีต่อสุขภาพมากสำหรับทุกคน และคนทั่วโลกก็ชอบดื่มชาเขียวกันมาก ",
        "\u05ea\u05d4 \u05d9\u05e8\u05d5\u05e7. \u202egreen tea\u202c? ",  # right to left
        "\u0634\u0627\u064a \u0623\u062e\u0636\u0631\u061f ",
        "e.g. Dr. Tea, 3.5 cups… ",
        "tea, " * 150,
        "\x00green\x00. \ud800 \udfff. ",
        "\r\n\u2028\x85\t",
        "\U0001f375\u200d\u0301 ",
    ]
)
SPANS = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 60)), max_size=4)
CHAINS = st.lists(
    st.sampled_from(
        [
            *("excerpt", "excerpt=0", "budget=1", "budget=9", "budget=60", "distinct", "adaptive"),
            *("arrange=edges", Excerpt(drop=0.3, neighbours=1, mark="\n")),
            Budget(40, counter=len, mark=""),
        ]
    ),
    min_size=1,
    max_size=3,
)


class Finder(OverlapScorer):
    """Finds passages, which may overlap, so that no sentence is scored."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        super().__init__()
        self.spans = spans

    def sentence_scorer(self, elapsed: float) -> Scorer | None:
        return None

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        found = tuple(
            tuple(Span(s, min(s + n, len(text))) for s, n in self.spans if s < len(text))
            for text in texts
        )
        return replace(super()._score(query, texts, progress), spans=found)


@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("harness", BOTH, ids=lambda harness: type(harness).__name__)
@given(
    texts=st.lists(st.lists(PIECES, max_size=6).map("".join), min_size=1, max_size=4),
    trim=CHAINS,
    scorer=st.builds(Finder, SPANS) | st.just(OverlapScorer()) | st.just(ScriptedScorer({})),
    title=st.sampled_from([None, "Tea", "\u202eTea. \ud800\n| x"]),
    wait=st.booleans(),
)
def test_what_a_framework_gets_is_cut_out_of_the_source(
    harness: Harness,
    texts: list[str],
    trim: list[Any],
    scorer: Scorer,
    title: str | None,
    wait: bool,
) -> None:
    fields = {} if title is None else {"rank_fields": ["title"]}
    adapter = harness.make(scorer=scorer, trim=trim, top_n=3, **fields)
    metadata = {"title": title}
    inputs = harness.inputs(texts, [1.0] * len(texts), metadata)
    before = copy.deepcopy(inputs)
    call = harness.run if wait else lambda *arguments: asyncio.run(harness.arun(*arguments))
    for result in harness.results(call(adapter, QUERY, inputs)):
        trimmed = result.metadata.get("trimmed")
        if trimmed is None:
            assert result.text in texts
            continue
        original = trimmed["original"]
        assert original in texts
        spans = [(span["start"], span["end"]) for span in trimmed["spans"]]
        end = 0
        for start, stop in spans:
            assert end <= start < stop <= len(original)
            end = stop
        pieces = [original[start:stop] for start, stop in spans]
        prose = [piece for piece in pieces if not re.search("```|~~~", piece)]
        assert prose == [piece.rstrip() for piece in prose]  # no border is too far
        marks = {made.mark for made in make_trimmers(trim) if isinstance(made, Excerpt | Budget)}
        assert result.text in {mark.join(pieces) for mark in marks}
    assert inputs == before
