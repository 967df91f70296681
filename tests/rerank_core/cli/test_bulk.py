from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from rerank_core import rerank
from rerank_core.cli._app import app
from support.collections import write_collection


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["bulk", *map(str, arguments)])


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_it_reranks_goes_on_and_says_so(tmp_path: Path) -> None:
    texts = ["Cats purr.", "Plants use light."]
    question = "How do plants eat?"
    row = {"question": question, "hits": [{"body": text} for text in texts]}
    source = write(tmp_path / "in.jsonl", row, row)
    names = ("--query-column", "question", "--candidates-column", "hits", "--text-field", "body")
    done = run(source, "--out", tmp_path / "out", *names, "--top-n", "1", "--part-rows", "1")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"rerank: 2 queries are in {tmp_path}/out/parts\n"
    written = json.loads((tmp_path / "out/parts/part-000001.jsonl").read_text())
    assert written["hits"] == [{"body": texts[1]}]
    assert written["relevance_scores"] == [rerank(question, texts)[0].score]
    (tmp_path / "out/parts/part-000000.jsonl").unlink()
    again = run(source, "--out", tmp_path / "out", *names, "--top-n", "1", "--part-rows", "1")
    assert again.stderr == (
        f"rerank: 2 queries are in {tmp_path}/out/parts; 1 of 2 rows were done before\n"
    )


def test_failed_rows_have_an_exit_code_of_their_own(tmp_path: Path) -> None:
    good = {"query": "q", "candidates": ["a"]}
    source = write(tmp_path / "in.jsonl", good, {"query": "", "candidates": ["a"]})
    done = run(source, "--out", tmp_path / "out")
    assert done.exit_code == 3
    assert done.stderr.splitlines()[-1] == (
        f"rerank: 1 queries failed: {tmp_path}/out/failures has the reasons"
    )


def test_beir_in_a_run_out(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "pets")
    done = run(folder, "--run", "first", "--out", tmp_path / "out", "--blend", "rrf:0.3")
    assert done.exit_code == 0, done.stderr
    lines = (tmp_path / "out/run.trec").read_text().splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("q1 Q0 ")


def test_wrong_arguments_are_told_at_once(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"query": "q", "candidates": ["a"]})
    for arguments, problem in (
        ((source, "--top-n", "0"), "--top-n"),
        ((source, "-s", "nanoo"), "did you mean 'nano'?"),
        ((source, "--blend", "rff"), "blend"),
        ((tmp_path / "none",), "no such file or folder"),
    ):
        done = run(*arguments, "--out", tmp_path / "out")
        assert done.exit_code == 2, done.output
        assert problem in done.stderr
        assert "Traceback" not in done.output


def test_ray_is_asked_for_by_name_where_it_is_missing(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", {"query": "q", "candidates": ["a"]})
    done = run(source, "--out", tmp_path / "out", "--ray", "local")
    assert done.exit_code == 2
    assert 'pip install "rerank-core[ray]"' in done.stderr
