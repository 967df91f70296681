from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks._bars import bars
from benchmarks._overhead import adapter_overhead
from benchmarks._report import markdown, modular_markdown
from benchmarks._statistics import agreement, ratio
from benchmarks._systems import BASELINE, OUR_FP32, OUR_INT8, READY

FLASHRANK = "FlashRank int8"


def _workload(name: str, candidates: int, seconds: dict[str, list[float]]) -> dict[str, Any]:
    alike = {"max_difference": 5e-5, "kendall_tau": 1.0, "top10": 10}
    return {
        "name": name,
        "candidates": candidates,
        "distinct": 45,
        "tokens": 162.3,
        "padded": 2.56,
        "seconds": seconds,
        "agreement": dict.fromkeys(seconds, alike),
    }


def _system(ours: bool, start: float, error: str | None = None) -> dict[str, Any]:
    return {
        "ours": ours,
        "own_weights": False,
        "versions": {"package": "1.0"},
        "installed_bytes": 193_000_000,
        "errors": {"mixed, 50": error} if error else {},
        "threads": "2",
        "first_seconds": [] if error else [start, start, start],
        "first_peak_bytes": 125_000_000,
        "peak_bytes": 210_000_000,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    mixed = {
        BASELINE: [4.0, 8.0, 4.4],
        OUR_FP32: [2.0, 4.0, 2.2],
        OUR_INT8: [1.0, 1.6, 1.1],
        FLASHRANK: [3.5, 6.0, 3.5],
    }
    short = {label: [second / 4 for second in taken] for label, taken in mixed.items()}
    return {
        "conditions": {
            "command": "python -m benchmarks --quick",
            "machine": "x86_64",
            "system": "Linux",
            "python": "3.11.7",
            "cpus": 2,
            "cpu_features": ["avx2"],
            "load_before": 0.5,
            "plan": {"rounds": 3, "starts": 3},
        },
        "systems": {
            BASELINE: _system(False, 8.0),
            OUR_FP32: _system(True, 0.7),
            OUR_INT8: _system(True, 0.5),
            FLASHRANK: _system(False, 0.4),
            "a peer": _system(False, 0, error="No module named 'a_peer'"),
        },
        "workloads": [
            _workload("mixed", 50, mixed),
            _workload("short", 50, short),
            _workload("mixed", 10, short),
            _workload("25", 50, short),
            _workload("400", 50, mixed),
        ],
        "overhead": {"50": {"LangChain": 10.0, "LlamaIndex": 500.0}},
    }


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio([4, 8, 6], [1, 4, 2]) == (3, 2, 4, 4)


def test_agreement_of_equal_reversed_and_shifted_scores() -> None:
    scores = [float(score) for score in range(20)]
    assert agreement(scores, scores) == (0, 1, 10)
    assert agreement(scores, scores[::-1]) == (19, -1, 0)
    swapped = [1.0, 0.0, *scores[2:]]
    assert agreement(scores, swapped).kendall_tau == pytest.approx(1 - 2 / 190)


def test_each_promise_is_judged(results: dict[str, Any]) -> None:
    found = bars(results)
    assert found[3] == (
        f"mixed: {OUR_INT8} is 3 times as fast as {FLASHRANK}",
        "3.50 (3.18-3.75); by the lowest seconds 3.50",
        True,
    )
    missed = {bar.found for bar in found if not bar.held}
    assert missed == {
        "0.80 (0.80-0.80); by the lowest seconds 0.80",
        "2.27%",
    }  # the cold start, and an adapter
    results["workloads"][0]["seconds"][OUR_INT8] = [1.1, 2.2, 1.2]
    assert not bars(results)[0].held
    results["workloads"][4]["agreement"][OUR_FP32] = {"max_difference": 2e-4}
    assert ("0.0002", False) in {bar[1:] for bar in bars(results)}


def test_the_page_has_ratios_and_says_what_failed(results: dict[str, Any]) -> None:
    page = markdown(results)
    assert f"| {OUR_INT8} | 4.00 (4.00-5.00) | 4.00 (4.00-5.00) | 0.50 s | 125 MB |" in page
    assert "- a peer at mixed, 50: No module named 'a_peer'" in page
    assert "25 tokens each, 50" in page


def test_the_plot_is_drawn(results: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks._plot import plot

    plot(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_overhead_is_given_for_both_adapters() -> None:
    found = adapter_overhead("rivers", ["a river", "a lake"], repeats=3)
    assert set(found) == {"LangChain", "LlamaIndex"}


def test_models_with_their_head_in_modules(results: dict[str, Any]) -> None:
    seconds = {BASELINE: [4.0, 8.0], READY: [1.0, 2.5], OUR_FP32: [2.0, 4.0], OUR_INT8: [0.5, 1.0]}
    workload = {**_workload("ettin-17m, mixed", 50, seconds), "errors": {}}
    found = {"modular": {"ettin-17m": workload}}
    alone = modular_markdown({"conditions": results["conditions"], **found})
    for page in (alone, markdown({**results, **found})):
        assert f"| {OUR_FP32} | 2.00 (2.00-2.00) |" in page
        promise = f"| ettin-17m, mixed: {OUR_FP32} is 3 times as fast as {BASELINE} |"
        assert next(line for line in page.splitlines() if promise in line).endswith("| **no** |")

    del workload["seconds"][READY]
    workload["errors"][READY] = {"mixed, 50": "no module named so"}
    page = modular_markdown({"conditions": results["conditions"], **found})
    assert f"| {READY} | failed |" in page
    assert f"- {READY}: no module named so" in page
