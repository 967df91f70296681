"""Jobs over files: what comes in and out, rows that fail, and what a kill leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerank_core import ConfigurationError, InvalidInputError, rerank
from rerank_core.bulk._job import BulkJob, BulkReport, run_bulk
from rerank_core.evaluation import read_collection, read_run
from rerank_core.testing import OverlapScorer
from support.collections import RUN, write_collection

TEXTS = ["storm weather", "a cold river", "a river"]
COUNT = 23


def rows(count: int = COUNT) -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{n}",
            "query": f"cold river {n}",
            "candidates": [{"id": f"d{n}-{i}", "text": f"{t} {n}"} for i, t in enumerate(TEXTS)],
            "extra": n,
        }
        for n in range(count)
    ]


def write_jsonl(path: Path, items: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return path


def write_parquet(path: Path, items: list[Any]) -> Path:
    pq.write_table(pa.Table.from_pylist(items), path, row_group_size=9)
    return path


def read_jsonl(folder: Path) -> list[Any]:
    paths = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def expected(row: dict[str, Any]) -> dict[str, Any]:
    ranking = rerank(row["query"], [c["text"] for c in row["candidates"]], OverlapScorer())
    return {
        **row,
        "candidates": [row["candidates"][item.index] for item in ranking],
        "relevance_scores": [item.score for item in ranking],
        "positions": [item.index for item in ranking],
    }


def job(source: Path, out: Path, **options: Any) -> BulkJob:
    return BulkJob(
        **{"input": source, "out": out, "scorer": OverlapScorer(), "part_rows": 4, **options}
    )


WRITE: dict[str, Callable[[Path, list[Any]], Path]] = {
    "jsonl": write_jsonl,
    "parquet": write_parquet,
}


@pytest.mark.parametrize("source", WRITE)
@pytest.mark.parametrize("form", ["jsonl", "parquet", "trec"])
def test_from_any_format_to_any(source: str, form: str, tmp_path: Path) -> None:
    path = WRITE[source](tmp_path / f"input.{source}", rows())
    out = tmp_path / "out"
    calls: list[tuple[int, int]] = []
    report = run_bulk(job(path, out, format=form), progress=lambda *done: calls.append(done))
    assert report == BulkReport(rows=COUNT, resumed=0, failed=0)
    assert (calls[0], calls[-1]) == ((0, COUNT), (COUNT, COUNT))
    wanted = [expected(row) for row in rows()]
    if form == "trec":
        lines = (out / "run.trec").read_text().splitlines()
        assert lines[:3] == [
            "q0 Q0 d0-1 1 1.0 overlap",
            "q0 Q0 d0-2 2 0.6666666666666666 overlap",
            "q0 Q0 d0-0 3 0.3333333333333333 overlap",
        ]
        assert len(lines) == COUNT * len(TEXTS)
        return
    if form == "jsonl":
        found = read_jsonl(out / "parts")
    else:
        found = pq.read_table(out / "parts").to_pylist()  # all have one schema
    for row in found:
        assert row.pop("degraded", None) is None
    if (source, form) == ("jsonl", "parquet"):  # its other fields may differ from row to row
        for row in wanted:
            del row["extra"]
    assert found == wanted


def test_a_folder_of_parquet_is_read_file_by_file_in_parts_of_a_row_group(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    write_parquet(folder / "b.parquet", rows()[10:])
    write_parquet(folder / "a.parquet", rows()[:10])
    out = tmp_path / "out"
    run_bulk(job(folder, out, format="jsonl"))
    assert [row["id"] for row in read_jsonl(out / "parts")] == [row["id"] for row in rows()]
    sizes = [len(path.read_text().splitlines()) for path in sorted(out.glob("parts/*"))]
    assert sizes == [4, 4, 1, 1, 4, 4, 1, 4]


def test_beir_and_a_run_become_the_run_that_rerank_makes(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "pets")
    out = tmp_path / "out"
    report = run_bulk(job(folder, out, run="first", part_rows=2))
    assert report == BulkReport(rows=3, resumed=0, failed=0)
    collection = read_collection(folder)
    found = read_run(collection, str(out / "run.trec"), 10).candidates
    for query, hits in RUN.items():
        texts = [collection.documents[document] for document in hits]
        ranking = rerank(collection.queries[query], texts, OverlapScorer())
        assert [hit.id for hit in found[query]] == [list(hits)[item.index] for item in ranking]
        for hit, item in zip(found[query], ranking, strict=True):
            assert item.score is None or hit.score == item.score


def test_a_query_of_a_run_without_a_text_is_a_row_that_fails(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "pets", runs={"wide": {**RUN, "q0": {"d1": 1.0}}})
    out = tmp_path / "out"
    assert run_bulk(job(folder, out, run="wide")) == BulkReport(rows=4, resumed=0, failed=1)
    (failed,) = read_jsonl(out / "failures")
    assert (failed["id"], failed["row"]) == ("q0", 4)
    assert "query must be a str" in failed["error"]


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        ("q1 Q0 d1 1 2.0 x\nq1 Q0 gone 2 1.0 x", r"run.txt:2: document 'gone' has no text in"),
        ("q1 Q0 d1 1 2.0 x\nq1 Q0 d1 2 1.0 x", r"run.txt:2: document 'd1' appears twice"),
        ("q1 Q0 d1 1 high x", r"run.txt:1: the score must be a finite number"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_with_its_line(
    run: str, problem: str, tmp_path: Path
) -> None:
    folder = write_collection(tmp_path / "pets")
    (tmp_path / "run.txt").write_text(run)
    with pytest.raises(InvalidInputError, match=problem):
        run_bulk(job(folder, tmp_path / "out", run=str(tmp_path / "run.txt")))


@pytest.mark.parametrize("source", WRITE)
@pytest.mark.parametrize("form", ["jsonl", "parquet", "trec"])
def test_rows_that_fail_have_a_table_of_their_own(source: str, form: str, tmp_path: Path) -> None:
    items = rows()
    items[5]["query"] = " "
    items[9]["candidates"] = None
    path = WRITE[source](tmp_path / f"input.{source}", items)
    out = tmp_path / "out"
    assert run_bulk(job(path, out, format=form)).failed == 2
    failed = read_jsonl(out / "failures")
    assert [(row["id"], row["row"]) for row in failed] == [("q5", 6), ("q9", 10)]
    assert failed[0]["error"].startswith("InvalidInputError: query is blank")
    assert failed[1]["error"].startswith("InvalidInputError: candidates must")
    items[5]["query"], items[9]["candidates"] = rows()[5]["query"], rows()[9]["candidates"]
    again = [{**row, **items[row["row"] - 1]} for row in failed]
    mended = run_bulk(job(write_jsonl(tmp_path / "again.jsonl", again), tmp_path / "mended"))
    assert mended == BulkReport(rows=2, resumed=0, failed=0)
    assert all("error" not in row for row in read_jsonl(tmp_path / "mended" / "parts"))


def test_lines_that_are_not_rows_fail_alone(tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    good = json.dumps(rows()[0])
    path.write_bytes(f"{good}\n\n{{broken\n[1]\n".encode() + b'{"query": "\xff"}\n' + good.encode())
    out = tmp_path / "out"
    assert run_bulk(job(path, out)) == BulkReport(rows=5, resumed=0, failed=3)
    failed = read_jsonl(out / "failures")
    assert [row["row"] for row in failed] == [2, 3, 4]
    for row, problem in zip(failed, ["not JSON", "must be a JSON object", "not JSON"], strict=True):
        assert problem in row["error"]


def test_ids_that_no_run_can_have_fail_alone(tmp_path: Path) -> None:
    items = rows(3)
    items[0]["candidates"][1]["id"] = "a b"
    items[1]["candidates"][1]["id"] = items[1]["candidates"][0]["id"]
    del items[2]["id"]
    for candidate in items[2]["candidates"]:
        del candidate["id"]
    items[2]["candidates"][0]["text"] = " "
    out = tmp_path / "out"
    report = run_bulk(job(write_jsonl(tmp_path / "in.jsonl", items), out, format="trec"))
    assert report.failed == 2
    assert [row["row"] for row in read_jsonl(out / "failures")] == [1, 2]
    lines = [line.split()[:5] for line in (out / "run.trec").read_text().splitlines()]
    assert [line[:4] for line in lines] == [
        ["3", "Q0", "2", "1"],
        ["3", "Q0", "3", "2"],
        ["3", "Q0", "1", "3"],
    ]
    assert float(lines[2][4]) < float(lines[1][4])


def test_a_field_that_no_row_has_is_an_error_of_the_job(tmp_path: Path) -> None:
    for name, write in WRITE.items():
        path = write(tmp_path / f"in.{name}", rows())
        wrong = job(path, tmp_path / f"out-{name}", options={"query_column": "question"})
        with pytest.raises(InvalidInputError, match=r"'question'.*query"):
            run_bulk(wrong)


def test_an_empty_input_has_no_parts(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", [])
    assert run_bulk(job(path, tmp_path / "out")) == BulkReport(rows=0, resumed=0, failed=0)


def test_the_results_of_another_job_are_left_alone(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows())
    out = tmp_path / "out"
    run_bulk(job(path, out))
    for other, problem in (
        (job(path, out, part_rows=5), "part_rows"),
        (job(path, out, options={"top_n": 1}), "options"),
        (job(path, out, scorer=OverlapScorer("other")), "scorer"),
    ):
        with pytest.raises(ConfigurationError, match=f"another job, whose {problem} is"):
            run_bulk(other)
    assert run_bulk(job(path, out, options={"max_requests": 1})).resumed == COUNT
    write_jsonl(path, rows(COUNT + 1))
    with pytest.raises(ConfigurationError, match="another job, whose files is"):
        run_bulk(job(path, out))


def test_wrong_inputs(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "pets")
    (empty := tmp_path / "empty").mkdir()
    file = write_jsonl(tmp_path / "in.jsonl", rows())
    for source, run, problem in (
        (tmp_path / "none", None, "no such file or folder"),
        (empty, None, "neither corpus.jsonl nor files"),
        (folder, None, "--run NAME"),
        (folder, "bm25", "its runs are first"),
        (file, "first", "is no folder with corpus.jsonl"),
        (write_jsonl(tmp_path / "in.jsonl.gz", []), None, "decompress it first"),
        (write_jsonl(tmp_path / "in.parquet", [1]), None, "cannot be read as Parquet"),
    ):
        with pytest.raises((InvalidInputError, ConfigurationError), match=problem):
            run_bulk(job(source, tmp_path / "out", run=run))
    arranged = job(file, tmp_path / "out", format="trec", options={"trim": ["arrange=edges"]})
    with pytest.raises(ConfigurationError, match="cannot be arranged"):
        run_bulk(arranged)


# Scores as usual, and notes what it scores; the process is killed at a query or a file.
KILLED = """
import os, signal, sys
from pathlib import Path
from rerank_core.bulk._job import BulkJob, run_bulk
from rerank_core.testing import OverlapScorer

source, out, log, deadly = sys.argv[1:]

class Noting(OverlapScorer):
    def _score(self, query, texts, progress):
        if query == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(log, "a") as stream:
            print(query, file=stream)
        return super()._score(query, texts, progress)

def audit(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(deadly):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(audit)
print(run_bulk(BulkJob(input=Path(source), out=Path(out), scorer=Noting(), part_rows=4)))
"""


@pytest.mark.parametrize(
    ("deadly", "kept"),
    [
        ("cold river 9", 8),  # within the third part
        ("part-000003.jsonl", 12),  # written, but without its name
        ("failures/part-000001.jsonl", 4),
        ("job.json", 0),
    ],
)
def test_a_killed_job_keeps_its_finished_parts_and_goes_on(
    deadly: str, kept: int, tmp_path: Path
) -> None:
    items = rows()
    items[5]["candidates"] = None
    source = write_jsonl(tmp_path / "in.jsonl", items)
    log = tmp_path / "log"

    def run(out: str, deadly: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / out), str(log), deadly]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    killed = run("out", deadly)
    assert killed.returncode == -9, killed.stderr
    before = log.read_text().splitlines() if log.exists() else []
    log.write_text("")
    done = run("out", "nothing")
    assert done.returncode == 0, done.stderr
    assert f"resumed={kept}, failed=1" in done.stdout
    after = log.read_text().splitlines()
    finished = [row["query"] for row in items[:kept] if row["candidates"]]
    assert before[: len(finished)] == finished
    assert after == [row["query"] for row in items[kept:] if row["candidates"]]
    run_bulk(job(source, tmp_path / "whole"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert [row["row"] for row in read_jsonl(tmp_path / "out" / "failures")] == [6]
