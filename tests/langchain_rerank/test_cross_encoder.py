"""`CrossEncoderModel`: our scorers in code that takes LangChain's cross-encoders."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.documents import Document

from langchain_rerank import CrossEncoderModel
from rerank_core import ConfigurationError, InvalidInputError, load_scorer
from rerank_core.testing import OverlapScorer, ScriptedScorer

if TYPE_CHECKING:
    from langchain_community.vectorstores import FAISS


async def test_in_langchains_own_reranker(store: FAISS) -> None:
    retriever = ContextualCompressionRetriever(
        base_compressor=CrossEncoderReranker(model=CrossEncoderModel(OverlapScorer()), top_n=2),
        base_retriever=store.as_retriever(search_kwargs={"k": 5}),
    )
    results = retriever.invoke("how brew green tea")
    assert [document.id for document in results] == ["id-4", "id-2"]
    assert await retriever.ainvoke("how brew green tea") == results


def test_pairs_of_one_query_are_scored_together_and_come_back_in_place() -> None:
    scorer = OverlapScorer()
    pairs = [("green tea", "tea"), ("soup", "soup"), ("green tea", "green tea"), ("soup", "tea")]
    scores = CrossEncoderModel(scorer).score(pairs)
    assert scores == [0.5, 1.0, 1.0, 0.0]
    assert all(type(score) is float for score in scores)
    assert scorer.calls == [("green tea", ("tea", "green tea")), ("soup", ("soup", "tea"))]


def test_nothing_to_score() -> None:
    scorer = OverlapScorer()
    assert CrossEncoderModel(scorer).score([]) == []
    assert scorer.calls == []


def test_what_was_not_scored_sorts_last_in_first_stage_order() -> None:
    model = CrossEncoderModel(ScriptedScorer({"a": -5.0, "b": 7.0}))
    texts = ["", "a", "unknown", "b"]
    assert model.score([("q", text) for text in texts]) == [-math.inf, -5.0, -math.inf, 7.0]
    reranker = CrossEncoderReranker(model=model, top_n=4)
    results = reranker.compress_documents([Document(text) for text in texts], "q")
    assert [document.page_content for document in results] == ["b", "a", "", "unknown"]


def test_the_default_is_the_embedded_model() -> None:
    model = CrossEncoderModel()
    assert model.scorer.name == "nano"
    texts = ["tea with milk", "a river"]
    scoring = load_scorer("nano").score("tea", texts)
    assert model.score([("tea", text) for text in texts]) == list(scoring.scores)
    assert repr(model) == "CrossEncoderModel(OnnxCrossEncoder('nano'))"


@pytest.mark.parametrize("pair", ["ab", ("q",), ("q", "t", "x"), ("q", None), (1, "t")])
def test_a_wrong_pair_is_refused_and_named(pair: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"text_pairs\[1\] must be a pair of str"):
        CrossEncoderModel(OverlapScorer()).score([("q", "t"), pair])


def test_a_wrong_scorer_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no-such-scorer"):
        CrossEncoderModel("no-such-scorer")


def test_without_its_base_class_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['langchain_core.cross_encoders'] = None; "
        "sys.modules['langchain_classic'] = None; "
        "from langchain_rerank import RerankCompressor, CrossEncoderModel"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert "pip install -U langchain-core" in done.stderr
