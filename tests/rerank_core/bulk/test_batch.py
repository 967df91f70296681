"""Batches of rows in the forms that Ray gives, without Ray."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rerank_core import (
    AuthenticationError,
    Cached,
    CohereScorer,
    ConfigurationError,
    InvalidInputError,
    Scorer,
    ScorerError,
    Windowed,
    rerank,
)
from rerank_core.bulk import RerankBatch
from rerank_core.testing import OverlapScorer, Reply, Request, ScriptedScorer, ScriptedServer

QUERIES = ["cold river", "python list"]
CANDIDATES = [
    ["storm weather", "a cold river", "a river"],
    ["python writes a list", "", "a list"],
]


def as_numpy(columns: dict[str, list[Any]]) -> dict[str, Any]:
    def array(cells: list[Any]) -> Any:
        made = np.empty(len(cells), dtype=object)
        for place, cell in enumerate(cells):
            made[place] = np.array(cell, dtype=object) if isinstance(cell, list) else cell
        return made

    return {
        name: np.array(cells) if name == "query" else array(cells)
        for name, cells in columns.items()
    }


FORMS: dict[str, Callable[[dict[str, list[Any]]], Any]] = {
    "lists": dict,
    "numpy": as_numpy,
    "arrow": pa.table,
    "pandas": pd.DataFrame,
}


def rows_of(batch: Any) -> dict[str, list[Any]]:
    if isinstance(batch, pa.Table):
        return dict(batch.to_pydict())
    return {
        name: [None if isinstance(cell, float) else cell for cell in batch[name]] for name in batch
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("with_ids", [False, True])
def test_every_row_is_what_rerank_makes_of_it(form: str, with_ids: bool) -> None:
    def candidate(text: str) -> Any:
        return {"id": text[:1], "text": text} if with_ids else text

    candidates = [[candidate(text) for text in texts] for texts in CANDIDATES]
    batch = FORMS[form]({"query": QUERIES, "candidates": candidates, "kept": [1, 2]})
    result = RerankBatch(OverlapScorer(), top_n=2)(batch)
    assert isinstance(result, type(batch))
    rows = rows_of(result)
    assert list(rows) == [
        *("query", "candidates", "kept"),
        *("relevance_scores", "positions", "degraded", "error"),
    ]
    for place, (query, texts) in enumerate(zip(QUERIES, CANDIDATES, strict=True)):
        ranking = rerank(query, texts, OverlapScorer(), top_n=2)
        assert list(rows["candidates"][place]) == [candidate(item.text) for item in ranking]
        assert list(rows["relevance_scores"][place]) == [item.score for item in ranking]
        assert list(rows["positions"][place]) == [item.index for item in ranking]
    assert list(rows["kept"]) == [1, 2]
    assert rows["error"] == rows["degraded"] == [None, None]


def test_a_local_model_gives_the_scores_of_single_queries() -> None:
    result = RerankBatch()({"query": QUERIES, "candidates": CANDIDATES})
    for place, (query, texts) in enumerate(zip(QUERIES, CANDIDATES, strict=True)):
        ranking = rerank(query, texts)
        assert result["relevance_scores"][place] == [item.score for item in ranking]


def test_options_are_those_of_rerank() -> None:
    candidates = [[{"body": "a river", "score": 9.0}, {"body": "a cold river. So.", "score": 1.0}]]
    batch = {"q": ["cold river"], "hits": candidates}
    names: dict[str, Any] = {"query_column": "q", "candidates_column": "hits", "text_field": "body"}
    blended = RerankBatch(OverlapScorer(), **names, blend="minmax:1")(batch)
    assert blended["positions"][0] == [0, 1]
    trimmed = RerankBatch(OverlapScorer(), **names, trim=["budget=4"], depth=2, min_score=0.6)
    (kept,) = trimmed(batch)["hits"]
    assert kept == [{"body": "a cold river.", "score": 1.0}]
    assert batch["hits"] is candidates
    assert candidates[0][1]["body"] == "a cold river. So."


@pytest.mark.parametrize(
    ("query", "candidates", "problem"),
    [
        (" ", ["a"], "query is blank"),
        (None, ["a"], "query must be a str"),
        ("q", None, "candidates must"),
        ("q", "text", "candidates must"),
        ("q", [1], "candidates[0] must"),
        ("q", [{"body": "a"}], "candidates[0] must"),
        ("fails", ["a"], "no luck"),
        ("breaks", ["a"], "RuntimeError: a bug"),
    ],
)
def test_a_row_that_fails_has_the_reason_and_holds_up_no_other(
    query: Any, candidates: Any, problem: str
) -> None:
    def answer(asked: str, texts: tuple[str, ...]) -> list[float]:
        if asked == "fails":
            raise ScorerError("no luck")
        if asked == "breaks":
            raise RuntimeError("a bug")
        return [1.0] * len(texts)

    batch = {"query": ["fine", query, "fine"], "candidates": [["a"], candidates, ["b"]]}
    result = RerankBatch(ScriptedScorer(answer))(batch)
    first, error, last = result["error"]
    assert first is last is None
    assert problem in error
    assert [*result["relevance_scores"]] == [[1.0], [], [1.0]]
    assert [*result["candidates"]] == [["a"], candidates, ["b"]]


def test_nothing_in_nothing_out() -> None:
    empty = pa.schema({"query": pa.string(), "candidates": pa.list_(pa.string())}).empty_table()
    result = RerankBatch(OverlapScorer())(empty)
    assert result.num_rows == 0
    assert result.schema.field("relevance_scores").type == pa.list_(pa.float64())


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'nano'"):
        RerankBatch("nanoo")
    with pytest.raises(ConfigurationError, match="top_n must be"):
        RerankBatch(top_n=0)
    with pytest.raises(ConfigurationError, match="there is no trimmer"):
        RerankBatch(trim=["shorten"])
    with pytest.raises(InvalidInputError, match="no column 'query'; there are question"):
        RerankBatch(OverlapScorer())({"question": ["q"]})


def test_it_can_be_sent_to_another_process() -> None:
    batch = RerankBatch(OverlapScorer(), top_n=1, trim=["budget=100"])
    batch({"query": QUERIES, "candidates": CANDIDATES})
    copied = pickle.loads(pickle.dumps(batch))
    assert copied({"query": QUERIES, "candidates": CANDIDATES})["positions"][0] == [1]


class Paired:
    """Answers as Cohere does once two requests are there; counts those under way at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._two = threading.Barrier(2, timeout=20)
        self._third = threading.Event()

    def __call__(self, request: Request) -> Reply:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now > 2:
                self._third.set()
        self._two.wait()
        self._third.wait(0.05)  # it must not come
        with self._lock:
            self._now -= 1
        if "bad" in request.body["documents"]:
            return Reply({"message": "bad text"}, status=400)
        return ScriptedServer.answer(request)


@pytest.mark.parametrize("wrap", [lambda scorer: scorer, Cached, Windowed])
def test_a_service_is_asked_for_as_many_rows_at_once_as_it_may_be(
    wrap: Callable[[Scorer], Scorer],
) -> None:
    candidates = [["a cold river"], ["bad"], ["a river"], ["river"], ["cold"], ["sun"]]
    batch = {"query": ["cold river"] * 6, "candidates": candidates}
    paired = Paired()
    with ScriptedServer(respond=paired) as server:
        scorer = CohereScorer("m", base_url=server.url, api_key="test")
        result = RerankBatch(wrap(scorer), max_requests=2)(batch)
    assert paired.most == 2
    assert [*result["relevance_scores"]] == [[1.0], [], [0.5], [0.5], [0.5], [0.0]]
    assert [place for place, error in enumerate(result["error"]) if error] == [1]
    assert "bad text" in result["error"][1]
    assert len(server.requests) == 6


def test_a_key_that_is_refused_ends_the_job() -> None:
    with ScriptedServer(respond=lambda _: Reply({"message": "no"}, status=401)) as server:
        scorer = CohereScorer("m", base_url=server.url, api_key="test")
        with pytest.raises(AuthenticationError):
            RerankBatch(scorer)({"query": ["a", "b"], "candidates": [["a"], ["b"]]})
