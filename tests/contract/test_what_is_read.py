"""Which text both adapters score: `rank_fields` and `text_key`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from pydantic import ValidationError

from llamaindex_rerank import RerankPostprocessor
from rerank_core import InvalidInputError, Windowed, load_scorer
from rerank_core.testing import OverlapScorer
from support.adapters import BOTH, Harness, LangChain, LlamaIndex

METADATA: dict[str, Any] = {
    "title": "Drinks",
    "year": 1999,
    "none": None,
    "window": "hot green tea",
}


class Mute:
    def __str__(self) -> str:
        raise RuntimeError


def an_input(harness: Harness, text: str, metadata: dict[str, Any]) -> Any:
    """Return a document or node without a template's leave: metadata are not excluded."""
    if isinstance(harness, LangChain):
        return Document(text, metadata=metadata)
    return NodeWithScore(node=TextNode(text=text, metadata=metadata), score=0.5)


def read(harness: Harness, text: str, metadata: dict[str, Any], **arguments: Any) -> str:
    scorer = OverlapScorer()
    (result,) = harness.results(
        harness.run(
            harness.make(scorer=scorer, **arguments), "tea", [an_input(harness, text, metadata)]
        )
    )
    assert result.text == text
    ((_, (scored,)),) = scorer.calls
    return scored


@pytest.mark.parametrize("harness", BOTH)
@pytest.mark.parametrize(
    ("metadata", "fields", "scored"),
    [
        (METADATA, ["title"], "title: Drinks\n\ntea"),
        (METADATA, ("year", "title"), "year: 1999\ntitle: Drinks\n\ntea"),
        (METADATA, ["missing", "title", "none"], "title: Drinks\n\ntea"),
        (METADATA, ["missing"], "tea"),
        ({"title": " \n"}, ["title"], "tea"),
        ({"title": "two\n\nlines"}, ["title"], "title: two lines\n\ntea"),
        ({"title": Mute(), "ok": False}, ["title", "ok"], "ok: False\n\ntea"),
        ({"tags": ["a", "b"]}, ["tags"], "tags: ['a', 'b']\n\ntea"),
        ({"n": b"x" * 5000}, ["n"], "n: b'" + "x" * 998 + "\n\ntea"),
    ],
)
def test_fields_are_read_before_the_text_in_order(
    harness: Harness, metadata: dict[str, Any], fields: Any, scored: str
) -> None:
    assert read(harness, "tea", metadata, rank_fields=fields) == scored


@pytest.mark.parametrize("harness", BOTH)
def test_fields_alone_are_scored_where_there_is_no_text(harness: Harness) -> None:
    assert read(harness, "", METADATA, rank_fields=["title"]) == "title: Drinks"


@pytest.mark.parametrize("harness", BOTH)
def test_one_text_is_scored_and_another_kept(harness: Harness) -> None:
    arguments = {"text_key": "window", "rank_fields": ["title"]}
    assert read(harness, "tea", METADATA, **arguments) == "title: Drinks\n\nhot green tea"
    for metadata in ({}, {"window": None}, {"window": " "}):
        assert read(harness, "tea", metadata, text_key="window") == "tea"


@pytest.mark.parametrize("harness", BOTH)
@pytest.mark.parametrize("value", [3, b"tea", ["tea"]])
def test_a_text_that_is_none_is_refused(harness: Harness, value: object) -> None:
    with pytest.raises(InvalidInputError, match="text_key names 'window', whose value must be a"):
        read(harness, "tea", {"window": value}, text_key="window")


def test_a_nodes_template_is_kept_around_another_text() -> None:
    harness = LlamaIndex()
    metadata = {"title": "Drinks", "window": "hot green tea"}
    assert read(harness, "tea", metadata, text_key="window") == "title: Drinks\n\nhot green tea"
    alone = read(harness, "tea", metadata, text_key="window", metadata_mode="none")
    assert alone == "hot green tea"


@pytest.mark.parametrize("harness", BOTH)
def test_both_read_the_same(harness: Harness) -> None:
    texts = ("black coffee", "green tea", "green paint")
    scorer = load_scorer("nano")
    adapter = harness.make(scorer=scorer, rank_fields=["title"])
    inputs = [an_input(harness, text, {"title": "Drinks", "path": "/x"}) for text in texts]
    results = harness.results(harness.run(adapter, "tea", inputs))
    expected = scorer.score("tea", [f"title: Drinks\n\n{result.text}" for result in results])
    assert [result.score for result in results] == pytest.approx([*expected.scores], abs=1e-6)


TEXT = "It rained. " * 8 + "Green tea is hot. " + "It rained. " * 8


def passages(harness: Harness, text: str, metadata: dict[str, Any], **arguments: Any) -> Any:
    scorer = Windowed(OverlapScorer(), tokens=6, stride=3)
    adapter = harness.make(scorer=scorer, span_key="where", **arguments)
    (result,) = harness.results(
        harness.run(adapter, "green tea", [an_input(harness, text, metadata)])
    )
    return result.metadata.get("where")


@pytest.mark.parametrize("harness", BOTH)
def test_passages_count_in_the_documents_own_text(harness: Harness) -> None:
    metadata = {"title": "A wet day, and another one, and a third"}
    found = passages(harness, TEXT, metadata, rank_fields=["title"])
    assert "tea" in TEXT[found[0]["start"] : found[0]["end"]]
    assert all(0 <= place["start"] < place["end"] <= len(TEXT) for place in found)


@pytest.mark.parametrize("harness", BOTH)
def test_a_passage_that_lies_in_the_fields_is_left_out(harness: Harness) -> None:
    metadata = {"title": "Green tea and green tea"}
    found = passages(harness, "Rain.", metadata, rank_fields=["title"]) or []
    assert all(place["start"] < place["end"] <= len("Rain.") for place in found)


@pytest.mark.parametrize("harness", BOTH)
@pytest.mark.parametrize("more", [{}, {"rank_fields": ["title"]}])
def test_passages_of_another_text_are_not_given(harness: Harness, more: dict[str, Any]) -> None:
    metadata = {"title": "A day", "window": TEXT + "More."}
    assert passages(harness, TEXT, metadata, text_key="window", **more) is None
    found = passages(harness, TEXT, {"title": "A day", "window": TEXT}, text_key="window", **more)
    assert "tea" in TEXT[found[0]["start"] : found[0]["end"]]


@pytest.mark.parametrize("harness", BOTH)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank_fields": "title"}, r"rank_fields must be a list of metadata keys.*'title'"),
        ({"rank_fields": {"title"}}, "rank_fields must be a list"),
        ({"rank_fields": []}, "rank_fields is empty"),
        ({"rank_fields": ["a", "b", "a"]}, "rank_fields has 'a' twice"),
        ({"rank_fields": ["a", ""]}, r"rank_fields\[1\] must be the name"),
        ({"rank_fields": [1]}, r"rank_fields\[0\] must be the name"),
        ({"rank_fields": ["relevance_score"]}, "rank_fields reads .*, which score_key writes"),
        ({"text_key": "where", "span_key": "where"}, "text_key reads 'where', which span_key"),
        ({"text_key": ""}, "text_key must be None or the name of a metadata key"),
        ({"text_key": ["a"]}, "text_key must be None or the name of a metadata key"),
    ],
)
def test_a_wrong_choice_is_refused_and_named(
    harness: Harness, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        harness.make(**arguments)


@pytest.mark.parametrize("mode", [*MetadataMode, "embed"])
def test_fields_and_a_metadata_mode_are_refused_together(mode: Any) -> None:
    with pytest.raises(ValidationError, match="rank_fields and metadata_mode both choose"):
        RerankPostprocessor(rank_fields=["title"], metadata_mode=mode)


def test_the_choice_can_be_changed() -> None:
    scorer = OverlapScorer()
    postprocessor = RerankPostprocessor(scorer=scorer)
    node = NodeWithScore(node=TextNode(text="tea", metadata={"title": "Drinks", "year": 1999}))
    postprocessor.metadata_mode = None
    postprocessor.postprocess_nodes([node], query_str="tea")
    postprocessor.rank_fields = ["title"]
    postprocessor.postprocess_nodes([node], query_str="tea")
    assert [texts for _, texts in scorer.calls] == [
        ("title: Drinks\nyear: 1999\n\ntea",),
        ("title: Drinks\n\ntea",),
    ]


@pytest.mark.parametrize("harness", BOTH)
def test_the_choice_is_written_and_read_again(harness: Harness) -> None:
    made = harness.make(scorer="nano", rank_fields=("title", "year"), text_key="window")
    written = made.to_dict()
    assert written["rank_fields"] == ["title", "year"]
    again = harness.adapter.from_dict(json.loads(json.dumps(written)))
    assert again.to_dict() == written
    assert (again.rank_fields, again.text_key) == (["title", "year"], "window")
