"""Which text is scored, and that nothing this package writes ever gets into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from pydantic import ValidationError

from langchain_rerank import RerankCompressor
from llamaindex_rerank import RerankPostprocessor
from rerank_core import Windowed, load_scorer
from rerank_core.testing import OverlapScorer

QUERY = "green tea"
OWN_KEYS = ("relevance_score", "retrieval_score", "where")


def make(**arguments: Any) -> RerankPostprocessor:
    return RerankPostprocessor(**{"scorer": OverlapScorer(), "top_n": None, **arguments})


def run(postprocessor: RerankPostprocessor, *nodes: NodeWithScore) -> list[NodeWithScore]:
    return postprocessor.postprocess_nodes([*nodes], query_str=QUERY)


def titled(text: str, score: float | None = None, **metadata: Any) -> NodeWithScore:
    node = TextNode(
        text=text,
        metadata={"title": "Drinks", "path": "/x", "year": 1999, **metadata},
        excluded_embed_metadata_keys=["path"],
        excluded_llm_metadata_keys=["year"],
    )
    return NodeWithScore(node=node, score=score)


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (MetadataMode.EMBED, "title: Drinks\nyear: 1999\n\ntea"),
        (MetadataMode.LLM, "title: Drinks\npath: /x\n\ntea"),
        (MetadataMode.ALL, "title: Drinks\npath: /x\nyear: 1999\n\ntea"),
        (MetadataMode.NONE, "tea"),
        ("none", "tea"),
    ],
)
def test_the_metadata_mode_chooses_what_is_scored(mode: Any, text: str) -> None:
    scorer = OverlapScorer()
    run(make(scorer=scorer, metadata_mode=mode), titled("tea"))
    assert scorer.calls == [(QUERY, (text,))]


def test_the_text_for_embedding_models_is_the_default() -> None:
    assert make().metadata_mode is MetadataMode.EMBED


def test_a_metadata_mode_is_written_plainly() -> None:
    written = make(scorer="nano", metadata_mode="llm", span_key="where").to_dict()
    assert type(written["metadata_mode"]) is str
    again = RerankPostprocessor.from_dict(json.loads(json.dumps(written)))
    assert again.metadata_mode is MetadataMode.LLM
    assert again.to_dict() == written


def test_without_metadata_the_order_is_that_of_documents_of_the_same_text() -> None:
    texts = ("black coffee", "green tea", "green paint", "brew tea", "milk")
    scorer = load_scorer("nano")
    documents = [Document(text, metadata={"title": "tea", "n": n}) for n, text in enumerate(texts)]
    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata={"title": "tea", "n": n}))
        for n, text in enumerate(texts)
    ]
    kept = RerankCompressor(scorer=scorer, top_n=3).compress_documents(documents, QUERY)
    results = run(make(scorer=scorer, top_n=3, metadata_mode="none"), *nodes)
    assert [(d.metadata["n"], d.metadata["relevance_score"]) for d in kept] == [
        (node.metadata["n"], node.score) for node in results
    ]


@pytest.mark.parametrize("mode", [*MetadataMode])
def test_own_keys_are_never_scored(mode: MetadataMode) -> None:
    scorer = OverlapScorer()
    postprocessor = make(
        scorer=Windowed(scorer, tokens=64),
        span_key="where",
        keep_retrieval_score=True,
        metadata_mode=mode,
    )
    (once,) = run(postprocessor, titled("tea", 0.25))
    assert {*OWN_KEYS} <= {*once.metadata}
    (twice,) = run(postprocessor, once)
    assert twice.metadata["retrieval_score"] == once.score == 0.5
    assert scorer.calls[0] == scorer.calls[1]
    assert not any(key in text for key in OWN_KEYS for _, (text,) in scorer.calls)


def test_own_keys_reach_neither_embedding_models_nor_llms() -> None:
    given = titled("tea", 0.25)
    postprocessor = make(
        scorer=Windowed(OverlapScorer()), span_key="where", keep_retrieval_score=True
    )
    (result,) = run(postprocessor, given)
    assert {key: result.metadata[key] for key in OWN_KEYS} == {
        "relevance_score": 0.5,
        "retrieval_score": 0.25,
        "where": [{"start": 0, "end": 3, "score": 0.5}],
    }
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert result.get_content(mode) == given.get_content(mode)
    assert not {*OWN_KEYS} & {*given.metadata}
    assert given.node.excluded_llm_metadata_keys == ["year"]


def test_the_retrieval_score_is_kept_only_if_asked_for() -> None:
    (result,) = run(make(), titled("tea", 0.25))
    assert "retrieval_score" not in result.metadata
    assert "retrieval_score" not in result.node.excluded_llm_metadata_keys


def test_a_node_without_a_retrieval_score_gets_none_and_keeps_no_old_one() -> None:
    (result,) = run(make(keep_retrieval_score=True), titled("tea", None, retrieval_score=9.0))
    assert "retrieval_score" not in result.metadata


def test_an_unscored_node_keeps_its_retrieval_score_and_has_no_span() -> None:
    blank = NodeWithScore(node=TextNode(text="", metadata={"where": [1, 2]}), score=0.75)
    scorer = Windowed(OverlapScorer())
    (result,) = run(make(scorer=scorer, keep_retrieval_score=True, span_key="where"), blank)
    assert result.score is None
    assert result.metadata == {"retrieval_score": 0.75}


@pytest.mark.parametrize(
    "arguments",
    [
        {"span_key": "relevance_score"},
        {"span_key": "same", "score_key": "same"},
        {"span_key": "retrieval_score", "keep_retrieval_score": True},
        {"score_key": "retrieval_score", "keep_retrieval_score": True},
    ],
)
def test_two_uses_of_one_key_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give each a key of its own"):
        make(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"span_key": ""}, "span_key must be None or the name of a metadata key"),
        ({"metadata_mode": "text"}, "metadata_mode\n.*'all', 'embed', 'llm' or 'none'"),
        ({"keep_retrieval_score": "score"}, "keep_retrieval_score\n.*valid boolean"),
    ],
)
def test_a_wrong_choice_is_refused_and_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**arguments)
