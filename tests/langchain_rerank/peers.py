"""Beside the rerankers for LangChain in packages of others, one of which needs an older Cohere SDK.

So this is not part of the suite: `nox -s peers` installs them and runs it.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import cohere
import httpx
import pytest

# mypy: disable-error-code="import-not-found,import-untyped"
from flashrank import Ranker
from langchain_cohere import CohereRerank

from langchain_rerank import RerankCompressor
from rerank_core import CohereScorer, OnnxCrossEncoder
from rerank_core.testing import ScriptedServer
from support.langchain_peers import DOCUMENTS, QUERY, SUNSET, places
from support.models import TinyModel


def test_as_coheres_own_reranker() -> None:
    with ScriptedServer() as server, httpx.Client() as http:
        client = cohere.ClientV2("any", base_url=server.url, httpx_client=http)
        theirs = CohereRerank(model="rerank-v3.5", client=client, top_n=None).compress_documents(
            DOCUMENTS, QUERY
        )
        scorer = CohereScorer("rerank-v3.5", client=client)
        ours = RerankCompressor(scorer=scorer, top_n=None).compress_documents(DOCUMENTS, QUERY)
    assert places(ours) == places(theirs)
    assert [document.metadata for document in ours] == [document.metadata for document in theirs]
    first, second = (request.body for request in server.requests)
    for field in ("model", "query", "documents"):
        assert first[field] == second[field]


def test_as_flashranks_reranker(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SUNSET, DeprecationWarning)
        from langchain_community.document_compressors import FlashrankRerank

    # The tiny model under a name that FlashRank knows, with the file that it wants beside it.
    folder = tmp_path / "ms-marco-TinyBERT-L-2-v2"
    shutil.copytree(tiny().onnx, folder)
    (folder / "model.onnx").rename(folder / "flashrank-TinyBERT-L-2-v2.onnx")
    (folder / "special_tokens_map.json").write_text("{}")
    ranker = Ranker(folder.name, cache_dir=str(tmp_path), log_level="ERROR")
    theirs = FlashrankRerank(client=ranker, top_n=10).compress_documents(DOCUMENTS, QUERY)
    scorer = OnnxCrossEncoder(tiny().onnx, activation="sigmoid")
    ours = RerankCompressor(scorer=scorer, top_n=10).compress_documents(DOCUMENTS, QUERY)
    assert places(ours) == places(theirs)
    assert [document.metadata["relevance_score"] for document in ours] == pytest.approx(
        [float(document.metadata["relevance_score"]) for document in theirs], abs=1e-5
    )
