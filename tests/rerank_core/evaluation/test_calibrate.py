"""Fitting calibrations, their figures, and `rerank calibrate`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from typer.testing import CliRunner, Result

from rerank_core import (
    Calibrated,
    Calibration,
    CohereScorer,
    ConfigurationError,
    InvalidInputError,
    Progress,
    Scale,
    Scoring,
    ServiceError,
    Usage,
    rerank,
)
from rerank_core.cli._app import app
from rerank_core.evaluation import (
    Candidate,
    Collection,
    FirstStage,
    Journal,
    System,
    Task,
    calibrate,
    evaluate,
    first_stage,
    plot,
    read_collection,
)
from rerank_core.evaluation import _probabilities as figures
from rerank_core.testing import OverlapScorer, ScriptedScorer, ScriptedServer
from support.collections import write_collection

Grade = Callable[[np.random.Generator, float, int], int | None]


class Written(OverlapScorer):
    """Gives the number at the end of a text as its score."""

    scale = Scale.LOGIT

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        self.calls.append((query, tuple(texts)))
        scores = tuple(float(text.split()[-1]) for text in texts)
        progress(len(texts), len(texts))
        return Scoring(scores, Usage(pairs=len(texts)))


def task(grade: Grade, queries: int = 60, texts: int = 12, seed: int = 0) -> Task:
    """Make a collection whose labels follow from scores, and all candidates of each query."""
    rng = np.random.default_rng(seed)
    documents: dict[str, str] = {}
    judgements: dict[str, dict[str, int]] = {}
    candidates: dict[str, tuple[Candidate, ...]] = {}
    for number in range(queries):
        query = f"q{number:03}"
        scores = rng.normal(0, 3, texts)
        names = [f"{query}-{place}" for place in range(texts)]
        documents |= {n: f"text {n} {score}" for n, score in zip(names, scores, strict=True)}
        ranks = np.argsort(np.argsort(-scores))
        grades = [grade(rng, score, int(rank)) for score, rank in zip(scores, ranks, strict=True)]
        known = zip(names, grades, strict=True)
        # The task takes queries with a relevant text, which need not be among the candidates.
        judgements[query] = {"elsewhere": 1} | {n: value for n, value in known if value is not None}
        candidates[query] = tuple(Candidate(name, float(-i)) for i, name in enumerate(names))
    asked = {query: f"question {query}" for query in judgements}
    collection = Collection("made", {**documents, "elsewhere": "x"}, asked, judgements)
    return Task(collection, FirstStage("made", candidates))


def logistic(rng: np.random.Generator, score: float, rank: int) -> int:
    return int(rng.random() < 1 / (1 + math.exp(1.5 - 0.8 * score)))


@pytest.fixture(scope="module")
def platt() -> Calibration:
    return calibrate([task(logistic, 150)], Written(), resamples=100)


def test_what_labels_follow_from_is_found(platt: Calibration) -> None:
    assert platt.alone is None or platt.alone["score"] == pytest.approx(0.8, abs=0.15)
    for score in (-2.0, 0.0, 2.0, 4.0):
        sentence = platt.for_sentences("x").probabilities([score])[0]
        assert sentence == pytest.approx(1 / (1 + math.exp(1.5 - 0.8 * score)), abs=0.06)
    found = platt.figures
    assert found["ece"]["value"] < 0.05
    assert found["ece"]["low"] <= found["ece"]["value"] <= found["ece"]["high"]
    assert 0.1 < found["brier_skill"]["low"] < found["brier_skill"]["high"] < 0.6
    assert (found["queries"], found["texts"], found["without_judgement"]) == (150, 1800, 0)
    assert found["method"] == "logistic: score"  # the simplest of those that are about as good
    assert {"isotonic: score", "logistic: score, rank"} <= set(found["log_loss"])
    assert platt.scorer is not None
    json.dumps(platt.to_json(), allow_nan=False)


def test_features_of_the_list_are_taken_where_they_help() -> None:
    def first_two(rng: np.random.Generator, score: float, rank: int) -> int:
        return int(rng.random() < (0.9, 0.6)[rank] if rank < 2 else rng.random() < 0.02)

    found = calibrate([task(first_two)], Written(), resamples=100)
    assert "rank" in found.figures["method"]
    assert found.relevant["rank"] > 0
    assert found.listwise


def test_figures_are_of_queries_left_out_of_the_fit(platt: Calibration) -> None:
    fresh = task(logistic, 150, seed=5)
    scored = Written()
    skill = []
    for query, hits in fresh.first_stage.candidates.items():
        scoring = scored.score("?", fresh.texts(query, 50))
        scores = [score for score in scoring.scores if score is not None]
        best = np.argsort(scores)[::-1][:10]
        probabilities = np.array(platt.probabilities(scores))[best]
        labels = np.array([fresh.collection.judgements[query][hits[i].id] for i in best])
        skill.append((probabilities, labels))
    probabilities, labels = (np.concatenate(part) for part in zip(*skill, strict=True))
    told = platt.figures["brier_skill"]
    assert told["low"] - 0.05 < figures.brier_skill(probabilities, labels) < told["high"] + 0.05


def test_holes_count_as_negative_only_when_asked() -> None:
    def only_relevant(rng: np.random.Generator, score: float, rank: int) -> int | None:
        return logistic(rng, score, rank) or None

    holes = task(only_relevant)
    with pytest.raises(InvalidInputError, match=r"unjudged is 'skip'.*'negative' takes the others"):
        calibrate([holes], Written(), resamples=100)
    found = calibrate([holes], Written(), unjudged="negative", resamples=100)
    whole = calibrate([task(logistic)], Written(), resamples=100)
    assert found.relevant == whole.relevant
    assert found.figures["unjudged"] == "negative"
    assert found.figures["without_judgement"] == 60 * 12 - found.figures["relevant"]


def test_a_text_without_a_judgement_does_not_count() -> None:
    def some(rng: np.random.Generator, score: float, rank: int) -> int | None:
        label = logistic(rng, score, rank)
        return label if rng.random() < 0.7 else None

    found = calibrate([task(some, 120)], Written(), resamples=100)
    assert found.for_sentences("x").probabilities([0.0])[0] == pytest.approx(0.18, abs=0.06)
    assert found.figures["without_judgement"] > 0


@pytest.mark.parametrize(
    ("grade", "queries", "message"),
    [
        (logistic, 8, "labels are too few: there are .* of 8 queries"),
        (lambda rng, score, rank: int(rank == 0 and score > 6), 30, "labels are too few"),
        (lambda rng, score, rank: 0, 30, "all of one kind: there are 0 relevant and 360 other"),
        (lambda rng, score, rank: int(rng.random() < 0.3), 30, "scores do not tell .* chance"),
        (lambda rng, score, rank: int(score < -2), 30, "scores do not tell"),
    ],
)
def test_labels_that_mean_nothing_are_refused(grade: Grade, queries: int, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        calibrate([task(grade, queries)], Written(), resamples=100)


def test_other_arguments_are_checked(platt: Calibration) -> None:
    made = task(logistic, 20)
    with pytest.raises(ConfigurationError, match="at least one task"):
        calibrate([], Written())
    with pytest.raises(ConfigurationError, match="unjudged must be 'skip' or 'negative'"):
        calibrate([made], Written(), unjudged="positive")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="calibrated already"):
        calibrate([made], Calibrated(Written(), platt))
    half = ScriptedScorer(
        lambda _, texts: Scoring((None,) * len(texts), degraded="busy", causes=("deadline",))
    )
    with pytest.raises(InvalidInputError, match="scoring of query 'q000' of made is degraded"):
        calibrate([made], half)
    with pytest.raises(ServiceError):
        calibrate([made], ScriptedScorer(ServiceError("down")))


def test_lists_without_a_relevant_text_are_recognised() -> None:
    def one(rng: np.random.Generator, score: float, rank: int) -> int:
        return int(rank == 0 and score > 5)

    found = calibrate([task(one, 120)], Written(), resamples=100)
    nothing = found.figures["nothing"]
    assert nothing["area"] > 0.8
    answerable = found.nothing_probability([8.0, 1.0, 0.5, -1.0, -3.0], ["text"] * 5)
    empty = found.nothing_probability([3.0, 1.0, 0.5, -1.0, -3.0], ["text"] * 5)
    assert answerable is not None
    assert empty is not None
    assert answerable < 0.3 < 0.6 < empty
    for row in nothing["thresholds"]:
        assert row["fpr"] <= float(row["aim"].split()[-1])


def test_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.random(300).round(2)
    labels = (rng.random(300) < probabilities).astype(float)
    assert figures.brier(probabilities, labels) == pytest.approx(
        brier_score_loss(labels, probabilities)
    )
    assert figures.area(probabilities, labels) == pytest.approx(
        roc_auc_score(labels, probabilities)
    )
    inside = np.clip(probabilities, 0.01, 0.99)
    assert figures.log_losses(inside, labels).mean() == pytest.approx(log_loss(labels, inside))
    for row in figures.thresholds(probabilities, labels, probabilities, 30):
        kept = probabilities >= row["threshold"]
        assert row["kept"] == pytest.approx(kept.sum() / 30)
        assert row["precision"] == pytest.approx(labels[kept].mean())
        assert row["recall"] == pytest.approx(labels[kept].sum() / labels.sum())
        assert row["fpr"] == pytest.approx((1 - labels[kept]).sum() / (1 - labels).sum())
        name, sign, bound = row["aim"].split()
        assert row[name] >= float(bound) if sign == ">=" else row[name] <= float(bound)


def test_the_calibration_error_is_zero_for_the_truth_and_large_for_a_boast() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(20_000)
    labels = (rng.random(20_000) < truth).astype(float)
    assert figures.ece(truth, labels) < 0.01
    assert figures.ece(np.full(20_000, 0.9), labels) == pytest.approx(0.4, abs=0.01)
    nothing_reached = figures.thresholds(np.array([0.9, 0.1]), np.array([0.0, 1.0]), truth, 1)
    assert nothing_reached[0]["threshold"] is None


def test_a_journal_saves_the_scoring(tmp_path: Path) -> None:
    made = task(logistic, 20)
    with Journal(tmp_path / "scores.jsonl") as journal:
        first = calibrate([made], Written(), resamples=100, journal=journal)
    scorer = Written()
    with Journal(tmp_path / "scores.jsonl") as journal:
        assert calibrate([made], scorer, resamples=100, journal=journal) == first
    assert scorer.calls == []


def test_an_evaluation_scores_each_depth_with_what_reads_the_list(tmp_path: Path) -> None:
    made = replace(task(logistic, 20), depths=(12, 6))
    inside = Written()
    calibration = Calibration(
        inside.name, inside.fingerprint, {"score": 1.0}, nothing={"best": -1.0, "spread": 0.5}
    )
    scorer = Calibrated(inside, calibration)
    path = tmp_path / "scores.jsonl"
    for calls in (2 * 21, 0):  # a few texts are scored before the first that is timed
        inside.calls.clear()
        with Journal(path) as journal:
            evaluate([made], [System(scorer)], metrics=["R@5"], journal=journal, resamples=100)
            query = made.used[0]
            kept = journal.find(scorer, made.collection.queries[query], made.texts(query, 6))
        assert len(inside.calls) == calls
        assert kept is not None
        scores = [float(text.split()[-1]) for text in made.texts(query, 6)]
        expected = calibration.nothing_probability(scores, made.texts(query, 6))
        assert kept.nothing_probability == expected


def test_the_reliability_plot_is_a_picture(platt: Calibration, tmp_path: Path) -> None:
    plot(platt, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigurationError, match="no figures to plot"):
        plot(Calibration("x", "x", {"score": 1.0}), tmp_path / "none.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection of short texts whose relevant ones share words with the query."""
    words = ["river", "storm", "python", "list", "health", "error", "file", "mountain"]
    pairs = [(a, b) for a in words for b in words if a < b]
    queries = {f"q{i}": f"{a} {b}" for i, (a, b) in enumerate(pairs)}
    documents = {f"d{i}": f"about the {a} and the {b}" for i, (a, b) in enumerate(pairs)}
    judgements = {f"q{i}": {f"d{i}": 1} for i in range(len(pairs))}
    return write_collection(
        tmp_path_factory.mktemp("pairs") / "pairs", documents, queries, judgements, {}
    )


def test_a_service_is_calibrated_without_its_key(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = read_collection(folder)
    pairs = Task(collection, first_stage("bm25", collection, 6), depths=(6,))
    with ScriptedServer() as server:
        cohere = CohereScorer("rerank-v5.0-fast", base_url=server.url, api_key="sk-0123456789")
        found = calibrate([pairs], cohere, unjudged="negative", resamples=100)
        found.write(tmp_path / "cohere.json")
        assert "sk-0123456789" not in (tmp_path / "cohere.json").read_text()
        monkeypatch.setenv("CO_API_KEY", "sk-0123456789")
        texts = ["about the river and the storm", "about the list and the file"]
        ranking = rerank("river storm", texts, f"calibrated:{tmp_path / 'cohere.json'}")
    assert found.scale is Scale.UNIT
    assert ranking.scale is Scale.PROBABILITY
    assert ranking[0].score is not None
    assert ranking[1].score is not None
    assert ranking[0].score > 0.5 > ranking[1].score


def run(*arguments: str | Path) -> Result:
    quick = ["calibrate", "--resamples", "100", "--depth", "8", *map(str, arguments)]
    return CliRunner().invoke(app, quick, env={"COLUMNS": "200"})


def test_the_command_writes_what_a_name_reads(folder: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "nano.json", tmp_path / "plot.svg"
    result = run(folder, "--unjudged", "negative", "--out", out, "--plot", plot)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(out.read_text())
    text = " ".join(result.stdout.split())
    assert text.startswith("nano on pairs 28 queries, ")
    assert "without a judgement, taken as not relevant" in text
    assert f"error {found['figures']['ece']['value']:.3f}" in text
    for row in found["figures"]["thresholds"]:
        assert row["aim"] in text
    assert plot.exists()
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "about the river and the storm"}\n{"text": "a cat"}\n')
    ranked = CliRunner().invoke(
        app,
        ["rank", "-q", "river storm", str(texts), "-s", f"calibrated:{out}", "--min-score", "0.5"],
    )
    assert ranked.exit_code == 0, ranked.output
    assert "river and the storm" in ranked.stdout
    assert "a cat" not in ranked.stdout


def test_the_command_says_why_it_refuses(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run(folder, "--out", out)
    assert result.exit_code == 2
    assert "all of one kind" in result.stderr
    assert "--unjudged is 'skip'" in result.stderr
    assert not out.exists()
    assert "name the folder of a collection" in run("--out", out).stderr
    assert run(folder, "--sample", "--out", out).exit_code == 2
    assert "--out" in run(folder).stderr
    assert "must end in" in run(folder, "--out", out, "--plot", "x.txt").stderr
