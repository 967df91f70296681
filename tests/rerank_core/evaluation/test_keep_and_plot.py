from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rerank_core import Cascade, ConfigurationError, MissingExtraError
from rerank_core.evaluation import (
    Journal,
    System,
    Task,
    choose_keep,
    evaluate,
    first_stage,
    plot,
    read_collection,
)
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.collections import write_collection

PLACES = 8


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Query i's relevant document is the i-th of the first stage."""
    documents = {f"d{i}": f"storm number{i}" for i in range(PLACES)}
    folder = write_collection(
        tmp_path / "c",
        documents,
        {f"q{i}": f"number{i}" for i in range(PLACES)},
        {f"q{i}": {f"d{i}": 1} for i in range(PLACES)},
        {
            "first": {
                f"q{i}": {d: -float(n) for n, d in enumerate(documents)} for i in range(PLACES)
            }
        },
    )
    collection = read_collection(folder)
    return Task(collection, first_stage("run:first", collection, PLACES), (PLACES,))


def lazy() -> ScriptedScorer:
    """Thinks the less of a document the later it comes."""
    return ScriptedScorer({f"storm number{i}": -float(i) for i in range(PLACES)})


def test_the_smallest_keep_within_the_loss_is_chosen(task: Task) -> None:
    strong = OverlapScorer()
    choice = choose_keep([task], lazy(), strong, metric="RR@10", max_loss=0.2)
    assert choice.strong == pytest.approx(1)
    assert [row.keep for row in choice.rows] == list(range(1, PLACES + 1))
    # With `keep`, those in reach come first, and the others stay where they are.
    for row in choice.rows:
        value = sum(1 if i < row.keep else 1 / (i + 1) for i in range(PLACES)) / PLACES
        assert row.value == pytest.approx(value)
        assert row.loss == pytest.approx(1 - value)
        assert row.saved == pytest.approx(1 - row.keep / PLACES)
    assert choice.keep == next(row.keep for row in choice.rows if row.loss <= 0.2)
    assert len(strong.calls) == PLACES + 1  # each query once, after the warm-up
    assert choose_keep([task], lazy(), strong, max_loss=0).keep == PLACES


def test_a_row_is_what_the_cascade_gives(task: Task) -> None:
    choice = choose_keep([task], lazy(), OverlapScorer(), keeps=[3])
    report = evaluate([task], [System(Cascade([(lazy(), 3), OverlapScorer()]))], resamples=100)
    assert choice.rows[0].value == pytest.approx(report.collections[0].systems[0].values["nDCG@10"])


def test_what_was_evaluated_is_not_scored_again(task: Task) -> None:
    strong, journal = OverlapScorer(), Journal()
    evaluate([task], [System(strong)], journal=journal, resamples=100)
    before = len(strong.calls)
    choice = choose_keep([task], lazy(), strong, journal=journal)
    assert len(strong.calls) == before
    assert choice.to_json()["rows"][0]["keep"] == 1


def test_a_keep_is_only_as_good_as_the_larger_ones(task: Task) -> None:
    # Reading all of them, the strong scorer is wrong; the loss is negative for smaller keeps.
    strong = ScriptedScorer({f"storm number{i}": float(i) for i in range(PLACES)})
    choice = choose_keep([task], lazy(), strong, max_loss=0.0, keeps=[1, PLACES])
    assert choice.rows[-1].loss == pytest.approx(0)
    assert choice.keep == (1 if choice.rows[0].loss <= 0 else PLACES)


def test_wrong_arguments_are_named(task: Task) -> None:
    with pytest.raises(ConfigurationError, match="at least one task"):
        choose_keep([], lazy(), lazy())
    with pytest.raises(ConfigurationError, match="max_loss must be at least 0"):
        choose_keep([task], lazy(), lazy(), max_loss=-1)


@pytest.mark.parametrize("keep", [0, -3, None, True, 2.5])
def test_a_keep_that_is_no_count_is_told_what_it_must_be(task: Task, keep: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^keeps must be a whole number of at least 1"):
        choose_keep([task], lazy(), lazy(), keeps=[2, keep])


def test_the_ending_decides_the_format_of_the_picture(task: Task, tmp_path: Path) -> None:
    report = evaluate([task], [System(OverlapScorer("a $name$"))], resamples=100)
    for name, begin in {"a.png": b"\x89PNG", "a.SVG": b"<?xml", "a.pdf": b"%PDF"}.items():
        plot(report, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begin)
    with pytest.raises(ConfigurationError, match=r"plot 'a.jpg' must end in one of .png, .svg"):
        plot(report, tmp_path / "a.jpg")
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["a.SVG", "a.pdf", "a.png"]


def test_without_the_extra_the_install_line_is_shown(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = evaluate([task], [System(OverlapScorer())], resamples=100)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[eval\]"'):
        plot(report, tmp_path / "out.png")
