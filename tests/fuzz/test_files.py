"""Files that people hand over: candidates, collections, journals, configurations, caches."""

from __future__ import annotations

import gzip
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fuzz.strategies import damaged, json_text, json_value, odd_scalars, outcome, table
from rerank_core import (
    Cached,
    ConfigurationError,
    DiskStore,
    InvalidInputError,
    RerankError,
    Scorer,
    Scoring,
    load_scorer,
)
from rerank_core.cli._app import app
from rerank_core.evaluation import Collection, Journal, first_stage, read_collection
from rerank_core.testing import OverlapScorer
from support.collections import DOCUMENTS, QUERIES, write_collection

QUERY, TEXTS = "river water", ("the river", "water", "a storm")
ROWS: list[dict[str, Any]] = [
    {"id": "1", "text": "the river", "score": 0.5, "meta": {"a": [1, {"b": None}]}},
    {"id": 2, "text": "water\u2028", "score": 3},
    {"id": None, "text": "", "score": -1e3},
]
CELLS = [["id", "text", "score"], *([str(v) for v in list(row.values())[:3]] for row in ROWS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def lines(*documents: Any) -> st.SearchStrategy[bytes]:
    """Return JSON Lines with a few things wrong."""
    each = json_text(*documents, edits=2)
    return damaged(st.lists(each, min_size=1, max_size=4).map(b"\n".join), 2)


def encoded(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return content in one of the encodings that are read, which may be damaged."""

    def recoded(name: str) -> st.SearchStrategy[bytes]:
        return content.map(lambda data: data.decode("utf-8", "replace").encode(name))

    packed = content.map(lambda data: gzip.compress(data, 1, mtime=0))
    return st.one_of(content, damaged(recoded("utf-16"), 1), recoded("utf-32"), damaged(packed, 1))


@given(
    content=encoded(
        st.one_of(
            lines(*ROWS),
            damaged(json_text(ROWS, {"results": ROWS}), 2),
            table(CELLS),
            table(CELLS, ","),
            table(CELLS, ";"),
        )
    ),
    input_format=st.sampled_from(["auto", "auto", "jsonl", "json", "csv", "tsv", "lines"]),
    options=st.lists(
        st.sampled_from(["--strict", "--distinct-ids", "--blend=minmax:0.5", "--format=table"]),
        max_size=2,
        unique=True,
    ),
)
def test_candidates(folder: Path, content: bytes, input_format: str, options: list[str]) -> None:
    path = folder / "candidates"
    path.write_bytes(content)
    arguments = ["rank", "-q", QUERY, "--input-format", input_format, *options, str(path)]
    result = outcome(lambda: CliRunner().invoke(app, arguments))
    assert not isinstance(result, Exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.stderr
    if result.exit_code:
        assert result.stdout == ""
        assert 1 <= len(result.stderr.splitlines()) < 10
    elif "--format=table" not in options:
        found = [json.loads(line, parse_int=float) for line in result.stdout.split("\n") if line]
        scores = [row["relevance_score"] for row in found if "relevance_score" in row]
        assert "--blend=minmax:0.5" in options or scores == sorted(scores, reverse=True)
        assert all(isinstance(row["text"], str) for row in found)


CORPUS = [{"_id": name, "title": "a", "text": text} for name, text in DOCUMENTS.items()]
ASKED = [{"_id": name, "text": text} for name, text in QUERIES.items()]
BEIR = [["query-id", "corpus-id", "score"], ["q1", "d1", "2"], ["q2", "d3", "1"]]
TREC = [["q1", "0", "d1", "2"], ["q2", "0", "d3", "1"]]
RUN = [["query-id", "corpus-id", "rank", "score"], ["q1", "d5", "1", "3.0"], ["q1", "d2", "2", "1"]]
TREC_RUN = [["q1", "Q0", "d5", "1", "3.0", "mine"], ["q1", "Q0", "d2", "2", "1", "mine"]]


@given(
    which=st.sampled_from(["corpus.jsonl", "queries.jsonl", "qrels.tsv", "run.first.tsv"]),
    data=st.data(),
)
def test_collections(
    tmp_path_factory: pytest.TempPathFactory, which: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("collection") / "c"
    write_collection(folder)
    content = data.draw(
        {
            "corpus.jsonl": lines(*CORPUS),
            "queries.jsonl": lines(*ASKED),
            "qrels.tsv": st.one_of(table(BEIR), table(TREC, " ")),
            "run.first.tsv": st.one_of(table(RUN), table(TREC_RUN, " ")),
        }[which]
    )
    (folder / which).write_bytes(content)
    collection = outcome(lambda: read_collection(folder))
    if isinstance(collection, Collection):
        assert collection.evaluated
        assert len(collection.fingerprint) == 32
        stage = outcome(lambda: first_stage("run:first", collection, 10))
        if isinstance(stage, Exception):
            assert isinstance(stage, InvalidInputError)
        else:
            found = [c for candidates in stage.candidates.values() for c in candidates]
            assert all(math.isfinite(candidate.score) for candidate in found)
            assert {candidate.id for candidate in found} <= collection.documents.keys()
    else:
        assert isinstance(collection, InvalidInputError)


@pytest.fixture(scope="module")
def journal(folder: Path) -> list[Any]:
    path = folder / "whole.jsonl"
    scorer = OverlapScorer()
    with Journal(path) as kept:
        kept.keep(scorer, QUERY, TEXTS, scorer.score(QUERY, TEXTS))
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@given(data=st.data())
def test_journals(folder: Path, journal: list[Any], data: st.DataObject) -> None:
    header, *entries = journal
    path = folder / "journal.jsonl"
    begin = json.dumps(header).encode() + b"\n"
    path.write_bytes(begin + data.draw(lines(*entries)) + data.draw(st.sampled_from([b"", b"\n"])))

    def find() -> Scoring | None:
        with Journal(path) as found:
            return found.find(OverlapScorer(), QUERY, TEXTS)

    scoring = outcome(find)
    if isinstance(scoring, Scoring):
        assert len(scoring.scores) == len(TEXTS)
        assert all(score is None or math.isfinite(score) for score in scoring.scores)
    else:
        assert scoring is None or isinstance(scoring, InvalidInputError)


CONFIGURATIONS: tuple[Any, ...] = (
    {"type": "onnx", "model": "nano", "max_length": 64, "activation": "sigmoid", "threads": 1},
    {"type": "torch", "model": "a/b", "max_length": 64, "batch_tokens": 64, "device": "cpu"},
    {"type": "bi", "model": "a/b", "query_prompt": "query: ", "revision": "main"},
    {"type": "hub", "model": "a/b"},
    {
        "type": "cohere",
        "model": "m",
        "base_url": "http://127.0.0.1:9",
        "timeout": 1.5,
        "max_retries": 0,
        "prices": {"search_unit": 0.1},
        "extra_body": {"a": [1]},
        "priority": 1,
        "path": "/v1/rerank",
    },
    {"type": "tei", "base_url": "http://127.0.0.1:9", "api_key": False, "batch_size": 4},
    {"type": "deadline", "scorer": {"type": "onnx", "model": "nano"}, "seconds": 1.0},
    {
        "type": "fallback",
        "scorers": [{"type": "hub", "model": "a/b"}, {"type": "onnx", "model": "nano"}],
        "failures": 3,
        "cooldown": 30.0,
        "keep_order": True,
    },
    {"type": "cascade", "stages": [[{"type": "onnx", "model": "nano"}, 2], {"type": "hub"}]},
    {"type": "cached", "scorer": {"type": "onnx", "model": "nano"}, "path": "scores.sqlite"},
    {
        "type": "windowed",
        "scorer": {"type": "onnx", "model": "nano"},
        "tokens": 64,
        "aggregate": "max",
    },
)


@given(config=json_value(*CONFIGURATIONS))
def test_configurations(config: Any) -> None:
    scorer = outcome(lambda: load_scorer(config))
    if isinstance(scorer, Scorer):
        assert isinstance(repr(scorer), str)
        written = outcome(scorer.to_config)
        if not isinstance(written, Exception):
            again = load_scorer(json.loads(json.dumps(written)))
            assert again.to_config() == written
    else:
        assert isinstance(scorer, RerankError)


@given(
    name=st.one_of(
        odd_scalars(),
        damaged(
            st.sampled_from(
                [b"onnx:nano", b"tei:http://h:1", b"cohere:m", b"bi:a/b", b"./no", b"a/b"]
            )
        ).map(lambda data: data.decode("utf-8", "surrogateescape")),
    )
)
def test_names(name: Any) -> None:
    assert isinstance(outcome(lambda: load_scorer(name)), Scorer | ConfigurationError)


@pytest.fixture(scope="module")
def store(folder: Path) -> bytes:
    path = folder / "whole.sqlite"
    Cached(OverlapScorer(), DiskStore(path)).score(QUERY, TEXTS)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return path.read_bytes()


def cached(path: Path, content: bytes) -> Cached:
    for name in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    path.write_bytes(content)
    return Cached(OverlapScorer(), DiskStore(path))


def check_cached(scorer: Cached) -> None:
    for _ in range(2):
        scoring = outcome(lambda: scorer.score(QUERY, TEXTS))
        assert isinstance(scoring, Scoring)
        assert len(scoring.scores) == len(TEXTS)
        assert all(score is not None and math.isfinite(score) for score in scoring.scores)
        for text, spans in zip(TEXTS, scoring.spans or [()] * 3, strict=True):
            assert all(0 <= span.start < span.end <= len(text) for span in spans)


_COLUMN = st.one_of(
    odd_scalars().filter(lambda odd: not isinstance(odd, int) or abs(odd) < 2**63),
    json_text([[0, 3, 0.5], [1, 2, None]]).map(lambda text: text.decode()),
    st.binary(max_size=4),
)


@given(rows=st.lists(st.tuples(_COLUMN, _COLUMN), min_size=3, max_size=3))
@example(rows=[(0.5, "[[0, 99, 1.0]]")] * 3)
def test_rows_of_a_cache(folder: Path, store: bytes, rows: list[tuple[Any, Any]]) -> None:
    path = folder / "rows.sqlite"
    scorer = cached(path, store)
    with sqlite3.connect(path) as connection:
        for number, row in enumerate(rows, 1):
            for column, value in zip(("score", "spans"), row, strict=True):
                try:
                    statement = f"UPDATE entries SET {column} = ? WHERE rowid = ?"
                    connection.execute(statement, (value, number))
                except (sqlite3.Error, UnicodeError):
                    continue
    connection.close()
    check_cached(scorer)


@given(data=st.data())
def test_damaged_caches(folder: Path, store: bytes, data: st.DataObject) -> None:
    check_cached(cached(folder / "damaged.sqlite", data.draw(damaged(store, 5))))


_TABLE = "CREATE TABLE entries (key BLOB UNIQUE NOT NULL, score REAL NOT NULL, spans TEXT)"
_FOREVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
_VIEW = f"CREATE VIEW entries AS {_FOREVER} SELECT CAST(i AS BLOB) AS key, 0.5 AS score"
SCHEMAS = {
    "another type": "CREATE TABLE entries (key TEXT)",
    "another column": f"{_TABLE}; ALTER TABLE entries ADD COLUMN more TEXT NOT NULL DEFAULT 'x'",
    "a view": "CREATE VIEW entries AS SELECT x'00' AS key, 0.5 AS score, NULL AS spans",
    "an endless view": f"{_VIEW}, NULL AS spans FROM n",
    "a view that fills the memory": f"{_VIEW}, hex(zeroblob(100000000)) AS spans FROM n",
    "a generated column": "CREATE TABLE entries (key BLOB UNIQUE NOT NULL, "
    "score REAL GENERATED ALWAYS AS (1.0), spans TEXT)",
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_caches_of_another_schema(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "scores.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(schema)
    connection.close()
    check_cached(Cached(OverlapScorer(), DiskStore(path)))
