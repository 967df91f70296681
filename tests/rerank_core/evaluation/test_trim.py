"""What an evaluation tells of trimming."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rerank_core import (
    Adaptive,
    Budget,
    ConfigurationError,
    Excerpt,
    Progress,
    Scorer,
    Scoring,
    Span,
    TrimContext,
    Trimmer,
    Usage,
)
from rerank_core._types import Ranking
from rerank_core.evaluation import (
    Collection,
    Journal,
    System,
    Task,
    Trimming,
    evaluate,
    first_stage,
)
from rerank_core.testing import OverlapScorer

TEA = "Green tea is steeped for three minutes. Tea grows on hills. Soup is hot."
SOUP = "Soup is made of water. It boils for long. Green peas are added."
RICE = "Rice is white."
QUERIES = {
    "q1": "green tea minutes",
    "q2": "soup green peas added",
    "q3": "hills",
    "q4": "rice pudding",
}
ANSWERS = {"q1": {"tea": [(0, 39)]}, "q2": {"soup": [(23, 41)]}, "q3": {"tea": [(40, 59)]}}


@pytest.fixture
def task(tmp_path: Path) -> Task:
    documents = {"tea": TEA, "soup": SOUP, "rice": RICE}
    judgements = {q: dict.fromkeys(found, 1) for q, found in ANSWERS.items()} | {"q4": {"rice": 1}}
    collection = Collection("drinks", documents, QUERIES, judgements, answers=ANSWERS)
    run = {"q1": ["tea", "soup"], "q2": ["tea", "soup"], "q4": ["tea", "rice"]}
    lines = [f"{q} Q0 {d} {i} {-i} t" for q, found in run.items() for i, d in enumerate(found)]
    (tmp_path / "run.txt").write_text("\n".join(lines))
    return Task(collection, first_stage(f"run:{tmp_path / 'run.txt'}", collection, 9), (2,))


def trimmed(task: Task, scorer: Scorer | None = None, **options: Any) -> Trimming:
    report = evaluate([task], [System(scorer or OverlapScorer())], resamples=100, **options)
    found = report.collections[0].systems[0].trimming
    assert found is not None
    assert json.loads(json.dumps(report.to_json()))
    return found


def test_it_tells_what_is_left(task: Task) -> None:
    scorer = OverlapScorer()
    found = trimmed(task, scorer, trim=[Excerpt(drop=0), Budget(50, counter=str.split)], top_n=1)
    # Of q1 and q2 the best of three sentences is left, and of q4 all of the one.
    assert (found.candidates_before, found.candidates_after, found.empty) == (1, 1, 0)
    assert found.tokens_before == pytest.approx((14 + 13 + 3) / 3)
    assert found.tokens_after == pytest.approx((7 + 4 + 3) / 3)
    assert found.saved == pytest.approx(1 - 14 / 30)
    assert found.relevant_kept == 1
    # The first stage found nothing for q3, and "It boils for long." has no word of q2.
    assert found.answered == {"q1": True, "q2": False, "q3": False}
    assert (found.answered_before, found.answered_after) == (2 / 3, 1 / 3)
    assert (found.answers_kept, found.low, found.high) == (0.5, 0, 1)
    assert found.degraded is None
    assert found.usage.pairs == 6  # the sentences of two texts; the third has one


def test_what_is_dropped_counts(task: Task) -> None:
    found = trimmed(task, trim=Adaptive(drop=None, least=0.8))
    assert (found.candidates_before, found.candidates_after, found.empty) == (2, 2 / 3, 1)
    assert found.relevant_kept == 2 / 3
    assert found.answers_kept == 1
    assert found.usage.pairs == 0


def test_a_collection_without_answers_tells_the_rest(task: Task) -> None:
    found = trimmed(replace(task, collection=replace(task.collection, answers={})), trim="excerpt")
    assert (found.answered, found.answered_before, found.answers_kept) == ({}, None, None)
    assert found.saved is not None
    assert 0 < found.saved < 1


def test_a_title_is_read_and_not_cut(task: Task) -> None:
    collection = replace(
        task.collection,
        documents={**task.collection.documents, "soup": f"Peas. {SOUP}"},
        headers={"soup": "Peas. "},
    )
    scorer = OverlapScorer()
    found = trimmed(replace(task, collection=collection), scorer, trim=[Excerpt(drop=1)])
    assert found.answered == {"q1": True, "q2": True, "q3": False}
    assert found.saved == 0
    assert any("Peas.\nIt boils for long." in texts for _, texts in scorer.calls)


def test_what_trimming_degrades_is_told(task: Task) -> None:
    found = trimmed(task, trim=Budget(1, counter=str.split))
    assert found.degraded == {"budget": 3}

    class Broken(Trimmer):
        def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:
            raise OSError

    def broken(text: str) -> int:
        raise OSError(text)

    report = evaluate(
        [task], [System(OverlapScorer())], resamples=100, trim=[Broken(), Budget(9, counter=broken)]
    )
    found = report.collections[0].systems[0].trimming  # type: ignore[assignment]
    assert found.degraded == {"OSError": 3}
    assert (found.tokens_before, found.tokens_after, found.saved) == (None, None, None)
    assert report.settings["trim"] == [{"type": "Broken"}, {"type": "budget"}]


def test_sentences_are_scored_once(task: Task) -> None:
    scorer = OverlapScorer()
    journal = Journal()
    steps: list[tuple[str, int, int]] = []
    watch = {"progress": lambda *step: steps.append(step)}
    once = trimmed(task, scorer, trim="excerpt", journal=journal, **watch)
    assert ("drinks: trimming overlap @2", 3, 3) in steps
    calls = len(scorer.calls)
    again = trimmed(task, scorer, trim=["excerpt", "budget=30"], journal=journal)
    assert len(scorer.calls) == calls
    assert once.usage.pairs == again.usage.pairs > 0


def test_sentences_get_the_time_that_scoring_left(task: Task) -> None:
    class Timed(OverlapScorer):
        elapsed = 0.0

        def sentence_scorer(self, elapsed: float) -> Scorer | None:
            self.elapsed = elapsed
            return self

    scorer, journal = Timed(), Journal()
    texts = task.texts("q1", 2)
    journal.keep(scorer, QUERIES["q1"], texts, Scoring((1.0, 0.0), Usage(seconds=5.0)))
    trimmed(replace(task, queries=("q1",)), scorer, trim="excerpt", journal=journal)
    assert 5 < scorer.elapsed < 6


def test_spans_of_a_service_are_kept_for_the_next_run(task: Task, tmp_path: Path) -> None:
    class Service(OverlapScorer):
        def sentence_scorer(self, elapsed: float) -> Scorer | None:
            return None

        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            scoring = super()._score(query, texts, progress)
            return replace(scoring, spans=tuple((Span(0, 5, 0.5),) for _ in texts))

    found = []
    for _ in range(2):
        with Journal(tmp_path / "scores.jsonl") as journal:
            found.append(trimmed(task, Service(), trim="excerpt", top_n=1, journal=journal))
    assert found[0] == replace(found[1], usage=found[0].usage)
    assert found[0].tokens_after is not None
    assert found[0].tokens_before is not None
    assert found[0].tokens_after < found[0].tokens_before


def test_without_trimmers_there_is_nothing_to_tell(task: Task) -> None:
    report = evaluate([task], [System(OverlapScorer())], resamples=100)
    assert report.collections[0].systems[0].trimming is None
    assert "trim" not in report.settings
    nothing = replace(task, queries=("q3",))
    report = evaluate([nothing], [System(OverlapScorer())], resamples=100, trim="excerpt")
    assert report.collections[0].systems[0].trimming is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trim": "excerpts"}, "there is no trimmer 'excerpts'"),
        ({"trim": "excerpt", "top_n": 0}, "top_n must be a whole number"),
        ({"top_n": 3}, "top_n is for trim"),
    ],
)
def test_wrong_arguments_are_named(task: Task, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        evaluate([task], [System(OverlapScorer())], **options)
