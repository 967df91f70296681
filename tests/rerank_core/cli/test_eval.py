from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rerank_core.cli._app import app
from support.collections import write_collection

RERANK = [sys.executable, "-m", "rerank_core.cli"]


def run(*arguments: str | Path) -> Result:
    quick = ["eval", "--resamples", "200", *map(str, arguments)]
    return CliRunner().invoke(app, quick, env={"COLUMNS": "200"})


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_collection(tmp_path / "small")


def test_it_says_what_it_found(small: Path, tmp_path: Path) -> None:
    report, picture = tmp_path / "out.json", tmp_path / "out.png"
    result = run(
        small, "--first-stage", "run:first", "--depth", "3", "--depth", "2", "--blend", "rrf:0.3",
        "--json", report, "--plot", picture, "--metric", "RR@10",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "small: 3 queries, 6 documents, first stage run:first, top 3"
    assert "  note: 1 of 5 judged documents have no text here" in lines
    found = json.loads(report.read_text())
    names = [system["name"] for system in found["collections"][0]["systems"]]
    assert names == ["nano @3", "nano @2", "nano + rrf:0.3 @3", "nano + rrf:0.3 @2"]
    for system in found["collections"][0]["systems"]:
        (row,) = [line for line in lines if line.lstrip().startswith(f"{system['name']}  ")]
        assert f"{system['values']['RR@10']:.4f}" in row
    sentences = [row["sentence"] for row in found["comparisons"]]
    assert len(sentences) == 10
    assert all(sentence.startswith("cannot tell") for sentence in sentences)
    assert f"nano @3: {sentences[0]}" in " ".join(result.stdout.split())
    assert picture.exists()


def test_several_collections_with_their_own_settings(small: Path, tmp_path: Path) -> None:
    other = write_collection(tmp_path / "other")
    (other / "qrels.few.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    report = tmp_path / "out.json"
    result = run(
        small, other, "--first-stage", "bm25", "--first-stage", "small=run:first",
        "--depth", "2", "--depth", "small=3", "--qrels", "other=qrels.few.tsv", "--json", report,
        "--scorer", "a=nano", "--scorer", "b=nano",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(report.read_text())
    one, two = found["collections"]
    assert (one["first_stage"]["name"], one["first_stage"]["depth"]) == ("run:first", 3)
    assert (two["first_stage"]["name"], two["first_stage"]["depth"]) == ("bm25", 2)
    assert (one["queries"], two["queries"]) == (3, 1)
    assert list(found["mean"]) == ["first stage", "a @2/3", "b @2/3"]
    assert "Mean of 2 collections" in result.stdout
    assert "b @2/3: cannot tell whether it is better or worse than a @2/3" in result.stdout
    result = run(small, other, "--depth", "2", "--depth", "small=3", "--depth", "small=2")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--depth: give every collection the same number of depths" in result.stderr


def test_the_report_instead_of_the_tables(small: Path) -> None:
    result = run(small, "--first-stage", "run:first", "--json", "-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["collections"][0]["name"] == "small"


def test_the_built_in_sample_needs_no_folder(small: Path) -> None:
    alone = run("--sample", "--queries", "2", "--depth", "5")
    assert alone.exit_code == 0, alone.output
    heading = "python-docs: 2 queries, 2,819 documents, first stage bm25, top 5"
    assert alone.stdout.splitlines()[0] == heading
    both = run("--sample", small, "--queries", "1", "--depth", "5", "--depth", "small=3")
    assert re.findall(r"^(\S+): 1 queries.* top (\d)$", both.stdout, re.MULTILINE) == [
        ("python-docs", "5"),
        ("small", "3"),
    ]


def test_what_trimming_leaves(small: Path, tmp_path: Path) -> None:
    answers = "query-id\tcorpus-id\tstart\tend\nq1\td1\t0\t7\n"
    (small / "answers.tsv").write_text(answers)
    report = tmp_path / "out.json"
    result = run(
        small, "--first-stage", "run:first", "--depth", "3", "--top-n", "2", "--json", report,
        "--trim", "excerpt", "--trim", "budget=9",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "After trimming: excerpt=0.5, budget=9, top 2" in lines
    found = json.loads(report.read_text())
    assert found["settings"]["trim"][1]["tokens"] == 9
    trimming = found["collections"][0]["systems"][0]["trimming"]
    assert (trimming["answered_before"], trimming["answers_kept"]) == (1, 1)
    assert f"{100 * trimming['saved']:.1f}%" in lines[-1].split()
    result = run(small, "--top-n", "2")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--top-n is for --trim: name a trimmer, too" in result.stderr
    assert "--trim: there is no trimmer 'excerp'" in run(small, "--trim", "excerp").stderr


def test_something_to_evaluate_on_is_required() -> None:
    result = run()
    assert result.exit_code == 2
    assert "name the folder of a collection, or give --sample" in result.stderr


def test_a_cascade_is_tuned(small: Path, tmp_path: Path) -> None:
    report = tmp_path / "out.json"
    result = run(
        small, "--first-stage", "run:first", "--depth", "3", "--cascade", "nano", "nano",
        "--json", report,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Cascade of nano, then nano" in result.stdout
    assert [row["keep"] for row in json.loads(report.read_text())["cascade"]["rows"]] == [1, 2, 3]


def test_a_sample_depends_on_the_seed_only(tmp_path: Path) -> None:
    numbers = range(20)
    folder = write_collection(
        tmp_path / "many",
        {f"d{i}": f"river {i}" for i in numbers},
        {f"q{i}": f"river {i}" for i in numbers},
        {f"q{i}": {f"d{i}": 1} for i in numbers},
    )

    def sample(seed: int) -> set[str]:
        report = tmp_path / "out.json"
        result = run(
            folder, "--queries", "5", "--seed", str(seed), "--depth", "1", "--json", report
        )
        assert result.exit_code == 0, result.output
        (collection,) = json.loads(report.read_text())["collections"]
        return set(collection["first_stage"]["per_query"])

    assert len(sample(0)) == 5
    assert sample(0) == sample(0) != sample(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", "0"], "--depth 0: must be a whole number of at least 1"),
        (["--depth", "x"], "--depth x: must be"),
        (["--first-stage", "tfidf"], "--first-stage 'tfidf' is unknown"),
        (["--first-stage", "run:nope"], "no run 'nope'"),
        (["--first-stage", "bm25", "--first-stage", "run:first"], "--first-stage is given twice"),
        (["--depth", "medium=3"], "'medium' is none of the collections: small"),
        (["--qrels", "nope.tsv"], "no nope.tsv; there is qrels.tsv"),
        (["--prices", "{folder}/qrels.tsv"], "qrels.tsv: not JSON"),
        (["--prices", "/dev/zero"], "/dev/zero: not JSON"),
        (["--resume", "/dev/zero"], "/dev/zero: is not a regular file"),
        (["--resume", "{folder}/qrels.tsv"], "is not a journal of rerank eval"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(small: Path, arguments: list[str], message: str) -> None:
    result = run(small, *[argument.format(folder=small) for argument in arguments])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("rerank: ")
    assert message in line


def test_a_wrong_line_has_its_number(small: Path) -> None:
    with (small / "corpus.jsonl").open("a") as stream:
        stream.write("not json\n")
    result = run(small)
    assert result.exit_code == 2
    assert f"{small / 'corpus.jsonl'}:7: not JSON" in result.stderr


def test_a_folder_that_cannot_be_written_is_found_before_the_work(small: Path) -> None:
    result = run(small, "--json", small / "nowhere" / "out.json")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr


def test_prices_reach_the_service(small: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"nano": {"search_unit": 1}}')
    result = run(small, "--prices", prices)
    assert result.exit_code == 2
    assert "prices" in result.stderr  # a local model takes none
    prices.write_text('{"cohere:rerank-v3.5": {"search_unit": -1}}')
    result = run(small, "--prices", prices, "--scorer", "cohere:rerank-v3.5")
    assert result.exit_code == 2
    assert "search_unit must be a finite number of at least 0" in result.stderr


def without_times(report: Any) -> Any:
    if isinstance(report, dict):
        return {
            name: without_times(value)
            for name, value in report.items()
            if name not in ("latency", "seconds")
        }
    return [without_times(value) for value in report] if isinstance(report, list) else report


def test_after_an_interruption_the_same_command_goes_on(tmp_path: Path) -> None:
    texts = [" ".join(f"word{i} river{j}" for j in range(60)) for i in range(10)]
    documents = {f"d{i}": text for i, text in enumerate(texts)}
    queries = {f"q{i}": f"word{i % 10} river" for i in range(40)}
    folder = write_collection(
        tmp_path / "many",
        documents,
        queries,
        {query: {f"d{i % 10}": 1} for i, query in enumerate(queries)},
        {"first": {query: {d: -float(n) for n, d in enumerate(documents)} for query in queries}},
    )
    journal = tmp_path / "journal.jsonl"

    def command(name: str, *more: str | Path) -> list[str]:
        given = ["eval", folder, "--first-stage", "run:first", "--resamples", "200"]
        return [*RERANK, *map(str, [*given, "--json", tmp_path / name, *more])]

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as in a pipe
    with subprocess.Popen(
        command("cut.json", "--resume", journal), stderr=subprocess.PIPE, text=True
    ) as process:
        signal.signal(signal.SIGINT, before)
        while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert said.endswith("rerank: interrupted\n")
    assert f"what was scored is in {journal}" in said
    assert not (tmp_path / "cut.json").exists()
    kept = journal.read_bytes()
    assert kept.count(b"\n") < len(queries)

    subprocess.run(
        command("resumed.json", "--resume", journal), check=True, capture_output=True, timeout=120
    )
    assert journal.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    subprocess.run(command("whole.json"), check=True, capture_output=True, timeout=120)
    resumed, whole = (
        json.loads((tmp_path / name).read_text()) for name in ("resumed.json", "whole.json")
    )
    assert without_times(resumed) == without_times(whole)
