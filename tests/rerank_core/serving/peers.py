"""The server asked by the frameworks' own Cohere rerankers and by LiteLLM, unchanged.

They need an older Cohere SDK than this project's newest: ``nox -s peers`` runs this.
"""

from __future__ import annotations

import math

import httpx
import pytest

from rerank_core import load_scorer, rerank

# mypy: disable-error-code="import-not-found,import-untyped"

# Sockets that their clients leave open, and what they say of each other's releases, are theirs.
pytestmark = pytest.mark.filterwarnings("default")

QUERY = "How do plants eat?"
TEXTS = ["Cats purr.", "Plants turn light into sugar.", "Yeast makes dough rise."]
KEY = "any-key-0123456789"


@pytest.fixture(scope="module")
def expected() -> list[tuple[int, float]]:
    """The places and scores of this process, through a sigmoid."""
    ranking = rerank(QUERY, TEXTS, load_scorer("nano"), top_n=2)
    return [(item.index, 1 / (1 + math.exp(-(item.score or 0.0)))) for item in ranking]


def test_langchains_cohere_rerank(address: str, expected: list[tuple[int, float]]) -> None:
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    reranker = CohereRerank(model="nano", cohere_api_key=KEY, base_url=address, top_n=2)
    found = reranker.compress_documents([Document(text) for text in TEXTS], QUERY)
    assert [document.page_content for document in found] == [TEXTS[i] for i, _ in expected]
    scores = [document.metadata["relevance_score"] for document in found]
    assert scores == pytest.approx([score for _, score in expected])


def test_llamaindexs_cohere_rerank(address: str, expected: list[tuple[int, float]]) -> None:
    from llama_index.core.schema import NodeWithScore, TextNode
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    reranker = CohereRerank(model="nano", api_key=KEY, base_url=address, top_n=2)
    found = reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert [node.node.get_content() for node in found] == [TEXTS[i] for i, _ in expected]
    assert [node.score for node in found] == pytest.approx([score for _, score in expected])


@pytest.mark.parametrize("provider", ["cohere", "jina_ai", "hosted_vllm"])
async def test_litellm(address: str, expected: list[tuple[int, float]], provider: str) -> None:
    import litellm

    base = {"cohere": address, "jina_ai": f"{address}/v1/rerank", "hosted_vllm": address}[provider]
    options = {
        "model": f"{provider}/nano",
        "query": QUERY,
        "documents": TEXTS,
        "top_n": 2,
        "api_base": base,
        "api_key": KEY,
    }
    for answer in (litellm.rerank(**options), await litellm.arerank(**options)):
        results = answer.results
        assert [result["index"] for result in results] == [i for i, _ in expected]
        scores = [result["relevance_score"] for result in results]
        assert scores == pytest.approx([score for _, score in expected])


def test_the_server_was_asked(address: str) -> None:
    """All of these came by the wire."""
    metrics = httpx.get(f"{address}/metrics").text
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
        assert f'model="nano",path="{path}",status="200"' in metrics
