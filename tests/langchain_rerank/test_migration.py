"""Side by side with LangChain's own rerankers: the same weights give the same order."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.documents import Document

from langchain_rerank import CrossEncoderModel, RerankCompressor
from rerank_core import CohereScorer, OnnxCrossEncoder, TorchCrossEncoder
from support.cohere_server import CohereServer
from support.models import WORDS, TinyModel

SUNSET = "`langchain-community` is being sunset"

chance = random.Random(7)
QUERY = "neural network for drug discovery"
DOCUMENTS = [
    Document(" ".join(chance.sample(WORDS, chance.randint(3, 30))), metadata={"n": n})
    for n in range(40)
]


def places(documents: Any) -> list[int]:
    return [document.metadata["n"] for document in documents]


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


def test_as_coheres_own_reranker() -> None:
    reason = "langchain-cohere pins cohere below 6: the tests of the oldest versions have it"
    langchain_cohere = pytest.importorskip("langchain_cohere", reason=reason)
    import cohere
    import httpx

    with CohereServer() as server, httpx.Client() as http:
        client = cohere.ClientV2("any", base_url=server.url, httpx_client=http)
        theirs = langchain_cohere.CohereRerank(
            model="rerank-v3.5", client=client, top_n=None
        ).compress_documents(DOCUMENTS, QUERY)
        scorer = CohereScorer("rerank-v3.5", client=client)
        ours = RerankCompressor(scorer=scorer, top_n=None).compress_documents(DOCUMENTS, QUERY)
    assert places(ours) == places(theirs)
    assert [document.metadata for document in ours] == [document.metadata for document in theirs]
    first, second = (request.body for request in server.requests)
    for field in ("model", "query", "documents"):
        assert first[field] == second[field]


def test_as_flashranks_reranker(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    flashrank = pytest.importorskip("flashrank", reason="a peer, and no dependency of ours")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SUNSET, DeprecationWarning)
        from langchain_community.document_compressors import FlashrankRerank

    # The tiny model under a name that FlashRank knows, with the file that it wants beside it.
    folder = tmp_path / "ms-marco-TinyBERT-L-2-v2"
    shutil.copytree(tiny().onnx, folder)
    (folder / "model.onnx").rename(folder / "flashrank-TinyBERT-L-2-v2.onnx")
    (folder / "special_tokens_map.json").write_text("{}")
    ranker = flashrank.Ranker(folder.name, cache_dir=str(tmp_path), log_level="ERROR")
    theirs = FlashrankRerank(client=ranker, top_n=10).compress_documents(DOCUMENTS, QUERY)
    scorer = OnnxCrossEncoder(tiny().onnx, activation="sigmoid")
    ours = RerankCompressor(scorer=scorer, top_n=10).compress_documents(DOCUMENTS, QUERY)
    assert places(ours) == places(theirs)
    assert [document.metadata["relevance_score"] for document in ours] == pytest.approx(
        [float(document.metadata["relevance_score"]) for document in theirs], abs=1e-5
    )
