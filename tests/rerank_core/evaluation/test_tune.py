from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerank_core import (
    Blend,
    Calibrated,
    Calibration,
    Cascade,
    ConfigurationError,
    Profile,
    Scale,
    Scorer,
    Scoring,
    Usage,
    load_scorer,
    rerank,
)
from rerank_core._blend import make_blend
from rerank_core.evaluation import (
    Candidate,
    Collection,
    FirstStage,
    Journal,
    Task,
    Tuning,
    tune,
)
from rerank_core.evaluation._scoring import Evaluator
from rerank_core.evaluation._tune_grid import Grid
from rerank_core.testing import ScriptedScorer

BLENDS = [make_blend(blend) for blend in (None, "rrf:0.3", "minmax:0.6", "zscore:0.5")]


def make_task(queries: int, *, documents: int = 14, depths: tuple[int, ...] = (5, 12)) -> Task:
    """Random judgements and candidates: ties, blanks, few and no candidates, negative grades."""
    rng = random.Random(1)
    texts = {f"d{i}": f"text {i}" for i in range(documents)} | {"d2": " ", "d9": "\u200b"}
    asked = {f"q{i:03}": f"query {i}" for i in range(queries)}
    judged, found = {}, {}
    for place, query in enumerate(asked):
        grades = {name: rng.choice((-1, 0, 1, 3)) for name in rng.sample([*texts], 8)}
        judged[query] = grades | {"d1": 1, "elsewhere": rng.choice((0, 2))}
        ids = rng.sample([*texts], 0 if place == 3 else rng.choice((4, 9, documents)))
        scores = sorted((rng.choice((0.0, 1.0, 2.5, 4.0)) for _ in ids), reverse=True)
        found[query] = tuple(map(Candidate, ids, scores))
    return Task(Collection("odd", texts, asked, judged), FirstStage("mine", found), depths)


def coarse(seed: int, name: str, *, holes: bool = False) -> ScriptedScorer:
    """Few distinct scores, so that there are ties; perhaps some texts are left unscored."""

    def answer(query: str, texts: tuple[str, ...]) -> list[float | None]:
        def score(text: str) -> float | None:
            value = random.Random(f"{seed}{query}{text}").randrange(6)
            return None if holes and value == 3 else value - 2.0

        return [score(text) for text in texts]

    return ScriptedScorer(answer, name=name)


def calibrated(scorer: Scorer) -> Calibrated:
    """Probabilities that depend on the whole list, of a scorer."""
    weights = {"score": 0.6, "rank": 0.4, "mean": -0.3, "spread": 0.5, "intercept": -1.0}
    calibration = Calibration(scorer.name, scorer.fingerprint, weights, alone={"score": 1.0})
    return Calibrated(scorer, calibration)


@pytest.mark.parametrize("metric", ["nDCG@10", "nDCG@3", "RR@10"])
def test_a_configuration_is_worth_what_rerank_makes_of_it(metric: str) -> None:
    task = make_task(25)
    scorers: dict[str, Scorer] = {
        "a": coarse(1, "a"),
        "b": calibrated(coarse(2, "b")),
        "holes": coarse(3, "holes", holes=True),
    }
    evaluator = Evaluator(task, [metric], Journal(), None)
    grid = Grid(evaluator, metric, scorers, BLENDS, [2, 4, 8])
    seen = []
    for each, values in zip(grid.all, grid.values, strict=True):
        if each.scorer is None:
            found = task.first_stage.candidates
            orders = {query: [hit.id for hit in found[query]] for query in task.used}
        else:
            every = dict.fromkeys([q for q in task.used if task.texts(q, 1)], each.scorer)
            orders = evaluator.rerank(every, each.depth, each.blend)
        _, expected = evaluator.measure(orders)
        assert values == pytest.approx([expected[metric][query] for query in task.used], abs=1e-12)
        seen.append(each.name)
    single = product(("a", "b", "holes"), ("", " + rrf:0.3", " + minmax:0.6", " + zscore:0.5"))
    assert {f"{label}{blend} @{depth}" for label, blend in single for depth in (5, 12)} < {*seen}
    cascades = [name for name in seen if name.startswith("cascade")]
    assert len(cascades) == 4 * (2 + 3)  # one order of two scorers: keep 2 and 4 of 5, all of 12
    assert not any("holes" in name for name in cascades)


def test_fewer_candidates_take_less_time_and_money() -> None:
    task = make_task(4, depths=(4, 8))
    found = task.first_stage.candidates
    usages = {
        "tokens": Usage(pairs=8, tokens=80, seconds=0.8, cost=0.4, billed_units={"tokens": 80.0}),
        "units": Usage(pairs=8, seconds=0.8, cost=0.4, billed_units={"search_units": 2.0}),
        "unit": Usage(pairs=8, seconds=0.8, cost=0.4, billed_units={"search_units": 1.0}),
        "requests": Usage(pairs=8, seconds=0.8, cost=0.4),
        "unknown": Usage(pairs=8, seconds=0.8, cost=None),
    }
    journal, scorers = Journal(), {name: coarse(1, name) for name in usages}
    for name, query in product(usages, task.used):
        texts, asked = task.texts(query, 8), task.collection.queries[query]
        if texts:
            scores = tuple(None if not t.strip(" \u200b") else 1.0 for t in texts)
            journal.keep(scorers[name], asked, texts, Scoring(scores, usages[name]))
    grid = Grid(Evaluator(task, ["RR@10"], journal, None), "RR@10", scorers, [None], [2])
    figures = {each.name: (grid.p95[at], grid.cost[at]) for at, each in enumerate(grid.all)}
    asked_share = sum(bool(found[query]) for query in task.used) / 4  # one has no candidate
    assert figures["first stage"] == (0.0, 0.0)
    assert figures["tokens @8"] == pytest.approx((800, 400 * asked_share))
    halves = [min(4, len(f)) / min(8, len(f)) for f in found.values() if f]
    assert figures["tokens @4"][1] == pytest.approx(1000 * 0.4 * sum(halves) / 4)
    assert figures["units @4"][1] == pytest.approx(
        1000 * sum(0.2 if half <= 0.5 else 0.4 for half in halves) / 4
    )
    assert figures["unit @4"][1] == pytest.approx(400 * asked_share)
    assert figures["requests @4"][1] == pytest.approx(400 * asked_share)
    assert np.isnan(figures["unknown @8"][1])
    assert not np.isnan(grid.values).any()
    for scorer in scorers.values():
        assert not scorer.calls  # the journal knew it all
    assert not grid.allowed(None, 1000.0)[[each.name == "unknown @8" for each in grid.all]].any()


def truth(task: Task, name: str = "truth", scale: Scale = Scale.LOGIT) -> ScriptedScorer:
    """Scores by the judgements, between 0 and 1."""
    ids = {text: key for key, text in task.collection.documents.items()}
    queries = {text: key for key, text in task.collection.queries.items()}

    def answer(query: str, texts: tuple[str, ...]) -> list[float]:
        grades = task.collection.judgements[queries[query]]
        return [max(0, grades.get(ids[text], 0)) / 4 + 0.05 for text in texts]

    return ScriptedScorer(answer, name=name, scale=scale)


def test_what_helps_is_recommended() -> None:
    task = make_task(60)
    scorers, journal = {"truth": truth(task), "noise": coarse(4, "noise")}, Journal()
    tuning = tune(task, scorers, journal=journal)
    assert tuning.verdict == "helps"
    assert tuning.chosen.name == "truth @12"
    assert tuning.chosen.front
    assert tuning.low is not None
    assert 0.05 < tuning.low < tuning.difference
    assert tuning.sentence.startswith(
        "Rerank the first 12 candidates with truth: on queries that had no part in the choice, "
        "nDCG@10 is 0."
    )
    assert tuning.sentence.endswith(" ms.")
    calls = [len(scorer.calls) for scorer in scorers.values()]
    again = tune(task, scorers, journal=journal)
    assert [len(scorer.calls) for scorer in scorers.values()] == calls
    assert again.to_json() == tuning.to_json()


def test_the_best_of_many_by_chance_is_not_believed() -> None:
    task = make_task(80, documents=30, depths=(30,))
    noise = {f"noise{i}": coarse(i, f"noise{i}") for i in range(12)}
    tuning = tune(task, noise, blends=[None], keeps=[5, 10])
    best = max(row.value for row in tuning.rows[1:])
    unseen = tuning.rows[0].value + tuning.difference
    assert unseen < best - 0.01
    assert tuning.verdict != "helps"


def test_a_blend_must_be_better_by_a_standard_error() -> None:
    task = make_task(8)
    grid = Grid(Evaluator(task, ["RR@10"], Journal(), None), "RR@10", {"a": coarse(1, "a")},
                [None, Blend("rrf", 0.3)], [])  # fmt: skip
    names = ["first stage", "a @5", "a + rrf:0.3 @5", "a @12", "a + rrf:0.3 @12"]
    assert [each.name for each in grid.all] == names
    alone, every, all_allowed = np.full(8, 0.5), np.arange(8), np.ones(5, dtype=bool)
    swing = np.array([1, -1] * 4) * 0.1  # whose standard error is 0.1 / sqrt(8)
    grid.values = np.array([alone - 0.2, alone, alone + 0.03 + swing, alone - 0.1, alone])
    grid.p95, grid.cost = np.array([0.0, 5, 6, 12, 13]), np.zeros(5)
    assert names[grid.choose(all_allowed, every)] == "a @5"
    grid.values[2] += 0.01
    assert names[grid.choose(all_allowed, every)] == "a + rrf:0.3 @5"
    grid.values[3] = grid.values[2] + 0.0005  # about as good, but slower
    assert names[grid.choose(all_allowed, every)] == "a + rrf:0.3 @5"
    grid.values[3] = grid.values[2] + 0.005
    assert names[grid.choose(all_allowed, every)] == "a @12"
    grid.values[3] = alone + 0.005
    assert names[grid.choose(grid.allowed(5.5, None), every)] == "a @5"
    assert names[grid.choose(grid.allowed(1.0, None), every)] == "first stage"


def test_few_queries_cannot_tell_and_too_few_are_refused() -> None:
    task = make_task(4)
    tuning = tune(task, {"truth": truth(task)}, blends=[None])
    assert tuning.verdict == "cannot tell"
    assert tuning.chosen.name == "truth @12"
    assert tuning.sentence.startswith("Cannot tell yet whether to rerank the first 12 candidates")
    assert " are needed" in tuning.sentence
    one = Task(task.collection, task.first_stage, (5,), task.used[:1])
    with pytest.raises(ConfigurationError, match="at least two queries"):
        tune(one, {"truth": truth(task)})


def test_what_harms_is_not_recommended() -> None:
    task = make_task(80)
    ideal = {
        query: tuple(
            sorted(found, key=lambda c, q=query: -task.collection.judgements[q].get(c.id, 0))  # type: ignore[misc]
        )
        for query, found in task.first_stage.candidates.items()
    }
    perfect = Task(task.collection, FirstStage("ideal", ideal), (12,))
    tuning = tune(perfect, {"noise": coarse(4, "noise")}, blends=[None])
    assert tuning.verdict == "no gain"
    assert tuning.chosen.scorer is None
    assert tuning.sentence.startswith("Do not rerank: ")
    assert tuning.profile() is None


def test_limits_are_kept() -> None:
    task = make_task(60)
    journal, paid = Journal(), truth(task)
    for query in task.used:
        if texts := task.texts(query, 12):
            asked = task.collection.queries[query]
            scoring = paid.score(asked, texts)
            cost = Usage(cost=0.002, billed_units={"search_units": 1.0})
            journal.keep(paid, asked, texts, Scoring(scoring.scores, cost))
    scorers = {"paid": paid, "noise": coarse(4, "noise")}

    def chosen(**limits: Any) -> Tuning:
        return tune(task, scorers, blends=[None], journal=journal, resamples=200, **limits)

    free, bought = chosen(max_cost=1.0), chosen(max_cost=5.0)
    assert "paid" not in free.chosen.name
    assert bought.chosen.name == "paid @12"
    assert bought.chosen.cost == pytest.approx(2 * 59 / 60)
    assert " ms, and 1,000 cost about 2." in bought.sentence
    # The journal says that it took no time, and measuring again finds that it does.
    slow = chosen(max_latency=1e-9)
    assert slow.chosen.scorer is None
    assert slow.measured is None
    assert slow.sentence.startswith("Do not rerank: no configuration is within the limits; of ")
    fast = chosen(max_latency=3600.0)
    assert fast.chosen.name == "paid @12"
    assert fast.measured is not None
    assert f"95% of queries take at most {fast.measured:,.0f} ms" in fast.sentence


def test_a_threshold_for_probabilities() -> None:
    task = make_task(60)
    tuning = tune(task, {"truth": truth(task, scale=Scale.PROBABILITY)}, blends=[None])
    assert tuning.chosen.name == "truth @12"
    assert tuning.min_score == pytest.approx(0.3)  # 0.05 and 0.3 are the scores of grades 0 and 1
    assert tuning.left_out is not None
    assert 1 < tuning.left_out < 10
    assert tuning.loss == pytest.approx(0)
    assert f"a min_score of 0.3 leaves out {tuning.left_out:.1f} of the first 10" in tuning.sentence
    assert tune(task, {"truth": truth(task)}, blends=[None]).min_score is None


def test_a_calibrated_scorer_is_scored_once_and_has_a_threshold() -> None:
    task = make_task(60)
    inner = truth(task)
    scorer = calibrated(inner)
    tuning = tune(task, {"plain": inner, "sure": scorer}, blends=[None])
    assert len(inner.calls) == 60  # 59 queries have candidates, and the first is not timed
    assert {row.value for row in tuning.rows if "@12" in row.name} == {tuning.chosen.value}
    alone = tune(task, {"sure": scorer}, blends=[None])
    assert alone.chosen.name == "sure @12"
    assert alone.min_score is not None
    kept = 0
    for query in task.used:
        if texts := task.texts(query, 12):
            asked = task.collection.queries[query]
            kept += len(rerank(asked, texts, scorer, min_score=alone.min_score).items)
    assert 0 < kept < 59 * 12
    other = Calibrated(coarse(1, "other"), scorer.calibration)
    with pytest.raises(ConfigurationError, match="measured on 'truth'"):
        tune(task, {"other": other})


def test_the_profile_holds_what_was_chosen(tmp_path: Path) -> None:
    task = make_task(5)
    nano = load_scorer("nano")
    tuning = tune(task, {"nano": nano}, blends=["rrf:0.3"], resamples=200)
    profile = tuning.profile("rerank tune odd")
    assert isinstance(profile, Profile)
    profile.write(tmp_path / "p.json")
    assert Profile.read(tmp_path / "p.json") == profile
    assert (profile.depth, profile.blend) == (tuning.chosen.depth, Blend("rrf", 0.3))
    assert profile.found["command"] == "rerank tune odd"
    assert profile.found["figures"]["value"] == tuning.chosen.value
    assert profile.found["data"] == tuning.data
    fewer = Task(task.collection, task.first_stage, task.depths, task.used[1:])
    assert tune(fewer, {"nano": nano}, resamples=200).data != tuning.data


def test_a_cascade_is_written_as_one() -> None:
    task = make_task(60)
    scorers: Mapping[str, ScriptedScorer] = {"a": coarse(4, "a"), "b": coarse(5, "b")}
    grid = Grid(Evaluator(task, ["RR@10"], Journal(), None), "RR@10", scorers, [None], [2])
    cascades = [each for each in grid.all if isinstance(each.scorer, Cascade)]
    assert len(cascades) == 2
    for each in cascades:
        assert each.scorer is not None
        first, second = each.name.removeprefix("cascade(").partition(")")[0].split(", ")
        assert each.scorer.name == f"cascade({first}, {second})"
