"""`RerankCompressor` with LangChain's own types."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load import dumps
from pydantic import ValidationError

import langchain_rerank
from langchain_rerank import RerankCompressor
from rerank_core import InvalidInputError, Windowed
from rerank_core._remote.cohere import CohereScorer
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.langchain import revive


class Passage(Document):
    page: int


def test_exports() -> None:
    assert langchain_rerank.__all__ == [
        "CrossEncoderModel",
        "RerankCompressor",
        "RerankRetriever",
        "RerankRunnable",
    ]
    assert all(hasattr(langchain_rerank, name) for name in langchain_rerank.__all__)
    with pytest.raises(AttributeError, match="'langchain_rerank' has no attribute 'Reranker'"):
        langchain_rerank.Reranker  # noqa: B018
    assert issubclass(RerankCompressor, BaseDocumentCompressor)


def test_ids_and_subclasses_are_kept() -> None:
    documents = [Passage(page_content="tea", page=3, id="b"), Document("green tea", id="a")]
    best, second = RerankCompressor(scorer=OverlapScorer()).compress_documents(
        documents, "green tea"
    )
    assert best == Document("green tea", id="a", metadata={"relevance_score": 1.0})
    assert second == Passage(page_content="tea", page=3, id="b", metadata={"relevance_score": 0.5})
    assert type(second) is Passage


def test_results_are_a_list_even_of_a_tuple() -> None:
    compressor = RerankCompressor(scorer=OverlapScorer())
    assert type(compressor.compress_documents((Document("tea"),), "tea")) is list


@pytest.mark.parametrize("method", ["minmax", "zscore"])
def test_a_blend_takes_first_stage_scores_from_metadata(method: str) -> None:
    documents = [
        Document("a", metadata={"similarity": np.float32(0.1)}),
        Document("b", metadata={"similarity": np.float64(0.9)}),
        Document("c", metadata={"similarity": 0}),
    ]
    compressor = RerankCompressor(
        scorer=ScriptedScorer({"a": 1.0, "b": 0.9, "c": 0.0}), blend=method, prior_key="similarity"
    )
    results = compressor.compress_documents(documents, "q")
    assert [result.page_content for result in results] == ["b", "a", "c"]
    assert all(type(result.metadata["relevance_score"]) is float for result in results)
    assert results[0].metadata["similarity"] == np.float64(0.9)


def test_a_chained_compressor_can_blend_with_the_first_ones_scores() -> None:
    documents = [Document("b"), Document("a")]
    first = RerankCompressor(scorer=ScriptedScorer({"a": 2.0, "b": 1.0}))
    second = RerankCompressor(
        scorer=ScriptedScorer({"a": 5.0, "b": 5.0}), blend="minmax", prior_key="relevance_score"
    )
    results = second.compress_documents(first.compress_documents(documents, "q"), "q")
    assert [(r.page_content, r.metadata) for r in results] == [
        ("a", {"relevance_score": 0.5}),
        ("b", {"relevance_score": 0.0}),
    ]


def test_a_missing_first_stage_score_is_an_error() -> None:
    compressor = RerankCompressor(scorer=OverlapScorer(), blend="minmax", prior_key="similarity")
    with pytest.raises(InvalidInputError, match=r"prior\[1\] is missing"):
        compressor.compress_documents(
            [Document("a", metadata={"similarity": 1}), Document("b")], "q"
        )


def test_a_blend_that_needs_first_stage_scores_needs_their_key() -> None:
    with pytest.raises(ValidationError, match="blend 'minmax' needs prior_key"):
        RerankCompressor(scorer=OverlapScorer(), blend="minmax")
    with pytest.raises(ValidationError, match="prior_key must be"):
        RerankCompressor(scorer=OverlapScorer(), prior_key=3)  # type: ignore[arg-type]


def test_without_a_blend_odd_values_under_the_key_do_not_matter() -> None:
    document = Document("tea", metadata={"similarity": "high"})
    compressor = RerankCompressor(scorer=OverlapScorer(), prior_key="similarity")
    assert len(compressor.compress_documents([document], "tea")) == 1


def test_a_copy_with_another_top_n_is_checked_at_the_call() -> None:
    compressor = RerankCompressor(scorer=OverlapScorer()).model_copy(update={"top_n": 1})
    documents = [Document("a"), Document("b")]
    assert len(compressor.compress_documents(documents, "a")) == 1
    with pytest.raises(InvalidInputError, match="top_n"):
        compressor.model_copy(update={"top_n": -1}).compress_documents(documents, "a")


def cohere() -> CohereScorer:
    return CohereScorer("rerank-v3.5", api_key="s3cret", base_url="https://rerank.internal/v1")


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_dumps_and_loads_keep_everything_but_the_key() -> None:
    compressor = RerankCompressor(
        scorer=cohere(), top_n=3, blend={"method": "minmax", "weight": 0.25}, prior_key="p"
    )
    text = dumps(compressor)
    assert "s3cret" not in text
    again = revive(text, RerankCompressor)
    assert type(again) is RerankCompressor
    assert again.to_dict() == compressor.to_dict()
    assert again.to_dict()["scorer"]["base_url"] == "https://rerank.internal/v1"


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
@pytest.mark.parametrize(
    "arguments", [{"scorer": ScriptedScorer({})}, {"count_tokens": len, "max_tokens": 9}]
)
def test_what_cannot_be_dumped_cannot_be_loaded(arguments: dict[str, Any]) -> None:
    text = dumps(RerankCompressor(**{"scorer": cohere(), **arguments}))
    assert "s3cret" not in text
    with pytest.raises(NotImplementedError):
        revive(text, RerankCompressor)


@pytest.mark.parametrize("name", ["compress_documents", "acompress_documents"])
def test_signatures_are_those_of_the_base_class(name: str) -> None:
    ours = inspect.signature(getattr(RerankCompressor, name))
    theirs = inspect.signature(getattr(BaseDocumentCompressor, name))
    assert list(ours.parameters) == list(theirs.parameters)


def test_the_best_passage_is_told_where_it_is_known() -> None:
    long = "rain " * 40 + "green tea with milk " + "wind " * 40
    documents = [
        Document(long, metadata={"passage": "stale"}),
        Document("", metadata={"passage": "stale"}),
    ]
    windowed = Windowed(OverlapScorer(), tokens=8)
    compressor = RerankCompressor(scorer=windowed, span_key="passage")
    best, blank = compressor.compress_documents(documents, "green tea")
    passages = best.metadata["passage"]
    start, end = passages[0]["start"], passages[0]["end"]
    assert (type(passages), type(start)) == (list, int)
    assert passages[0]["score"] == best.metadata["relevance_score"]
    assert [p["score"] for p in passages] == sorted((p["score"] for p in passages), reverse=True)
    assert "green tea" in long[start:end]
    assert len(long[start:end].split()) <= 8
    assert json.loads(dumps(best))["kwargs"]["metadata"]["passage"] == passages
    assert "passage" not in blank.metadata
    assert documents[0].metadata == {"passage": "stale"}

    plain = RerankCompressor(scorer=OverlapScorer(), span_key="passage")
    assert "passage" not in plain.compress_documents(documents[:1], "green tea")[0].metadata
    silent = RerankCompressor(scorer=windowed).compress_documents(documents[:1], "green tea")
    assert silent[0].metadata["passage"] == "stale"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"span_key": "relevance_score"}, "span_key and score_key are both 'relevance_score'"),
        ({"span_key": "s", "score_key": "s"}, "span_key and score_key are both 's'"),
        ({"span_key": ""}, "span_key must be"),
    ],
)
def test_a_wrong_span_key_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RerankCompressor(scorer=OverlapScorer(), **arguments)
