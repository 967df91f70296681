"""Relevant passages: offsets into the node's own text, whatever was scored with it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import Document, MetadataMode, Node, NodeWithScore, TextNode

from llamaindex_rerank import RerankPostprocessor
from llamaindex_rerank._spans import text_start
from rerank_core import Span, Windowed
from rerank_core._metadata import shift_spans
from rerank_core.testing import OverlapScorer

FILLER = "the bus is late and the road is long . " * 3
PASSAGE = "steep green tea for three minutes"
TEXT = f"{FILLER}{PASSAGE} {FILLER}"
TEMPLATES = (
    "{metadata_str}\n\n{content}",
    "{content}\n\n{metadata_str}",
    "<<{metadata_str}|{content}>> {metadata_str}",
)


def best_passage(node: Any, **arguments: Any) -> Any:
    postprocessor = RerankPostprocessor(
        scorer=Windowed(OverlapScorer(), tokens=6, stride=1), span_key="where", **arguments
    )
    (result,) = postprocessor.postprocess_nodes(
        [NodeWithScore(node=node)], query_str="steep green tea for three minutes"
    )
    return [(passage["start"], passage["end"]) for passage in result.metadata.get("where", [])]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("mode", [*MetadataMode])
@pytest.mark.parametrize("kind", [TextNode, Node, Document])
def test_the_span_is_that_of_the_nodes_own_text(
    kind: type[Any], mode: MetadataMode, template: str
) -> None:
    given_text = {"text": TEXT} if kind is TextNode else {"text_resource": {"text": TEXT}}
    node = kind(**given_text, metadata={"title": "late bus {content}"}, text_template=template)
    (start, end), *_ = best_passage(node, metadata_mode=mode)
    assert TEXT[start:end] == PASSAGE


def test_a_best_passage_within_the_metadata_has_no_place_in_the_text() -> None:
    found = best_passage(TextNode(text=FILLER, metadata={"title": PASSAGE}))
    assert all(0 <= start < end <= len(FILLER) for start, end in found)
    assert best_passage(TextNode(text="", metadata={"title": PASSAGE})) == []


def test_scorers_that_know_no_passage_write_none() -> None:
    node = NodeWithScore(node=TextNode(text=TEXT, metadata={"where": [0, 1]}))
    (result,) = RerankPostprocessor(scorer=OverlapScorer(), span_key="where").postprocess_nodes(
        [node], query_str="tea"
    )
    assert "where" not in result.metadata


class Shouting(TextNode):
    """A node that changes its text on the way to a model."""

    def get_content(self, metadata_mode: MetadataMode = MetadataMode.NONE) -> str:
        content = super().get_content(metadata_mode)
        return content if metadata_mode is MetadataMode.NONE else content.upper()


def test_a_text_that_was_changed_for_the_model_has_no_known_place() -> None:
    node = Shouting(text="green tea", extra_info={"title": "Drinks"})
    scored = node.get_content(MetadataMode.EMBED)
    assert text_start(node, scored, MetadataMode.EMBED) is None


words = st.text(" \nab{}", max_size=6)


@given(text=words, title=words, template=st.sampled_from(TEMPLATES), data=st.data())
def test_what_is_found_reads_the_same(text: str, title: str, template: str, data: Any) -> None:
    node = TextNode(text=text, metadata={"title": title}, text_template=template)
    scored = node.get_content(MetadataMode.EMBED)
    before = text_start(node, scored, MetadataMode.EMBED)
    if before is None:
        assert not text.strip()
        return
    if text.strip():
        (whole,) = shift_spans([Span(0, len(scored), 0.5)], before, len(text))
        assert whole.score == 0.5
        assert text[whole.start : whole.end].strip() == text.strip()
    start = data.draw(st.integers(0, len(scored)))
    span = Span(start, data.draw(st.integers(start, len(scored))))
    for place in shift_spans([span], before, len(text)):
        passage = text[place.start : place.end]
        assert passage
        assert passage.strip() in scored[span.start : span.end]
