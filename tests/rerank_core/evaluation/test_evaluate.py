from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rerank_core import (
    Blend,
    Cascade,
    ConfigurationError,
    Fallback,
    Progress,
    Scorer,
    Scoring,
    ServiceError,
    rerank,
)
from rerank_core.evaluation import (
    FIRST_STAGE,
    MEAN,
    Comparison,
    Journal,
    Report,
    System,
    Task,
    evaluate,
    first_stage,
    read_collection,
)
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.collections import DOCUMENTS, QUERIES, RUN, write_collection


@pytest.fixture
def task(tmp_path: Path) -> Task:
    collection = read_collection(write_collection(tmp_path / "small"))
    return Task(collection, first_stage("run:first", collection, 3), (3,))


def many(tmp_path: Path, queries: int = 30) -> Task:
    """A collection whose first stage always has the relevant document second of two."""
    numbers = range(queries)
    documents = {f"good{i}": f"river number{i}" for i in numbers}
    documents |= {f"bad{i}": f"storm other{i}" for i in numbers}
    folder = write_collection(
        tmp_path / "many",
        documents,
        {f"q{i}": f"number{i}" for i in numbers},
        {f"q{i}": {f"good{i}": 1} for i in numbers},
        {"first": {f"q{i}": {f"bad{i}": 2.0, f"good{i}": 1.0} for i in numbers}},
    )
    collection = read_collection(folder)
    return Task(collection, first_stage("run:first", collection, 2), (2,))


def against_first(report: Report, system: str, collection: str = "many") -> Comparison:
    (found,) = [
        comparison
        for comparison in report.comparisons
        if (comparison.system, comparison.baseline, comparison.collection)
        == (system, FIRST_STAGE, collection)
    ]
    return found


class Opposite(OverlapScorer):
    """Thinks least of what shares words with the query."""

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        scoring = super()._score(query, texts, progress)
        return replace(scoring, scores=tuple(-(score or 0.0) for score in scoring.scores))


def test_values_are_those_of_the_orders(task: Task) -> None:
    report = evaluate([task], [System(OverlapScorer())], metrics=["RR@10"], resamples=200)
    (collection,) = report.collections
    assert collection.first_stage.per_query == pytest.approx(
        {"q1": 1 / 2, "q2": 1 / 3, "q3": 1 / 2}
    )
    (system,) = collection.systems
    # q1: d1 shares both words; q2: d3 and d4 share both and keep their order, blank d6 is last.
    assert system.per_query == pytest.approx({"q1": 1, "q2": 1 / 2, "q3": 1})
    assert system.values["RR@10"] == pytest.approx(2.5 / 3)
    assert report.mean[system.name] == system.values
    assert system.counts == {"better": 3, "alike": 0, "worse": 0}


def test_a_helpful_scorer_is_said_to_help_and_a_harmful_one_to_hurt(tmp_path: Path) -> None:
    task = many(tmp_path)
    systems = [System(OverlapScorer("good")), System(ScriptedScorer({}), label="idle")]
    report = evaluate([task], systems, resamples=500)
    assert against_first(report, "good @2").verdict == "helps"
    idle = against_first(report, "idle @2")
    assert (idle.verdict, idle.difference, idle.p) == ("no gain", 0.0, 1.0)
    assert idle.queries_needed is None
    assert idle.sentence.startswith("reranking does not help here: nDCG@10 stays the same")
    (pair,) = [found for found in report.comparisons if found.baseline == "good @2"]
    assert (pair.system, pair.verdict) == ("idle @2", "worse")


def test_a_harmful_scorer_is_said_to_hurt(tmp_path: Path) -> None:
    task = many(tmp_path)
    numbers = range(len(task.used))
    run = {f"q{i}": {f"good{i}": 2.0, f"bad{i}": 1.0} for i in numbers}
    assert task.collection.folder is not None
    lines = [f"{q} Q0 {d} 0 {s} t" for q, scores in run.items() for d, s in scores.items()]
    (task.collection.folder / "perfect.txt").write_text("\n".join(lines))
    perfect = first_stage(f"run:{task.collection.folder / 'perfect.txt'}", task.collection, 2)
    report = evaluate(
        [replace(task, first_stage=perfect)], [System(Opposite("bad"))], resamples=500
    )
    found = against_first(report, "bad @2")
    assert found.verdict == "hurts"
    assert found.difference < 0


def test_a_few_queries_cannot_tell(task: Task) -> None:
    systems = [System(OverlapScorer()), System(ScriptedScorer({}), label="idle")]
    report = evaluate([task], systems, resamples=200)
    found = against_first(report, "overlap @3", "small")
    assert found.difference > 0
    idle = against_first(report, "idle @3", "small")
    assert (idle.difference, idle.low, idle.high) == (0, 0, 0)
    for comparison in report.comparisons:
        assert comparison.verdict == "cannot tell"
        assert comparison.sentence.startswith("cannot tell")
        assert comparison.queries_needed is not None
        assert f"about {comparison.queries_needed} are needed" in comparison.sentence
    assert report.to_json()["comparisons"][1]["queries_needed"] == 30


def test_no_pair_is_scored_twice(task: Task) -> None:
    scorer = OverlapScorer()
    systems = [System(scorer), System(scorer, Blend("rrf", 0.3)), System(scorer, Blend("minmax"))]
    report = evaluate([replace(task, depths=(3, 1, 2))], systems, resamples=100)
    assert len(report.collections[0].systems) == 9
    warm_up, *calls = scorer.calls
    assert warm_up[0] == calls[0][0]
    assert [call[0] for call in calls] == list(QUERIES.values())
    latencies = {s.depth: s.latency for s in report.collections[0].systems}
    assert [latencies[depth].estimated for depth in (3, 1, 2)] == [False, True, True]  # type: ignore[union-attr]
    assert report.collections[0].systems[0].usage.pairs == 7  # type: ignore[union-attr]


@pytest.mark.parametrize("blend", [None, Blend("rrf", 0.3), Blend("minmax", 0.6), Blend("zscore")])
def test_orders_are_those_of_rerank(task: Task, blend: Blend | None) -> None:
    scorer = OverlapScorer()
    for depth in (1, 2, 3):
        report = evaluate(
            [replace(task, depths=(depth, 3) if depth < 3 else (3,))],
            [System(scorer, blend)],
            metrics=["RR"],
            resamples=100,
        )
        found = report.collections[0].systems[0].per_query
        for query, asked in QUERIES.items():
            ids = list(RUN[query])
            ranking = rerank(
                asked,
                [DOCUMENTS[name] for name in ids[:depth]],
                scorer,
                blend=blend,
                prior=list(RUN[query].values())[:depth],
            )
            order = [ids[item.index] for item in ranking] + ids[depth:]
            grades = task.collection.judgements[query]
            first = next(at for at, name in enumerate(order, 1) if grades.get(name, 0) > 0)
            assert found[query] == pytest.approx(1 / first)


def test_a_cascade_is_scored_at_each_depth(task: Task) -> None:
    cheap, strong = OverlapScorer("cheap"), OverlapScorer("strong")
    cascade = Cascade([(cheap, 1), strong])
    report = evaluate([replace(task, depths=(3, 2))], [System(cascade)], resamples=100)
    deep, shallow = report.collections[0].systems
    assert deep.latency is not None
    assert not deep.latency.estimated
    assert shallow.latency is not None
    assert not shallow.latency.estimated
    assert (deep.usage.saved, shallow.usage.saved) == (4, 2)  # type: ignore[union-attr]
    assert deep.per_query["q1"] == 1
    assert shallow.per_query["q1"] < 1  # d1 is third


def test_degraded_scorings_are_told(task: Task) -> None:
    down = ScriptedScorer(ServiceError("down"))
    report = evaluate([task], [System(Fallback(down))], resamples=100)
    (system,) = report.collections[0].systems
    assert sum((system.degraded or {}).values()) == 3
    assert system.per_query == report.collections[0].first_stage.per_query


def test_an_interrupted_run_goes_on(task: Task, tmp_path: Path) -> None:
    class Interrupted(OverlapScorer):
        def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
            if len(self.calls) == 3:  # one of them warms up
                raise KeyboardInterrupt
            return super()._score(query, texts, progress)

    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal, pytest.raises(KeyboardInterrupt):
        evaluate([task], [System(Interrupted())], journal=journal, resamples=100)
    again = OverlapScorer()
    with Journal(path) as journal:
        evaluate([task], [System(again)], journal=journal, resamples=100)
    assert [query for query, _ in again.calls] == [QUERIES["q3"]] * 2  # to warm up, and to score
    third = OverlapScorer()
    with Journal(path) as journal:
        evaluate([task], [System(third)], journal=journal, resamples=100)
    assert third.calls == []


def test_one_query_gives_no_estimate(task: Task) -> None:
    one = replace(task, queries=("q1",))
    (found,) = evaluate([one], [System(OverlapScorer())], resamples=100).comparisons
    assert (found.verdict, found.queries_needed) == ("cannot tell", None)


def test_equal_seeds_give_equal_reports(tmp_path: Path) -> None:
    task = many(tmp_path)
    journal = Journal()

    def run(seed: int, scorer: Scorer) -> dict[str, Any]:
        report = evaluate([task], [System(scorer)], journal=journal, resamples=300, seed=seed)
        return report.to_json()

    one, two, other = run(0, Opposite()), run(0, Opposite()), run(1, Opposite())
    assert json.dumps(one, allow_nan=False) == json.dumps(two, allow_nan=False)
    assert other["settings"]["seed"] == 1
    assert one["schema"] == 1
    assert one["comparisons"][0]["verdict"] == "no gain"
    assert one["versions"]["ir-measures"]


def test_wins_and_losses_show_what_moved(task: Task) -> None:
    report = evaluate([task], [System(OverlapScorer())], resamples=100, examples=1)
    (system,) = report.collections[0].systems
    (win,) = system.wins
    assert (win.query, win.text) == ("q1", "river valley")
    assert win.up is not None
    assert (win.up.id, win.up.grade, win.up.before, win.up.after) == ("d1", 2, 3, 1)
    assert win.up.text == DOCUMENTS["d1"]
    assert system.losses == []
    bad = evaluate([task], [System(Opposite())], resamples=100, examples=3)
    assert {loss.query for loss in bad.collections[0].systems[0].losses} <= set(QUERIES)


def test_a_loss_names_the_relevant_passage_that_fell(task: Task) -> None:
    table = ScriptedScorer({DOCUMENTS["d5"]: -1.0, DOCUMENTS["d1"]: 1.0, DOCUMENTS["d2"]: -2.0})
    folder = task.collection.folder
    assert folder is not None
    (folder / "good.txt").write_text(
        "q1 Q0 d2 1 3 t\nq1 Q0 d5 2 2 t\nq3 Q0 d5 1 2 t\nq3 Q0 d1 2 1 t"
    )
    stage = first_stage(f"run:{folder / 'good.txt'}", task.collection, 3)
    report = evaluate([replace(task, first_stage=stage)], [System(table)], resamples=100)
    losses = {loss.query: loss for loss in report.collections[0].systems[0].losses}
    assert losses["q3"].up is not None
    assert (losses["q3"].up.id, losses["q3"].up.grade) == ("d1", None)
    assert losses["q3"].down is not None
    assert (losses["q3"].down.id, losses["q3"].down.before, losses["q3"].down.after) == ("d5", 1, 2)
    assert losses["q1"].up is not None
    assert losses["q1"].up.id == "d5"


def test_queries_without_candidates_count_nothing(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c", runs={"first": {"q3": {"d5": 1.0}}})
    collection = read_collection(folder)
    scorer = OverlapScorer()
    task = Task(collection, first_stage("run:first", collection, 5), (5,))
    report = evaluate([task], [System(scorer)], metrics=["RR@10"], resamples=100)
    assert report.collections[0].systems[0].values["RR@10"] == pytest.approx(1 / 3)
    assert {query for query, _ in scorer.calls} == {"storm"}


def test_a_sample_uses_those_queries_only(task: Task) -> None:
    scorer = OverlapScorer()
    report = evaluate([replace(task, queries=("q2",))], [System(scorer)], resamples=100)
    assert report.collections[0].queries == 1
    assert {query for query, _ in scorer.calls} == {"python list"}


def test_collections_count_alike_in_the_mean(task: Task, tmp_path: Path) -> None:
    other = replace(many(tmp_path), depths=(2,))
    report = evaluate([task, other], [System(OverlapScorer())], metrics=["RR@10"], resamples=200)
    assert report.mean[FIRST_STAGE]["RR@10"] == pytest.approx((4 / 3 / 3 + 1 / 2) / 2)
    assert report.mean["overlap @2/3"]["RR@10"] == pytest.approx((2.5 / 3 + 1) / 2)
    mean = against_first(report, "overlap @2/3", MEAN)
    gained = report.mean["overlap @2/3"]["RR@10"] - report.mean[FIRST_STAGE]["RR@10"]
    assert mean.difference == pytest.approx(gained)
    assert [found.collection for found in report.comparisons] == ["small", "many", MEAN]


def test_progress_tells_what_is_done(task: Task) -> None:
    seen: list[tuple[str, int, int]] = []
    evaluate(
        [task],
        [System(OverlapScorer())],
        resamples=100,
        progress=lambda *step: seen.append(step),
    )
    assert ("small: overlap @3", 3, 3) in seen
    assert seen[-1] == ("comparing", 1, 1)


@pytest.mark.parametrize(
    ("change", "systems", "message"),
    [
        ({}, [], "at least one"),
        (
            {},
            [System(OverlapScorer()), System(OverlapScorer())],
            "two systems are called 'overlap'",
        ),
        ({"depths": ()}, [System(OverlapScorer())], "depths"),
        ({"depths": (3, 3)}, [System(OverlapScorer())], "depths must be different"),
        ({"queries": ("q9",)}, [System(OverlapScorer())], "query 'q9' of small"),
    ],
)
def test_wrong_arguments_are_named(
    task: Task, change: dict[str, Any], systems: list[System], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        evaluate([replace(task, **change)], systems)
    with pytest.raises(ConfigurationError, match="two collections are called 'small'"):
        evaluate([task, task], [System(OverlapScorer())])
    other = replace(task, collection=replace(task.collection, name="b"), depths=(1, 2))
    with pytest.raises(ConfigurationError, match="the same number of depths"):
        evaluate([task, other], [System(OverlapScorer())])


@pytest.mark.parametrize("count", [0, None, True])
def test_counts_are_told_what_they_must_be(task: Task, count: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^depth must be a whole number of at least 1"):
        evaluate([replace(task, depths=(3, count))], [System(OverlapScorer())])
    with pytest.raises(ConfigurationError, match=r"^resamples must be a whole number of at least"):
        evaluate([task], [System(OverlapScorer())], resamples=count)


def test_a_lone_surrogate_in_an_id_or_a_text_is_no_obstacle(tmp_path: Path) -> None:
    documents = {"\ud800": "a river", "d2": "a storm \ud801"}
    queries, judgements = {"q1": "storm", "\udfff": "river"}, {"q1": {"d2": 1}}
    collection = read_collection(
        write_collection(tmp_path / "odd", documents, queries, judgements, runs={})
    )
    task = Task(collection, first_stage("bm25", collection, 3), (3,))
    with Journal(tmp_path) as journal:
        report = evaluate([task], [System(OverlapScorer())], resamples=100, journal=journal)
    assert report.collections[0].systems[0].per_query == {"q1": 1.0}
    assert json.loads(json.dumps(report.to_json()))
