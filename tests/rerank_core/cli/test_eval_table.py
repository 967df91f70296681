"""The tables of an evaluation, at every width."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from rerank_core import Blend
from rerank_core.cli._eval_table import report_lines
from rerank_core.evaluation import Report, System, Task, evaluate, first_stage, read_collection
from rerank_core.testing import OverlapScorer
from support.collections import write_collection

LABELS = ("overlap-of-the-words", "a")
LESSER = ["p", "pairs/s", "p95 ms", "95% interval", "AP", "R@10", "RR@10", "p50 ms"]


def report_of(folder: Path, *labels: str, collections: int = 1) -> Report:
    tasks = []
    for number in range(collections):
        collection = read_collection(write_collection(folder / f"small{number}"))
        stage = first_stage("run:first", collection, 3)
        tasks.append(Task(collection, stage, (3, 2)))
    systems = [
        System(OverlapScorer(label), blend) for label in labels for blend in (None, Blend("rrf"))
    ]
    return evaluate(tasks, systems, resamples=200)


def shown(report: Report, width: int) -> list[str]:
    return report_lines(report, Console(file=StringIO(), width=width))


def row_of(name: str, lines: list[str]) -> str:
    (row,) = [line for line in lines if re.match(rf"\s*{re.escape(name)}  +[-\d]", line)]
    return row


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_names_and_numbers_stand_whole(tmp_path: Path, width: int) -> None:
    report = report_of(tmp_path, *LABELS)
    lines = shown(report, width)
    assert max(map(cell_len, lines)) <= width
    assert not [line for line in lines if "…" in line]
    against = {found.system: found for found in report.comparisons[:8]}
    for system in report.collections[0].systems:
        row = row_of(system.name, lines)
        assert f"{system.values['nDCG@10']:.4f}" in row.split()
        assert f"{against[system.name].difference:+.4f}" in row.split()


@pytest.mark.parametrize(("width", "left_out"), [(60, 8), (80, 5), (100, 4), (160, 0)])
def test_lesser_columns_go_first(tmp_path: Path, width: int, left_out: int) -> None:
    lines = shown(report_of(tmp_path, *LABELS), width)
    (header,) = [line for line in lines if re.match(r"\s+nDCG@10 ", line)]
    names = re.split(r"  +", header.strip())
    assert set(LESSER) - set(names) == set(LESSER[:left_out])
    note = re.findall(r"no room for (.+?): widen", " ".join("\n".join(lines).split()))
    assert note == ([", ".join(LESSER[:left_out])] if left_out else [])


@pytest.mark.parametrize("width", [60, 80])
def test_a_name_that_leaves_no_room_stands_above_its_numbers(tmp_path: Path, width: int) -> None:
    label = "x" * (width - len(" + rrf:0.5 @3"))
    report = report_of(tmp_path, label)
    lines = shown(report, width)
    assert max(map(cell_len, lines)) <= width
    for system in report.collections[0].systems:
        numbers = " ".join(lines[lines.index(system.name) + 1 :])
        assert numbers.lstrip().startswith(f"nDCG@10 {system.values['nDCG@10']:.4f}, ")


def test_a_name_wider_than_the_terminal_is_folded(tmp_path: Path) -> None:
    label = "".join(f"{n:02}" for n in range(50))
    lines = shown(report_of(tmp_path, label), 60)
    assert max(map(cell_len, lines)) <= 60
    assert f"{label} @3" in "".join(lines)


def test_means_have_whole_names_too(tmp_path: Path) -> None:
    report = report_of(tmp_path, *LABELS, collections=2)
    lines = shown(report, 60)
    means = lines[lines.index("Mean of 2 collections") :]
    for name, values in report.mean.items():
        assert f"{values['nDCG@10']:.4f}" in row_of(name, means).split()
