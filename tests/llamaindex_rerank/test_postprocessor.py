"""`RerankPostprocessor` with LlamaIndex's own types."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import (
    Document,
    ImageNode,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

import llamaindex_rerank
from llamaindex_rerank import RerankPostprocessor
from rerank_core import InvalidInputError
from rerank_core.testing import OverlapScorer, ScriptedScorer


class Passage(TextNode):
    page: int = 0


class Hit(NodeWithScore):
    shard: str = ""


def test_exports() -> None:
    assert llamaindex_rerank.__all__ == ["RerankPostprocessor"]
    assert issubclass(RerankPostprocessor, BaseNodePostprocessor)
    assert RerankPostprocessor.class_name() == "RerankPostprocessor"


def test_ids_relationships_and_subclasses_are_kept() -> None:
    parent: dict[NodeRelationship, Any] = {
        NodeRelationship.SOURCE: RelatedNodeInfo(node_id="parent")
    }
    node = Passage(text="tea", id_="p1", page=3, relationships=parent, embedding=[0.5])
    postprocessor = RerankPostprocessor(scorer=OverlapScorer())
    (result,) = postprocessor.postprocess_nodes(
        [Hit(node=node, score=0.25, shard="eu")], query_str="green tea"
    )
    assert isinstance(result, Hit)
    assert (result.shard, result.score) == ("eu", 0.5)
    assert isinstance(result.node, Passage)
    assert (result.node.node_id, result.node.page) == ("p1", 3)
    assert result.node.relationships == parent
    assert result.node.embedding == [0.5]
    result.node.relationships.clear()
    assert node.relationships == parent


@pytest.mark.parametrize("kind", [TextNode, Document, Node, ImageNode])
def test_every_kind_of_node(kind: type[Any]) -> None:
    given = {"text_resource": {"text": "tea"}} if kind is Node else {"text": "tea"}
    (result,) = RerankPostprocessor(scorer=OverlapScorer()).postprocess_nodes(
        [NodeWithScore(node=kind(**given, metadata={"a": 1}))], query_str="tea"
    )
    assert type(result.node) is kind
    assert result.score == result.metadata["relevance_score"] == 1.0


def test_scores_are_plain_floats() -> None:
    (result,) = RerankPostprocessor(
        scorer=ScriptedScorer({"a": cast("float", np.float32(0.1))})
    ).postprocess_nodes([NodeWithScore(node=TextNode(text="a"))], query_str="q")
    assert type(result.score) is float
    assert type(result.metadata["relevance_score"]) is float


def test_what_is_scored_is_the_text_for_embedding_models() -> None:
    scorer = OverlapScorer()
    node = TextNode(
        text="tea",
        metadata={"title": "On tea", "path": "/x", "relevance_score": 0.7},
        excluded_embed_metadata_keys=["path"],
    )
    RerankPostprocessor(scorer=scorer).postprocess_nodes(
        [NodeWithScore(node=node)], query_str="tea"
    )
    assert scorer.calls == [("tea", ("title: On tea\n\ntea",))]


def test_the_score_reaches_neither_embedding_models_nor_llms() -> None:
    postprocessor = RerankPostprocessor(scorer=OverlapScorer())
    node = TextNode(
        text="tea", metadata={"title": "On tea"}, excluded_llm_metadata_keys=["relevance_score"]
    )
    nodes = [NodeWithScore(node=node)]
    for _ in range(2):
        nodes = postprocessor.postprocess_nodes(nodes, query_str="tea")
    (result,) = nodes
    assert "relevance_score" in result.metadata
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert result.get_content(mode) == "title: On tea\n\ntea"
    assert result.node.excluded_embed_metadata_keys == ["relevance_score"]
    assert result.node.excluded_llm_metadata_keys == ["relevance_score"]
    assert node.excluded_embed_metadata_keys == []


def test_without_a_score_key_nodes_stay_as_they_are() -> None:
    node = TextNode(text="tea", metadata={"title": "On tea"})
    (result,) = RerankPostprocessor(scorer=OverlapScorer(), score_key=None).postprocess_nodes(
        [NodeWithScore(node=node, score=0.1)], query_str="tea"
    )
    assert result.node == node
    assert result.score == 1.0


def test_an_unscored_node_loses_its_first_stage_score() -> None:
    image = NodeWithScore(node=ImageNode(image_url="http://x/y.png"), score=0.99)
    text = NodeWithScore(node=TextNode(text="tea"), score=0.1)
    results = RerankPostprocessor(scorer=OverlapScorer()).postprocess_nodes(
        [image, text], query_str="tea"
    )
    assert [(type(n.node), n.score) for n in results] == [(TextNode, 1.0), (ImageNode, None)]
    assert image.score == 0.99


def test_the_same_node_twice_gets_two_copies() -> None:
    node = NodeWithScore(node=TextNode(text="tea"))
    first, second = RerankPostprocessor(scorer=OverlapScorer()).postprocess_nodes(
        [node, node], query_str="tea"
    )
    assert first is not second
    assert first.node.metadata is not second.node.metadata


def test_a_blend_takes_first_stage_scores_from_the_nodes() -> None:
    scorer = ScriptedScorer({"a": 1.0, "b": 0.9, "c": 0.0})
    priors = {"a": 0.1, "b": 0.9, "c": 0.0}
    nodes = [NodeWithScore(node=TextNode(text=t), score=p) for t, p in priors.items()]
    results = RerankPostprocessor(scorer=scorer, blend="minmax").postprocess_nodes(
        nodes, query_str="q"
    )
    assert [node.text for node in results] == ["b", "a", "c"]
    nodes[1].score = None
    with pytest.raises(InvalidInputError, match=r"prior\[1\] is missing"):
        RerankPostprocessor(scorer=scorer, blend="minmax").postprocess_nodes(nodes, query_str="q")


def test_without_a_blend_odd_first_stage_scores_do_not_matter() -> None:
    node = NodeWithScore(node=TextNode(text="tea"), score=float("nan"))
    (result,) = RerankPostprocessor(scorer=OverlapScorer()).postprocess_nodes(
        [node], query_str="tea"
    )
    assert result.score == 1.0


@pytest.mark.parametrize("bundle", [None, "a plain string"])
async def test_a_missing_query_is_an_error_that_says_so(bundle: Any) -> None:
    postprocessor = RerankPostprocessor(scorer=OverlapScorer())
    nodes = [NodeWithScore(node=TextNode(text="tea"))]
    with pytest.raises(InvalidInputError, match="needs the query: pass query_str"):
        postprocessor.postprocess_nodes(nodes, bundle)
    with pytest.raises(InvalidInputError, match="needs the query: pass query_str"):
        await postprocessor.apostprocess_nodes(nodes, bundle)


def test_a_query_bundle_will_do() -> None:
    scorer = OverlapScorer()
    RerankPostprocessor(scorer=scorer).postprocess_nodes(
        [NodeWithScore(node=TextNode(text="tea"))], QueryBundle("tea", embedding=[1.0])
    )
    assert scorer.calls == [("tea", ("tea",))]


def test_callback_handlers_are_not_written() -> None:
    manager = CallbackManager([LlamaDebugHandler(print_trace_on_end=False)])
    postprocessor = RerankPostprocessor(scorer=OverlapScorer(), callback_manager=manager)
    assert postprocessor.callback_manager is manager
    assert "callback_manager" not in postprocessor.to_dict()
    assert postprocessor.__getstate__()["__dict__"].keys() == {
        *type(postprocessor).model_fields
    } - {"callback_manager"}


def test_json_round_trip() -> None:
    postprocessor = RerankPostprocessor(top_n=3, blend="rrf")
    again = RerankPostprocessor.from_json(postprocessor.to_json(), top_n=2)
    assert again.to_dict() == {**postprocessor.to_dict(), "top_n": 2}


def test_another_class_name_is_refused() -> None:
    with pytest.raises(ValueError, match="class_name"):
        RerankPostprocessor(class_name="LLMRerank")  # type: ignore[call-arg]


def test_a_node_that_came_twice_is_kept_once_if_asked_for() -> None:
    nodes = [
        NodeWithScore(node=TextNode(text=text, id_=identity), score=0.5)
        for text, identity in (("tea", "1"), ("green tea", "2"), ("tea", "1"))
    ]
    for options, expected in ({}, ["2", "1", "1"]), ({"distinct_ids": True}, ["2", "1"]):
        postprocessor = RerankPostprocessor(scorer=OverlapScorer(), **options)  # type: ignore[arg-type]
        best = postprocessor.postprocess_nodes(nodes, query_str="green tea")
        assert [node.node.node_id for node in best] == expected
