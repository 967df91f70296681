"""LlamaIndex's own rerankers beside ours: the same nodes, the same query, the same order."""

from __future__ import annotations

from typing import Any

from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode

from llamaindex_rerank import RerankPostprocessor
from rerank_core._local.torch import TorchCrossEncoder
from rerank_core._remote.cohere import CohereScorer
from rerank_core.testing import ScriptedServer
from support.models import WORDS, TinyModel

__all__ = ["assert_like_cohere", "assert_like_sentence_transformers"]

QUERY = "deep learning model for drug discovery"
# The stand-in service scores by shared words, so some tie; both keep first-stage order then.
TEXTS = [" ".join(WORDS[at : at + 5 + at % 7]) for at in range(0, len(WORDS) - 12, 2)]


def _nodes() -> list[NodeWithScore]:
    """A new set each time: LlamaIndex's own rerankers change what they are given."""
    return [
        NodeWithScore(
            node=TextNode(
                text=text,
                id_=f"id-{n}",
                metadata={"topic": WORDS[n], "secret": "price"},
                excluded_embed_metadata_keys=["secret"],
            ),
            score=1 / (n + 1),
        )
        for n, text in enumerate(TEXTS)
    ]


def _assert_same(peer: Any, ours: RerankPostprocessor, top_n: int) -> None:
    theirs = peer.postprocess_nodes(_nodes(), query_str=QUERY)
    results = ours.postprocess_nodes(_nodes(), query_str=QUERY)
    assert [node.node_id for node in results] == [node.node_id for node in theirs]
    assert len(results) == top_n
    assert [node.node_id for node in results] != [f"id-{n}" for n in range(top_n)]
    for mine, other in zip(results, theirs, strict=True):
        assert mine.score is not None
        assert abs(mine.score - other.score) < 1e-5
        assert mine.metadata.get("retrieval_score") == other.metadata.get("retrieval_score")
        assert "retrieval_score" not in mine.get_content(MetadataMode.EMBED)


def assert_like_sentence_transformers(peer_class: type[Any], model: TinyModel) -> None:
    """Compare with a `SentenceTransformerRerank` class on the same weights."""
    for top_n, keep in ((7, False), (len(TEXTS), True)):
        options: dict[str, Any] = {"top_n": top_n, "keep_retrieval_score": keep}
        peer = peer_class(model=str(model.torch), device="cpu", **options)
        scorer = TorchCrossEncoder(str(model.torch), device="cpu")
        _assert_same(peer, RerankPostprocessor(scorer=scorer, **options), top_n)


def assert_like_cohere(peer_class: type[Any]) -> None:
    """Compare with a `CohereRerank` class on a stand-in service."""
    with ScriptedServer() as server:
        service: dict[str, Any] = {"api_key": "any", "base_url": server.url}
        for top_n in (3, len(TEXTS)):
            peer = peer_class(model="rerank-v3.5", top_n=top_n, **service)
            # It has no way to close its client.
            with peer._client, CohereScorer("rerank-v3.5", **service) as scorer:
                _assert_same(peer, RerankPostprocessor(scorer=scorer, top_n=top_n), top_n)
            official, own = server.requests[-2:]
            assert official.body["documents"] == own.body["documents"]
            assert official.body["query"] == own.body["query"] == QUERY
            assert official.path == own.path
