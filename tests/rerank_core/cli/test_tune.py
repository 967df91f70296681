from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from langchain_rerank import RerankCompressor
from llamaindex_rerank import RerankPostprocessor
from rerank_core import Blend, Profile
from rerank_core.cli._app import app
from rerank_core.testing import ScriptedServer
from support.collections import write_collection

FRUITS = "apple banana cherry damson elder fig grape hazel iris juniper kiwi lemon".split()


def run(*arguments: str | Path) -> Result:
    command = ["tune", "--resamples", "200", *map(str, arguments)]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def fruits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions about one fruit each, whose text the first stage has in a random place."""
    rng = random.Random(0)
    documents = {name: f"The {name} grows in our garden." for name in FRUITS}
    queries = {f"q{name}": f"Where does the {name} grow?" for name in FRUITS}
    queries |= {f"r{name}": f"Is there any {name} in the garden?" for name in FRUITS}
    queries |= {f"s{name}": f"the {name}" for name in FRUITS}
    judgements = {query: {query[1:]: 1} for query in queries}
    found = {
        query: {name: -float(at) for at, name in enumerate(rng.sample(FRUITS, 8), start=1)}
        for query in queries
    }
    folder = tmp_path_factory.mktemp("fruits") / "fruits"
    return write_collection(folder, documents, queries, judgements, {"first": found})


def test_it_recommends_and_writes_a_profile_that_both_adapters_load(
    fruits: Path, tmp_path: Path
) -> None:
    out, picture, report = (tmp_path / name for name in ("p.json", "front.png", "all.json"))
    journal = tmp_path / "scores.jsonl"
    command = (
        fruits, "--first-stage", "run:first", "--depth", "4", "--depth", "8",
        "--blend", "rrf:0.3", "--out", out, "--plot", picture, "--json", report,
        "--resume", journal, "--max-latency", "60s",
    )  # fmt: skip
    result = run(*command)
    assert result.exit_code == 0, result.output
    found = json.loads(report.read_text())
    text = " ".join(result.stdout.split())
    assert text.startswith("fruits: 36 queries, 4 configurations;")
    assert text.endswith(found["sentence"])
    assert found["sentence"].startswith("Rerank the first 8 candidates with nano: on queries")
    assert "about" not in found["sentence"]  # the time was measured again
    assert found["chosen"] == "nano @8"
    assert picture.read_bytes().startswith(b"\x89PNG")
    profile = Profile.read(out)
    assert (profile.depth, profile.blend, profile.min_score) == (8, None, None)
    assert profile.found["figures"] == found["figures"]
    start = f"rerank tune {fruits} --depth 4 --depth 8 --blend rrf:0.3 --max-latency 60s "
    assert profile.found["command"].startswith(start)
    for adapter in (RerankCompressor, RerankPostprocessor):
        assert adapter.from_profile(out).depth == 8
    size = journal.stat().st_size
    assert run(*command).exit_code == 0
    assert journal.stat().st_size == size  # nothing was scored again


def test_where_it_does_not_help_there_is_no_profile(fruits: Path, tmp_path: Path) -> None:
    ideal = tmp_path / "ideal.tsv"
    lines = ["query-id\tcorpus-id\trank\tscore"]
    for query in (f"{kind}{name}" for kind in "qrs" for name in FRUITS):
        right = [query[1:], *(name for name in FRUITS if name != query[1:])]
        lines += [f"{query}\t{name}\t{at}\t{-at}" for at, name in enumerate(right, start=1)]
    ideal.write_text("\n".join(lines) + "\n")
    out = tmp_path / "p.json"
    result = run(fruits, "--first-stage", f"run:{ideal}", "--depth", "4", "--out", out)
    assert result.exit_code == 0, result.output
    assert "Do not rerank: " in result.stdout
    assert "no profile is written to" in result.stderr
    assert not out.exists()


def test_services_are_counted_and_priced_before_the_first_request(
    fruits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"cohere:rerank-v5.0-fast": {"search_unit": 0.002}}')
    monkeypatch.setenv("CO_API_KEY", "a-key-of-the-test")
    few = (fruits, "--first-stage", "run:first", "--depth", "4", "--queries", "6")
    cohere = ("-s", "cohere:rerank-v5.0-fast", "--resume", tmp_path / "scores.jsonl")
    with ScriptedServer() as server:
        monkeypatch.setenv("CO_API_URL", server.url)
        told = "rerank-v5.0-fast: up to 7 requests with 28 pairs, "  # the first one twice
        dry = run(*few, *cohere, "--dry-run")
        assert (dry.exit_code, dry.stdout) == (0, f"{told}the price is not known\n")
        dry = run(*few, *cohere, "--prices", prices, "--dry-run")
        assert dry.stdout == f"{told}about 0.014\n"
        assert not server.requests
        done = run(*few, *cohere, "--prices", prices, "--json", "-")
        assert done.exit_code == 0, done.output
        assert done.stderr == f"rerank: {told}about 0.014\n"
        asked = len(server.requests)
        assert asked == 7
        again = run(*few, *cohere, "--prices", prices, "--json", "-")
        assert (len(server.requests), again.stderr) == (asked, "")
        timed = run(*few, *cohere, "--prices", prices, "--max-latency", "9s", "--dry-run")
        assert timed.stdout == f"{told}about 0.014\n"  # what is chosen is measured again
        assert "a-key-of-the-test" not in done.stdout
    assert run(*few, "--dry-run").stdout == "no service is asked\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "name the folder of a collection, or give --sample"),
        (". --sample", "--sample and DIR are two collections"),
        ("--sample --max-latency 200", "'200' must be a time with its unit, such as 200ms"),
        ("--sample --max-latency 0ms", "must be a finite number above 0"),
        ("--sample --max-cost -1", "must be a finite number of at least 0"),
        ("--sample -s nano -s nano", "--scorer 'nano' is given twice; give one as NAME=SCORER"),
        ("--sample --plot front.jpg", "must end in one of .png"),
        ("--sample --metric foo", "--metric 'foo' is unknown"),
        ("--sample --blend best", "method must be one of"),
        ("--sample --queries 1 --depth 1", "tune needs at least two queries"),
    ],
)
def test_what_is_wrong_is_named(arguments: str, message: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_blend_is_part_of_the_profile(fruits: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    few = (fruits, "--first-stage", "run:first", "--depth", "8", "--queries", "3")
    result = run(*few, "--blend", "zscore:0.25", "--out", out)
    assert result.exit_code == 0, result.output
    assert "Cannot tell yet" in result.stdout
    assert Profile.read(out).blend in (None, Blend("zscore", 0.25))
