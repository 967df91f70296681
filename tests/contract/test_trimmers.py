"""The contract of all trimmers: nothing is rewritten, no score changes, async does the same."""

from __future__ import annotations

import asyncio
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
    Ranking,
    TrimContext,
    Trimmer,
    arerank,
    rerank,
)
from rerank_core._trimming import make_trimmers
from rerank_core.testing import OverlapScorer, ScriptedScorer

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
    Adaptive(drop=1, least=0.5),
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
