from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from rerank_core import InvalidInputError, Scale, Scoring, Span, Usage
from rerank_core.evaluation import Journal
from rerank_core.testing import OverlapScorer, ScriptedScorer

HEADER = '{"journal": "rerank eval", "version": 1}\n'
TEXTS = ["a river", "a list", ""]
USAGE = Usage(pairs=2, tokens=9, seconds=0.25, billed_units={"search_units": 1.0}, cost=None)
SCORING = Scoring(
    (0.5, None, None),
    USAGE,
    secondary=(-0.0, -1.0, None),
    scale=Scale.UNIT,
    spans=((Span(0, 3), Span(4, 7, 0.5)), (), ()),
)


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
        ('{"journal": "rerank eval"}\n', "another version"),
        (HEADER + "hm\n", r":2: is damaged"),
        (HEADER + HEADER, r":2: is damaged: it must be an object of key and entry"),
        (HEADER + "[" * 100_000 + "\n", r":2: is damaged"),
        (HEADER + "1" * 5000 + "\n", r":2: is damaged"),
        (HEADER + "\xff\n", r":2: is damaged"),
        (HEADER + '{"key": "x"}\n', r":2: is damaged: it must be an object of key and entry"),
        (HEADER + '{"key": ["x"], "entry": 1}\n', r":2: is damaged: the key must be a str"),
        (HEADER + '\n{"key": "x", "entry": 1}\n', r":2: is damaged"),
    ],
)
def test_another_file_is_left_alone(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(content, "latin-1")
    with pytest.raises(InvalidInputError, match=message):
        Journal(path)
    assert path.read_text("latin-1") == content


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ([], "must have scores and usage"),
        (5, "must have scores and usage"),
        ({"scores": "0.5"}, "must have scores and usage"),
        ({"scores": {"0": 0.5}}, "must have scores and usage"),
        ({"scores": [0.5, None, True]}, r"scores\[2\] must be a finite number, not True"),
        ({"scores": [0.5, None, "1"]}, r"scores\[2\] must be a finite number, not '1'"),
        ({"scores": [0.5, None, math.nan]}, r"scores\[2\] must be a finite number, not nan"),
        ({"scores": [0.5, None, -math.inf]}, r"scores\[2\] must be a finite number"),
        ({"scores": [0.5, None, 10**400]}, r"scores\[2\] must be a finite number"),
        ({"scores": [0.5, None, [1]]}, r"scores\[2\] must be a finite number"),
        ({"secondary": [1.0]}, "1 secondary scores for 3 scores"),
        ({"secondary": 1}, "secondary must be a list"),
        ({"scale": "percent"}, "'percent' is not a valid Scale"),
        ({"scale": ["unit"]}, "scale a str"),
        ({"spans": 1}, "spans must be lists of start, end and score"),
        ({"spans": [[1], [], []]}, "spans must be lists of start, end and score"),
        ({"spans": [[[1, 2]], [], []]}, "not enough values"),
        ({"spans": [[["1", 2, None]], [], []]}, "spans must be a whole number"),
        ({"spans": [[]]}, "1 spans for 3 scores"),
        ({"usage": None}, "must have scores and usage"),
        ({"usage": {"pairs": "2"}}, "pairs must be a whole number"),
        ({"usage": {"pairs": -1}}, "pairs must be a whole number"),
        ({"usage": {"seconds": None}}, "seconds must be a finite number"),
        ({"usage": {"cost": "much"}}, "cost must be a finite number"),
        ({"usage": {"billed_units": [1]}}, "billed_units must be an object"),
        ({"usage": {"billed_units": {"unit": {}}}}, "unit must be a finite number"),
        ({"degraded": "x"}, "unknown field, 'degraded'"),
    ],
)
def test_a_scoring_that_was_edited_is_named_with_its_line(
    tmp_path: Path, changed: Any, message: str
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.keep(OverlapScorer(), "river", TEXTS, SCORING)
    header, line = path.read_text().splitlines()
    kept = json.loads(line)
    kept["entry"] = {**kept["entry"], **changed} if isinstance(changed, dict) else changed
    path.write_text(f"{header}\n{json.dumps(kept)}\n")
    with pytest.raises(InvalidInputError, match=rf"journal\.jsonl:2: is damaged: .*{message}"):
        Journal(path)


@pytest.mark.parametrize("scores", [[], [0.5], [0.5, None, None, 1.0]])
def test_a_scoring_of_too_few_or_too_many_texts_is_never_used(
    tmp_path: Path, scores: list[float | None]
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.keep(OverlapScorer(), "river", TEXTS, SCORING)
    header, line = path.read_text().splitlines()
    kept = json.loads(line)
    kept["entry"] = {"scores": scores, "usage": {}}
    path.write_text(f"{header}\n{json.dumps(kept)}\n")
    with (
        Journal(path) as journal,
        pytest.raises(
            InvalidInputError, match=rf":2: is damaged: it has {len(scores)} scores for 3"
        ),
    ):
        journal.find(OverlapScorer(), "river", TEXTS)


def test_of_two_lines_with_one_key_the_later_counts(tmp_path: Path) -> None:
    later = Scoring((0.25, None, None))
    with Journal(tmp_path) as journal:
        journal.keep(OverlapScorer(), "river", TEXTS, SCORING)
        journal.keep(OverlapScorer(), "river", TEXTS, later)
    with Journal(tmp_path) as journal:
        assert journal.find(OverlapScorer(), "river", TEXTS) == later


def test_a_torn_header_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(HEADER[:7])
    with Journal(path) as journal:
        journal.put("x", {"any": "value"})
    with Journal(path) as journal:
        assert journal.get("x") == {"any": "value"}


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidInputError, match="pipe: is not a regular file"):
        Journal(pipe)


def test_lone_surrogates_have_a_key() -> None:
    journal = Journal()
    texts = ["a\ud800", "b"]
    journal.keep(OverlapScorer(), "q", texts, Scoring((0.5, 0.0)))
    assert journal.find(OverlapScorer(), "q", texts) == Scoring((0.5, 0.0))
    assert journal.find(OverlapScorer(), "q", ["a\ud801", "b"]) is None
