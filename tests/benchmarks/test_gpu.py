from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._texts import make_workload
from benchmarks.gpu import compare, find_device, main

MODELS = ("MiniLM-L6", "ettin-17m", "Qwen3-Reranker-0.6B")
SYSTEMS = (
    "sentence-transformers",
    "rerank-core float32",
    "rerank-core bfloat16",
    "rerank-core float16",
)


def _tiny(capsys: pytest.CaptureFixture[str], *options: str) -> list[list[str]]:
    assert main(["--tiny", "--candidates", "10", "--rounds", "1", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]


def test_every_model_runs_in_every_precision(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, *rows = _tiny(capsys, "--device", "cpu")
    assert [(model, system) for model, system, *_ in rows] == [
        (model, system) for model in MODELS for system in SYSTEMS
    ]
    taus = {(model, system): float(tau) for model, system, _, _, tau in rows}
    assert all(taus[model, SYSTEMS[1]] > 0.99 for model in MODELS)
    assert all(int(speed.replace(",", "")) > 0 for _, _, speed, _, _ in rows)


def test_without_a_gpu_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if find_device() is not None:
        pytest.skip("there is a GPU")
    assert main([]) == 0
    assert "no GPU here, so nothing was measured" in capsys.readouterr().out


def test_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    if find_device() is None:
        pytest.skip("there is no GPU")
    assert len(_tiny(capsys)) >= 2 + len(MODELS) * len(SYSTEMS)


def test_a_baseline_that_fails_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="sentence-transformers fails on cpu: "):
        compare(tmp_path / "nowhere", "cpu", make_workload("short", 10), 1)
