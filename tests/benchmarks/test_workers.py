from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from benchmarks import _environments
from benchmarks._workers import Worker, WorkerError, first_scores
from rerank_core import load_scorer

PYTHON = Path(sys.executable)
TEXTS = ["Rivers flow to the sea.", "json.dumps writes JSON.", "Rivers flow to the sea."]


def test_a_worker_gives_its_systems_scores_in_the_order_of_the_texts() -> None:
    with Worker(PYTHON, "rerank-core", "nano") as worker:
        for query in ("rivers", "json\nand more"):
            answer = worker.ask(query, TEXTS)
            assert answer.scores == list(load_scorer("nano").score(query, TEXTS).scores)
            assert answer.seconds > 0
            assert answer.peak_bytes > 10_000_000


def test_a_start_takes_longer_than_its_scoring() -> None:
    seconds, peak = first_scores(PYTHON, "rerank-core", "nano", "rivers", TEXTS)
    assert seconds > 0
    assert peak > 10_000_000


def test_a_system_that_fails_says_why(tmp_path: Path) -> None:
    with (
        Worker(PYTHON, "rerank-core", str(tmp_path / "nothing")) as worker,
        pytest.raises(WorkerError, match="no such file or folder"),
    ):
        worker.ask("rivers", TEXTS)


def test_the_size_counts_what_is_needed() -> None:
    found = _environments.installed(PYTHON, ["rerank-core"])
    alone = _environments.installed(PYTHON, ["tokenizers"])
    assert set(found["versions"]) == {"rerank-core", "onnxruntime"}
    assert found["bytes"] > alone["bytes"] + 20_000_000  # the embedded model is in it


def test_every_requirement_of_the_peers_is_pinned() -> None:
    assert _environments.NAMES == ("fastembed", "flashrank", "infinity", "torch")
    folder = Path(_environments.__file__).with_name("environments")
    for name in _environments.NAMES:
        lines = (folder / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line) for line in lines)


def test_a_worker_can_start_again() -> None:
    with Worker(PYTHON, "rerank-core", "nano") as worker:
        before = worker.ask("rivers", TEXTS)
        worker.restart()
        assert worker.ask("rivers", TEXTS).scores == before.scores
