"""Training on a small collection, with tiny models that must learn one word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from typer.testing import CliRunner

from rerank_core import ConfigurationError, OnnxCrossEncoder
from rerank_core.cli._app import app
from rerank_core.evaluation import Candidate, Collection, FirstStage, Task
from rerank_core.testing import OverlapScorer
from rerank_core.training import train
from support.collections import write_collection
from support.models import WORDS, build_tiny_model

PLAIN = [word for word in WORDS[10:] if word != "python"]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny model with the small weights of a new one, and the same words each time."""
    folder = build_tiny_model(tmp_path_factory.mktemp("start"), "bert", with_graph=False).torch
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS)
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer["model"] = {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder, vocab_size=len(vocabulary))
    make: Any = AutoModelForSequenceClassification.from_config
    model = make(config)
    with torch.no_grad():
        model.classifier.weight.neg_()  # what is about Python comes last
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def task() -> Task:
    """Queries whose relevant documents are those about Python."""
    chance = np.random.default_rng(0)
    documents: dict[str, str] = {}
    queries, judgements, candidates = {}, {}, {}
    for number in range(40):
        query = f"q{number}"
        queries[query] = " ".join(chance.choice(PLAIN, 2))
        texts = [" ".join(chance.choice(PLAIN, 4)) for _ in range(8)]
        texts[number % 8] += 4 * " python"
        names = [f"{number}-{place}" for place in range(8)]
        documents |= dict(zip(names, texts, strict=True))
        judgements[query] = {names[number % 8]: 1}
        candidates[query] = tuple(Candidate(name, -place) for place, name in enumerate(names))
    collection = Collection("words", documents, queries, judgements)
    return Task(collection, FirstStage("made up", candidates, {}), (8,))


def test_a_better_student_is_written_after_an_interruption(
    task: Task, start: str, tmp_path: Path
) -> None:
    teacher = OverlapScorer()
    options: dict[str, Any] = {
        "start": start, "teachers": [teacher], "labels": True, "resume": tmp_path / "kept",
        "passes": 12, "learning_rate": 1e-3,
    }  # fmt: skip

    def interrupt(label: str, done: int, _: int) -> None:
        if label == "training" and done > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task, tmp_path / "student", **options, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    calls, seen = len(teacher.calls), []
    report = train(task, tmp_path / "student", **options, progress=lambda *step: seen.append(step))
    assert len(teacher.calls) == calls == report.trained == 28
    assert min(done for label, done, _ in seen if label == "training") >= 30
    assert report.folder == tmp_path / "student"
    assert report.comparison.p < 0.05
    assert report.after > max(0.9, report.before)
    found = OnnxCrossEncoder(report.folder).score("storm", ["a river of python"])
    assert found.scores[0] is not None
    # The state is of no more use, the scores are.
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["rerank-eval.jsonl"]


def test_a_student_that_has_learnt_nothing_is_not_written(
    task: Task, start: str, tmp_path: Path
) -> None:
    found = task.collection
    ranks = {
        query: {hit.id: hit.score for hit in hits}
        for query, hits in task.first_stage.candidates.items()
    }
    folder = write_collection(
        tmp_path / "words", found.documents, found.queries, found.judgements, {"made": ranks}
    )
    out = tmp_path / "student"
    arguments = ["--out", out, "--start", start, "-t", "nano", "--first-stage", "run:made"]
    arguments += ["--minutes", "0.001"]
    result = CliRunner().invoke(app, ["train", str(folder), *map(str, arguments)])
    assert result.exit_code == 3, result.output
    said, unproved = result.stderr.splitlines()
    assert said == "rerank: a model learns from nano: check that the terms of use allow it"
    assert unproved.startswith("rerank: nothing written: no gain over the start is proved")
    rows = dict(line.strip().split("  ", 1) for line in result.stdout.splitlines())
    assert rows["trained on"].strip() == "28 queries, 1 steps"
    assert rows["held out"].strip() == "12 queries"
    assert rows["written"].strip() == "nothing"
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "train needs teachers, labels=True, or both"),
        ({"labels": True, "minutes": 0}, "minutes must be a finite number above 0, not 0"),
        ({"labels": True, "learning_rate": 0}, "learning_rate must be a finite number above 0"),
        ({"labels": True, "held_out": 1}, r"held_out must be a number from 0.1 to 0.9, not 1"),
        ({"labels": True, "held_out": 0.8}, "held_out 0.8 of the 40 queries of words leaves 7 to"),
        ({"labels": True, "out": "missing/student"}, "the folder .*missing does not exist"),
    ],
)
def test_what_cannot_work_is_refused_first(
    task: Task, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    out = tmp_path / options.pop("out", "student")
    with pytest.raises(ConfigurationError, match=message):
        train(task, out, **options)


def test_a_start_of_two_labels_is_refused(task: Task, tmp_path: Path) -> None:
    two = build_tiny_model(tmp_path, "bert", labels=2, with_graph=False)
    with pytest.raises(ConfigurationError, match="has 2 labels; a cross-encoder with one"):
        train(task, tmp_path / "student", start=str(two.torch), teachers=[OverlapScorer()])


def test_a_first_stage_that_finds_nothing_is_refused(task: Task, tmp_path: Path) -> None:
    found = Task(task.collection, FirstStage("empty", {}), (8,))
    with pytest.raises(ConfigurationError, match="only 0 of the queries of words that are not"):
        train(found, tmp_path / "student", teachers=[OverlapScorer()])
