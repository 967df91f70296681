"""Trimmers one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    Adaptive,
    Arrange,
    Budget,
    Cached,
    Cascade,
    ConfigurationError,
    Deadline,
    Distinct,
    Excerpt,
    InvalidInputError,
    Ranking,
    Scorer,
    Scoring,
    ServiceError,
    Span,
    TrimContext,
    Trimmer,
    Windowed,
    rerank,
)
from rerank_core._trimming.base import Passage, Step
from rerank_core._trimming.tokens import make_counter
from rerank_core.testing import OverlapScorer, ScriptedScorer

TEXT = "Cats purr. Green tea is steeped for three minutes. Dogs bark. Tea is hot."
QUERY = "green tea minutes"


def excerpts(*texts: str, trim: Any, scorer: Scorer | None = None, **options: Any) -> list[str]:
    ranking = rerank(QUERY, texts, scorer or OverlapScorer(), trim=trim, **options)
    return [item.excerpt for item in ranking]


def test_an_excerpt_keeps_the_sentences_that_answer() -> None:
    assert excerpts(TEXT, trim=Excerpt(drop=0.2)) == ["Green tea is steeped for three minutes."]
    near = Excerpt(drop=0, neighbours=1, mark="|")
    assert excerpts(TEXT, trim=near) == [
        "Cats purr. Green tea is steeped for three minutes. Dogs bark."
    ]
    assert excerpts("Soup! Tea. Rice. Tea.", trim=Excerpt(drop=0.4, mark="|")) == ["Tea.|Tea."]
    assert excerpts("One sentence without an answer", trim="excerpt") == [
        "One sentence without an answer"
    ]
    assert excerpts(TEXT, trim=Excerpt(drop=1)) == [TEXT]


def test_of_sentences_that_score_alike_the_earlier_one_is_preferred() -> None:
    text = "Rice. Tea here. Soup. Tea there. Bread."
    assert excerpts(text, trim=Excerpt(drop=0)) == ["Tea here."]
    assert excerpts(text, trim=Budget(2, counter=str.split)) == ["Tea here."]
    assert excerpts(text, trim=Excerpt(drop=0.5, mark="|")) == ["Tea here.|Tea there."]


def test_a_heading_and_a_tables_header_stay_with_what_is_below() -> None:
    text = "# Drinks\nSoup. Green tea minutes.\n\n# Food\nBread. Rice."
    assert excerpts(text, trim=Excerpt(drop=0)) == ["# Drinks … Green tea minutes."]
    table = "Food.\n\n| a | b |\n|---|---|\n| soup | 1 |\n| green tea minutes | 2 |\n"
    assert excerpts(table, trim=Excerpt(drop=0)) == [
        "| a | b |\n|---|---| … | green tea minutes | 2 |"
    ]


def test_a_sentence_is_read_with_what_it_is_about() -> None:
    scorer = ScriptedScorer(lambda _, texts: [float(len(text)) for text in texts])
    texts = ["# Tea\nIt is green. It is hot.", "Green tea is hot now, as it must be. It cools."]
    rerank("q", texts, scorer, trim="excerpt")
    assert scorer.calls[1] == (
        "q",
        (
            "Green tea is hot\nGreen tea is hot now, as it must be.",
            "Green tea is hot\nIt cools.",
            "Tea\nIt is green.",
            "Tea\nIt is hot.",
        ),
    )


def test_all_sentences_are_scored_in_one_call_without_the_cache() -> None:
    scorer, cheap = OverlapCounter(), OverlapCounter()
    cascade = Cached(Windowed(Cascade([(cheap, 3), scorer])))
    rerank(QUERY, [TEXT, TEXT + " More tea.", "soup"], cascade, trim=["excerpt"])
    rerank(QUERY, [TEXT, TEXT + " More tea.", "soup"], cascade, trim=["excerpt"])
    # The first ranking asks both stages, and each excerpt the last one.
    assert (cheap.asked, scorer.asked) == (1, 3)


class OverlapCounter(OverlapScorer):
    asked = 0

    def _score(self, *arguments: Any) -> Scoring:
        self.asked += 1
        return super()._score(*arguments)


def test_one_deadline_covers_both_calls() -> None:
    elapsed = 0.75
    left = Deadline(OverlapScorer(), 1).sentence_scorer(elapsed)
    assert repr(left) == f"Deadline({OverlapScorer()!r}, 0.25)"
    none_left = Deadline(OverlapScorer(), 1).sentence_scorer(5)
    assert none_left is not None
    assert repr(none_left).endswith("0.001)")  # still a scorer, with a moment left


def test_spans_of_a_service_need_no_second_call() -> None:
    class Service(ScriptedScorer):
        def sentence_scorer(self, elapsed: float) -> Scorer | None:
            return None

    start = TEXT.index("Green")
    spans = ((Span(start + 3, start + 9, 0.9),), ())
    scorer = Service(Scoring((2.0, 1.0), spans=spans))
    assert excerpts(TEXT, "Soup. Rice.", trim="excerpt", scorer=scorer) == [
        "Green tea is steeped for three minutes.",
        "Soup. Rice.",
    ]
    assert len(scorer.calls) == 1


def test_sentences_that_cannot_be_scored_leave_the_texts_whole() -> None:
    scorer = ScriptedScorer([1.0], ServiceError("down", provider="p"))
    ranking = rerank(QUERY, [TEXT], scorer, trim="excerpt")
    assert [item.excerpt for item in ranking] == [TEXT]
    assert ranking.causes == ("ServiceError",)
    assert ranking.degraded == "Excerpt failed: p: down"
    with pytest.raises(ServiceError):
        rerank(
            QUERY, [TEXT], ScriptedScorer([1.0], ServiceError("down")), trim=Excerpt(strict=True)
        )
    partly = ScriptedScorer([1.0], Scoring((1.0, None, None, 2.0), degraded="slow"))
    ranking = rerank(QUERY, [TEXT], partly, trim="excerpt")
    assert [item.excerpt for item in ranking] == [TEXT]
    assert ranking.degraded == "reading sentences: slow"


def test_a_probability_needs_calibrated_scores() -> None:
    with pytest.raises(ConfigurationError, match=r"probability=0.5 needs calibrated scores"):
        rerank(QUERY, [TEXT], OverlapScorer(), trim=Excerpt(probability=0.5))


def test_a_budget_is_filled_with_the_best() -> None:
    words: Callable[[str], list[str]] = str.split
    budget = Budget(tokens=12, counter=words)
    assert excerpts("Green tea minutes.", TEXT, trim=budget) == [
        "Green tea minutes.",
        "Cats purr. Green tea is steeped for three minutes.",
    ]
    # Whatever the order given, the budget comes after the excerpts.
    both = [Budget(tokens=10, counter=words), Excerpt(drop=0.2)]
    assert excerpts("Soup. Green tea minutes.", TEXT, trim=both) == [
        "Green tea minutes.",
        "Green tea is steeped for three minutes.",
    ]
    ranking = rerank(QUERY, [TEXT], OverlapScorer(), trim=Budget(tokens=3, counter=words))
    assert [item.excerpt for item in ranking] == ["Tea is hot."]  # the best sentence has seven
    assert (ranking.tokens_before, ranking.tokens_after) == (14, 3)


def test_a_budget_holds_whatever_the_scorer_does() -> None:
    budget = Budget(tokens=5, counter=str.split)
    unscored = rerank(QUERY, [TEXT], ScriptedScorer({}), trim=budget)
    assert [item.excerpt for item in unscored] == ["Cats purr. … Dogs bark."]
    assert unscored.degraded is None
    scorer = ScriptedScorer([1.0], ServiceError("down", provider="p"))
    failed = rerank(QUERY, [TEXT], scorer, trim=budget)
    assert [item.excerpt for item in failed] == ["Cats purr. … Dogs bark."]
    assert (failed.degraded, failed.causes) == ("Budget failed: p: down", ("ServiceError",))


def test_a_counter_that_fails_loses_no_text() -> None:
    def count(text: str) -> int:
        raise OSError(f"no tokenizer for {len(text)} characters")

    ranking = rerank(QUERY, [TEXT], OverlapScorer(), trim=Budget(5, counter=count))
    assert [item.excerpt for item in ranking] == [TEXT]
    assert ranking.causes == ("OSError",)
    assert (ranking.tokens_before, ranking.tokens_after) == (None, None)
    with pytest.raises(OSError, match="no tokenizer"):
        rerank(QUERY, [TEXT], OverlapScorer(), trim=Budget(5, counter=count, strict=True))


def test_of_an_excerpt_only_what_is_left_fills_a_budget() -> None:
    text = "".join(f"{'Green tea' if n % 2 else 'Cats'} {n}. " for n in range(10_000))
    trim = [Excerpt(), Budget(300, counter=str.split)]
    (item,) = rerank(QUERY, [text], OverlapScorer(), trim=trim)
    assert len(item.kept) == 75  # of three tokens, and a mark between two
    assert all(text[span.start : span.end].startswith("Green tea") for span in item.kept)


class Overlapping(Trimmer):
    """Keeps passages that overlap, in an order of its own."""

    step = Step.SHORTEN

    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:
        kept = (Span(5, 9), Span(0, 50), Span(11, 20))
        return replace(ranking, items=tuple(replace(item, kept=kept) for item in ranking))


def test_of_passages_that_overlap_every_sentence_fills_a_budget() -> None:
    trim = [Overlapping(), Budget(7, counter=str.split)]
    assert excerpts(TEXT, trim=trim) == ["Green tea is steeped for three minutes."]


def test_a_text_none_of_whose_sentences_fits_is_passed_over() -> None:
    texts = ["Green tea minutes.", "Green tea has no sentence that is short.", "Green. Red soup."]
    for tokens, rest in {3: [], 4: ["Green."], 5: ["Green."], 6: ["Green. Red soup."]}.items():
        scorer = OverlapCounter()
        budget = Budget(tokens, counter=str.split)
        assert excerpts(*texts, trim=budget, scorer=scorer) == [texts[0], *rest]
        assert scorer.asked == (2 if tokens in (4, 5) else 1)  # sentences of one text at most
    assert excerpts(*texts[1:], trim=Budget(3, counter=str.split)) == ["Green tea has"]


def test_a_heading_counts_once() -> None:
    table = "# Green tea\n| a | b |\n|---|---|\n| green tea | 1 |\n\nTea minutes."
    # The row has the heading and the table's header above it, the sentence only the heading.
    budget = Budget(len(table), counter=len, mark="")
    texts = [f"{table} Soup, which is very long indeed."]
    assert excerpts(*texts, trim=budget) == [table]


def test_headings_alone_are_cut_as_well() -> None:
    ranking = rerank(QUERY, ["# Green tea\n# Minutes"], OverlapScorer(), trim=Budget(2, str.split))
    assert [item.excerpt for item in ranking] == ["# Minutes"]


def test_of_a_sentence_that_is_too_long_its_beginning_stays() -> None:
    text = "Cats purr loudly. Green tea minutes are long."
    both = [Budget(tokens=2, counter=str.split), Excerpt(drop=0)]
    for trim in (both, both[:1]):
        ranking = rerank(QUERY, [text], OverlapScorer(), trim=trim)
        assert [item.excerpt for item in ranking] == ["Green tea"]
        assert ranking.causes == ("budget",)


def test_a_long_text_is_cut_without_counting_it_for_each_sentence() -> None:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return len(text.split())

    text = " ".join(f"Sentence {number} of many is here." for number in range(2000))
    ranking = rerank(QUERY, [text], OverlapScorer(), trim=Budget(5000, counter=count))
    assert ranking.tokens_after is not None
    assert 4990 < ranking.tokens_after <= 5000
    assert counted < 20 * len(text)


def test_top_n_gives_as_many_after_what_drops() -> None:
    texts = ["green tea minutes", "Green tea minutes!", "green tea", "tea"]
    kept = excerpts(*texts, trim=["arrange=first_stage", "distinct"], top_n=3)
    assert kept == ["green tea minutes", "green tea", "tea"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Plants use light to make sugar.", "plants, use light; to make SUGAR", True),
        ("a b c d e f g h", "a b c d e f g h i j k l m n o p", True),
        ("a b c d e f g h", "a b c d x y z w", False),
        ("植物は光を使う。", "植物は光を使う", True),
        ("植物は光を使う。", "猫は家で寝る。", False),
        ("", "", False),
        ("!", "?", False),
    ],
)
def test_near_duplicates_leave(one: str, other: str, same: bool) -> None:
    ranking = rerank(
        "q", [one, other], ScriptedScorer(lambda _, t: [1.0] * len(t)), trim="distinct"
    )
    assert len(ranking) == (1 if same else 2)


words = st.text("abc ", max_size=14).map(" ".join)


@given(st.lists(words, max_size=8), st.floats(0.1, 1), st.integers(1, 3))
def test_all_near_duplicates_are_found(texts: list[str], overlap: float, size: int) -> None:
    distinct = Distinct(overlap=overlap, words=size)
    ranking = rerank("q", texts, ScriptedScorer(lambda _, given: [0.0] * len(given)))
    kept: list[int] = []
    for item in ranking:
        shingles = distinct._shingles(item.text)
        others = [distinct._shingles(texts[index]) for index in kept]
        if not any(
            shingles and other and len(shingles & other) >= overlap * min(len(shingles), len(other))
            for other in others
        ):
            kept.append(item.index)
    trimmed = distinct.trim(ranking, TrimContext("q", OverlapScorer(), []))
    assert [item.index for item in trimmed] == kept


def test_ten_thousand_texts_with_the_same_header_are_compared() -> None:
    boilerplate = " ".join(f"header{i}" for i in range(20))
    texts = [f"{boilerplate} " + " ".join(f"{i}-{j}" for j in range(20)) for i in range(10_000)]
    assert len(rerank("q", texts, OverlapScorer(), trim="distinct")) == 10_000


def adaptive(**options: Any) -> Any:
    texts = {"a": 10.0, "b": 9.0, "c": 4.0, "d": 0.0}
    return rerank("q", [*texts, "e"], ScriptedScorer(texts), trim=Adaptive(**options))


def test_as_many_stay_as_deserve_it() -> None:
    assert [item.text for item in adaptive()] == ["a", "b", "e"]
    assert [item.text for item in adaptive(drop=0)] == ["a", "e"]
    # The mean is 5.75.
    assert [item.text for item in adaptive(drop=1)] == ["a", "b", "e"]
    assert [item.text for item in adaptive(drop=0.2)] == ["a", "e"]
    assert [item.text for item in adaptive(drop=None)] == ["a", "b", "c", "d", "e"]
    assert [item.text for item in adaptive(drop=None, least=4)] == ["a", "b", "c", "e"]
    none = adaptive(least=11)
    assert [item.text for item in none] == ["e"]
    assert none.nothing_relevant == "the best of 4 scores is 10, below 11"
    kept = adaptive(least=11, at_least=1)
    assert [item.text for item in kept] == ["a", "e"]
    assert kept.nothing_relevant
    assert adaptive(least=10).nothing_relevant is None


def test_arrangements() -> None:
    texts = dict(zip("abcde", (1.0, 5.0, 3.0, 4.0, 2.0), strict=True))
    scorer = ScriptedScorer(texts)

    def order(trim: str) -> str:
        return "".join(item.text for item in rerank("q", [*texts], scorer, trim=trim))

    assert order("arrange") == "bcaed"
    assert order("arrange=first_stage") == "abcde"
    with pytest.raises(InvalidInputError, match="needs to know the documents"):
        order("arrange=by_document")
    ranking = rerank("q", [*texts], scorer)
    passages = [Passage(text, document=name) for text, name in zip("abcde", "xyxyz", strict=True)]
    arranged = Arrange("by_document").trim(ranking, TrimContext("q", scorer, passages))
    assert "".join(item.text for item in arranged) == "bdace"


class Model:
    def get_num_tokens(self, text: str) -> int:
        return 7


class Tokenizer:
    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [0] * (len(text) + 2 * add_special_tokens)


def test_whatever_counts_can_count() -> None:
    assert make_counter("nano")("green tea") == 2
    assert make_counter(Model())("x") == 7
    assert make_counter(Tokenizer())("abc") == 3
    assert make_counter(len)("abc") == 3
    assert make_counter(str.split)("a b") == 2
    from rerank_core._local.files import embedded_tokenizer

    assert make_counter(embedded_tokenizer())("green tea") == 2
    with pytest.raises(ConfigurationError, match="there is no counter 'gpt-4'"):
        Budget(10, counter="gpt-4")
    with pytest.raises(ConfigurationError, match="counter must be a name"):
        Budget(10, counter=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Excerpt(drop=2), "drop must be"),
        (lambda: Excerpt(neighbours=-1), "neighbours must be"),
        (lambda: Excerpt(mark=None), "mark must be a string"),  # type: ignore[arg-type]
        (lambda: Budget(0), "tokens must be"),
        (lambda: Distinct(overlap=0), "overlap must be"),
        (lambda: Distinct(words=0), "words must be"),
        (lambda: Adaptive(drop=-0.1), "drop must be"),
        (lambda: Arrange("best"), "order must be one of"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_a_trimmer_of_the_users_own_waits_for_no_event_loop() -> None:
    ranking = rerank(QUERY, [TEXT], OverlapScorer())
    context = TrimContext(QUERY, OverlapScorer(), [Passage(TEXT)])
    trimmed = asyncio.run(Excerpt(drop=0).atrim(replace(ranking), context))
    assert trimmed[0].excerpt == "Green tea is steeped for three minutes."
