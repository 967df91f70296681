from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.tune import read_task, regret, share_of_time
from rerank_core.evaluation import Journal
from rerank_core.testing import ScriptedScorer
from support.collections import write_collection


def test_what_is_best_on_every_half_is_regretted_by_nobody(tmp_path: Path) -> None:
    documents = {f"d{i}": f"text {i}" for i in range(30)}
    queries = {f"q{i}": f"text {i}" for i in range(30)}
    folder = write_collection(
        tmp_path / "numbers",
        documents,
        queries,
        {f"q{i}": {f"d{i}": 1} for i in range(30)},
        {"bm25": {query: {d: -float(n) for n, d in enumerate(documents)} for query in queries}},
    )
    task = read_task(folder, None, (10, 30))
    right = ScriptedScorer(lambda query, texts: [float(query == text) for text in texts])
    wrong = ScriptedScorer(
        lambda query, texts: [random.Random(query + text).random() for text in texts], name="wrong"
    )
    found = regret(task, {"right": right, "wrong": wrong}, Journal())
    assert found.startswith("numbers: 30 queries, ")
    assert "best 1.0000 (right @30), regret 0.0000 (greatest 0.0000), 20 helps" in found
    few = read_task(folder, 2, (10, 30))
    assert len(few.used) == 2


def test_time_is_told_as_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 50.0, 51.0])
    monkeypatch.setattr("time.process_time", lambda: next(ticks))
    task = read_task(
        write_collection(tmp_path / "small", runs={"bm25": {"q1": {"d1": 1.0}}}), None, (2, 5)
    )
    found = share_of_time(task)
    assert found == (
        "small: 3 queries, 36 configurations: scoring 50.0 s, the rest 1.00 s, 2.0% on top"
    )
