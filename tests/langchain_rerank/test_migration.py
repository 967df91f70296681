"""Side by side with LangChain's own reranker: the same weights give the same order.

`peers.py` has those of other packages.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker

from langchain_rerank import CrossEncoderModel, RerankCompressor
from rerank_core import OnnxCrossEncoder, TorchCrossEncoder
from support.langchain_peers import DOCUMENTS, QUERY, SUNSET, places
from support.models import TinyModel


@pytest.fixture
def official(tiny: Callable[..., TinyModel]) -> Any:
    """LangChain's wrapper of sentence-transformers, with the tiny model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SUNSET, DeprecationWarning)
        from langchain_community.cross_encoders import HuggingFaceCrossEncoder

    return HuggingFaceCrossEncoder(model_name=str(tiny().torch), model_kwargs={"device": "cpu"})


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_as_the_cross_encoder_reranker(
    engine: str, official: Any, tiny: Callable[..., TinyModel]
) -> None:
    theirs = CrossEncoderReranker(model=official, top_n=10).compress_documents(DOCUMENTS, QUERY)
    scorer = (
        TorchCrossEncoder(str(tiny().torch), device="cpu")
        if engine == "torch"
        else OnnxCrossEncoder(str(tiny().onnx))
    )
    ours = RerankCompressor(scorer=scorer, top_n=10).compress_documents(DOCUMENTS, QUERY)
    assert places(ours) == places(theirs)
    assert places(theirs) != sorted(places(theirs))
    one_line_changed = CrossEncoderReranker(model=CrossEncoderModel(scorer), top_n=10)
    assert places(one_line_changed.compress_documents(DOCUMENTS, QUERY)) == places(theirs)


def test_scores_are_those_of_the_official_wrapper(
    official: Any, tiny: Callable[..., TinyModel]
) -> None:
    pairs = [(QUERY, document.page_content) for document in DOCUMENTS]
    scorer = TorchCrossEncoder(str(tiny().torch), device="cpu")
    theirs = [float(score) for score in official.score(pairs)]
    assert CrossEncoderModel(scorer).score(pairs) == pytest.approx(theirs, abs=1e-5)
