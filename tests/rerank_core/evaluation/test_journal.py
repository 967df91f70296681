from __future__ import annotations

import json
from pathlib import Path

import pytest

from rerank_core import InvalidInputError, Scale, Scoring, Usage
from rerank_core.evaluation import Journal
from rerank_core.testing import OverlapScorer, ScriptedScorer

TEXTS = ["a river", "a list", ""]
USAGE = Usage(pairs=2, tokens=9, seconds=0.25, billed_units={"search_units": 1.0}, cost=None)
SCORING = Scoring((0.5, None, None), USAGE, secondary=(-0.0, -1.0, None), scale=Scale.UNIT)


def test_what_was_scored_is_known_again(tmp_path: Path) -> None:
    scorer = OverlapScorer()
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        assert journal.find(scorer, "river", TEXTS) is None
        journal.keep(scorer, "river", TEXTS, SCORING)
        assert journal.find(scorer, "river", TEXTS) == SCORING
    with Journal(path) as journal:
        assert journal.find(OverlapScorer(), "river", TEXTS) == SCORING


def test_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        assert journal.path == tmp_path / "rerank-eval.jsonl"
        journal.keep(OverlapScorer(), "river", TEXTS, SCORING)
    with Journal(tmp_path) as journal:
        assert journal.find(OverlapScorer(), "river", TEXTS) == SCORING
        assert journal.find(OverlapScorer("other"), "river", TEXTS) is None
        assert journal.find(ScriptedScorer({}), "river", TEXTS) is None
        assert journal.find(OverlapScorer(), "list", TEXTS) is None
        assert journal.find(OverlapScorer(), "river", TEXTS[:2]) is None
        assert journal.find(OverlapScorer(), "river", TEXTS[::-1]) is None
        assert journal.find(OverlapScorer(), "river", ["a rivera", " list", ""]) is None


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    scorer = OverlapScorer()
    with Journal(path) as journal:
        journal.keep(scorer, "one", TEXTS, SCORING)
        journal.keep(scorer, "two", TEXTS, SCORING)
    path.write_bytes(path.read_bytes()[:-20])
    with Journal(path) as journal:
        assert journal.find(scorer, "one", TEXTS) == SCORING
        assert journal.find(scorer, "two", TEXTS) is None
        journal.keep(scorer, "three", TEXTS, SCORING)
    with Journal(path) as journal:
        assert journal.find(scorer, "three", TEXTS) == SCORING
    assert [json.loads(line) for line in path.read_text().splitlines()][2]["key"]


def test_what_is_degraded_is_tried_again() -> None:
    journal = Journal()
    journal.keep(OverlapScorer(), "q", ["a"], Scoring((None,), degraded="the service was down"))
    assert journal.find(OverlapScorer(), "q", ["a"]) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("my notes\n", "is not a journal"),
        ('{"journal": "rerank eval", "version": 99}\n', "another version"),
        ('{"journal": "rerank eval", "version": 1}\nhm\n', r":2: is damaged"),
        ('{"journal": "rerank eval", "version": 1}\n{"key": "x"}\n', r":2: is damaged"),
    ],
)
def test_another_file_is_left_alone(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        Journal(path)
    assert path.read_text() == content
