from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rerank_core import Blend, ConfigurationError, InvalidInputError, Scoring, Span, Usage
from rerank_core._blend import make_blend
from rerank_core.cli._guard import Failure
from rerank_core.cli._rank import OutputFormat, RankOptions, rank_file
from rerank_core.testing import OverlapScorer, ScriptedScorer

Capture = pytest.CaptureFixture[bytes]


def jsonl(path: Path, *records: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return str(path)


def written(capsysbinary: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]


@pytest.fixture
def pets(tmp_path: Path) -> str:
    return jsonl(
        tmp_path / "pets.jsonl",
        {"id": 1, "text": "dogs bark", "score": 0.9, "meta": {"a": [1]}},
        {"id": "two", "text": "  ", "score": 0.8},
        {"id": 3, "text": "cats purr", "score": 0.7},
        {"id": 4, "text": "cats bark", "score": 0.6},
    )


def test_records_come_out_in_their_new_order_with_their_fields(
    pets: str, capsysbinary: Capture
) -> None:
    rank_file(pets, OverlapScorer(), RankOptions(query="cats purr"))
    assert written(capsysbinary) == [
        {"id": 3, "text": "cats purr", "score": 0.7, "relevance_score": 1.0},
        {"id": 4, "text": "cats bark", "score": 0.6, "relevance_score": 0.5},
        {"id": 1, "text": "dogs bark", "score": 0.9, "meta": {"a": [1]}, "relevance_score": 0.0},
        {"id": "two", "text": "  ", "score": 0.8},
    ]


def test_top_n_and_min_score(pets: str, capsysbinary: Capture) -> None:
    rank_file(pets, OverlapScorer(), RankOptions(query="cats purr", top_n=1))
    assert [record["id"] for record in written(capsysbinary)] == [3]
    rank_file(pets, OverlapScorer(), RankOptions(query="cats purr", min_score=0.5))
    assert [record["id"] for record in written(capsysbinary)] == [3, 4, "two"]


def test_fields_are_read_before_the_text(tmp_path: Path, capsysbinary: Capture) -> None:
    records = [
        {"id": 1, "text": "dogs bark", 'a:"b': "cats", "year": 10**18 + 1, "tags": ["x", 1]},
        {"id": 2, "text": "cats", 'a:"b': None},
        {"id": 3, "text": " ", "year": 1999.5},
    ]
    file = jsonl(tmp_path / "pets.jsonl", *records)
    read = (
        f"year: {10**18 + 1}\na:\"b: cats\ntags: ['x', 1]\n\ndogs bark",
        "cats",
        "year: 1999.5 ",
    )
    spans = ((Span(6, len(read[0])),), (Span(1, 4),), (Span(0, 4),))
    scorer = ScriptedScorer(Scoring((0.0, 1.0, 2.0), spans=spans))
    options = RankOptions(query="q", span_key="spans", rank_fields=["year", 'a:"b', "tags", "no"])
    rank_file(file, scorer, options)
    assert scorer.calls == [("q", read)]
    assert [(r["id"], r["text"], r.get("spans")) for r in written(capsysbinary)] == [
        (3, " ", None),
        (2, "cats", [{"start": 1, "end": 4}]),
        (1, "dogs bark", [{"start": 0, "end": 9}]),
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["text"], "--rank-fields names 'text', which is --text-field"),
        (["relevance_score"], "names 'relevance_score', which"),
        (["a", "a"], "--rank-fields has 'a' twice"),
        ([""], r"--rank-fields\[0\] must be the name of a metadata key"),
    ],
)
def test_fields_that_cannot_be_read(pets: str, fields: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        rank_file(pets, OverlapScorer(), RankOptions(query="q", rank_fields=fields))


def test_blending_uses_the_field_score(pets: str, capsysbinary: Capture) -> None:
    options = RankOptions(query="cats purr", blend=Blend("minmax", weight=1.0))
    rank_file(pets, OverlapScorer(), options)
    assert [record["id"] for record in written(capsysbinary)] == [1, 3, 4, "two"]


def test_rrf_needs_no_scores(tmp_path: Path, capsysbinary: Capture) -> None:
    file = jsonl(tmp_path / "in", {"text": "a", "score": "high"}, {"text": "b"}, {"text": "c"})
    options = RankOptions(query="c", blend=make_blend("rrf:1"))
    rank_file(file, OverlapScorer(), options)
    assert [record["text"] for record in written(capsysbinary)] == ["a", "b", "c"]


def test_ten_thousand_lines(tmp_path: Path, capsysbinary: Capture) -> None:
    file = tmp_path / "many.txt"
    file.write_text("".join(f"line {n} {'needle' * (n % 7 == 0)}\n" for n in range(1, 10_001)))
    rank_file(str(file), OverlapScorer(), RankOptions(query="needle"))
    ids = [record["id"] for record in written(capsysbinary)]
    hits = list(range(7, 10_001, 7))
    assert ids == hits + [n for n in range(1, 10_001) if n % 7]


def test_an_empty_input_gives_an_empty_output(tmp_path: Path, capsysbinary: Capture) -> None:
    file = tmp_path / "empty"
    file.write_bytes(b"\n \n")
    scorer = OverlapScorer()
    rank_file(str(file), scorer, RankOptions(query="x"))
    captured = capsysbinary.readouterr()
    assert captured.out == b""
    assert captured.err == f"rerank: {file}: no candidates\n".encode()
    assert scorer.calls == []


def test_bad_lines_are_reported_and_counted(tmp_path: Path, capsysbinary: Capture) -> None:
    file = tmp_path / "in"
    file.write_text('{"text": "a"}\n{"text": 1}\n{"text": "b"}\n{\n')
    rank_file(str(file), OverlapScorer(), RankOptions(query="a"))
    captured = capsysbinary.readouterr()
    lines = captured.err.decode().splitlines()
    assert lines[0].startswith(f"{file}:2: ")
    assert lines[1].startswith(f"{file}:4: not JSON")
    assert lines[2:] == [f"rerank: {file}: 2 of 4 lines skipped; --strict stops at the first"]
    assert len(captured.out.splitlines()) == 2


def test_of_many_bad_lines_five_are_shown(tmp_path: Path, capsysbinary: Capture) -> None:
    file = tmp_path / "in"
    file.write_text('{"text": "a"}\n' + "{}\n" * 10_000)
    rank_file(str(file), OverlapScorer(), RankOptions(query="a"))
    *examples, count = capsysbinary.readouterr().err.decode().splitlines()
    assert [line.partition(": ")[0] for line in examples] == [f"{file}:{n}" for n in range(2, 7)]
    assert count == (
        f"rerank: {file}: 10000 of 10001 lines skipped (5 shown); --strict stops at the first"
    )
    file.write_text("{}\n" * 6)
    with pytest.raises(Failure, match="no candidate in 6 lines"):
        rank_file(str(file), OverlapScorer(), RankOptions(query="a"))
    assert len(capsysbinary.readouterr().err.splitlines()) == 5


def test_a_table_is_ranked_by_its_text(tmp_path: Path, capsysbinary: Capture) -> None:
    file = tmp_path / "in.csv"
    file.write_text('n,body\n007,"dogs, bark"\n8,cats\n')
    rank_file(str(file), OverlapScorer(), RankOptions(query="cats", text_field="body"))
    assert written(capsysbinary) == [
        {"n": "8", "body": "cats", "relevance_score": 1.0},
        {"n": "007", "body": "dogs, bark", "relevance_score": 0.0},
    ]


def test_what_looks_like_a_table_but_is_none_is_told(tmp_path: Path, capsysbinary: Capture) -> None:
    file = tmp_path / "in"
    file.write_text("1\tcats\n2\tdogs\n")
    rank_file(str(file), OverlapScorer(), RankOptions(query="cats"))
    captured = capsysbinary.readouterr()
    assert captured.err.startswith(f"rerank: {file}: read as plain lines; a table needs".encode())
    assert len(captured.out.splitlines()) == 2


def test_strict_stops_at_the_first_bad_line_and_writes_nothing(
    tmp_path: Path, capsysbinary: Capture
) -> None:
    file, output = tmp_path / "in", tmp_path / "out"
    file.write_text('{"text": "a"}\n{"text": 1}\n{\n')
    scorer = OverlapScorer()
    with pytest.raises(Failure, match=f'^{file}:2: "text" must be a string'):
        rank_file(str(file), scorer, RankOptions(query="a", strict=True, output=output))
    assert capsysbinary.readouterr() == (b"", b"")
    assert scorer.calls == []
    assert not output.exists()


def test_nothing_but_bad_lines_is_a_failure(tmp_path: Path, capsysbinary: Capture) -> None:
    file = tmp_path / "in"
    file.write_bytes(b"\xff\xfeh\x00i\x00\n\xff\n")  # the wrong encoding altogether
    with pytest.raises(Failure, match="no candidate in 2 lines"):
        rank_file(str(file), OverlapScorer(), RankOptions(query="a"))
    assert capsysbinary.readouterr().out == b""


def test_a_blank_query_is_refused_before_reading(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="query is blank"):
        rank_file(str(tmp_path / "missing"), OverlapScorer(), RankOptions(query=" "))


def test_output_may_be_the_input(pets: str) -> None:
    rank_file(pets, OverlapScorer(), RankOptions(query="purr", top_n=1, output=Path(pets)))
    assert json.loads(Path(pets).read_text())["id"] == 3


def cutting(*scores: float | None, cost: float | None) -> ScriptedScorer:
    """Return a scorer that says that it cut texts and lost its way."""
    units = {"search_units": 1.0}
    usage = Usage(pairs=1, tokens=5, truncated=2, billed_units=units, cost=cost)
    return ScriptedScorer(Scoring(scores, usage, degraded="the second half is missing"))


def test_what_is_less_than_expected_is_told(tmp_path: Path, capsysbinary: Capture) -> None:
    file = jsonl(tmp_path / "in", {"text": "a"}, {"text": "b"})
    rank_file(file, cutting(1.0, None, cost=0.0025), RankOptions(query="q", usage=True))
    captured = capsysbinary.readouterr()
    degraded, cut, usage = captured.err.decode().splitlines()
    assert degraded == "rerank: degraded: the second half is missing"
    assert cut == "rerank: 2 texts were cut to the most that scripted reads"
    assert usage.startswith("rerank: scripted: scale logit, pairs 1, tokens 5, ")
    assert ", search_units 1, cost 0.0025, seconds " in usage
    assert captured.out == b'{"text": "a", "relevance_score": 1.0}\n{"text": "b"}\n'


def test_a_cost_that_is_not_known_is_not_told_as_nothing(
    tmp_path: Path, capsysbinary: Capture
) -> None:
    scorer = cutting(1.0, cost=None)
    rank_file(jsonl(tmp_path / "in", {"text": "a"}), scorer, RankOptions(query="q", usage=True))
    assert ", cost unknown, seconds " in capsysbinary.readouterr().err.decode()


def test_the_table_shows_texts_as_they_are_and_obeys_none(
    tmp_path: Path, capsysbinary: Capture
) -> None:
    file = jsonl(
        tmp_path / "in",
        {"id": "[b]1[/b]", "text": "dogs"},
        {"id": 22, "text": "cats [red]red[/red] \x1b[2J\x9b31m\u202e\ud800\nnext"},
        {"text": " "},
    )
    options = RankOptions(query="cats", output_format=OutputFormat.TABLE)
    rank_file(file, OverlapScorer("[i]x"), options)
    heading, _, names, _, *rows = capsysbinary.readouterr().out.decode().splitlines()
    assert heading == "[i]x (0 to 1, not a probability)"
    assert names.split() == ["rank", "was", "score", "id", "text"]
    assert [row.split() for row in rows] == [
        ["1", "2", "↑1", "1.0000", "22", "cats", "[red]red[/red]",
         "\ufffd[2J\ufffd31m\ufffd\ufffd", "next"],
        ["2", "1", "↓1", "0.0000", "[b]1[/b]", "dogs"],
        ["3", "3", "=", "-"],
    ]  # fmt: skip


def test_a_blended_table_says_so(pets: str, capsysbinary: Capture) -> None:
    options = RankOptions(
        query="cats", blend=Blend("rrf", weight=0.25), output_format=OutputFormat.TABLE
    )
    rank_file(pets, OverlapScorer(), options)
    assert b"overlap (rrf with the first stage at 0.25; only" in capsysbinary.readouterr().out


def test_blends_are_read() -> None:
    assert make_blend(None) is None
    assert make_blend("rrf") == Blend("rrf")
    assert make_blend("minmax:0.3") == Blend("minmax", 0.3)


@pytest.mark.parametrize("text", ["", "best", "rrf:", "rrf:half", "rrf:2", "rrf:nan", "rrf:0.1:60"])
def test_a_wrong_blend_is_refused(text: str) -> None:
    with pytest.raises((ConfigurationError, InvalidInputError)):
        make_blend(text)
