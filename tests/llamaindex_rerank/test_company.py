"""The postprocessor beside LlamaIndex's workflows, window and merging retrieval, and images."""

from __future__ import annotations

import re
from typing import Any

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    NodeParser,
    SentenceSplitter,
    SentenceWindowNodeParser,
    get_leaf_nodes,
)
from llama_index.core.postprocessor import MetadataReplacementPostProcessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.retrievers import AutoMergingRetriever, VectorIndexRetriever
from llama_index.core.schema import ImageNode, IndexNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step

from llamaindex_rerank import RerankPostprocessor
from rerank_core.testing import OverlapScorer
from support.llamaindex import BEST, QUERY, HashingEmbedding, ScriptedLLM, found, make_index

SENTENCES = ("Tea is old.", "Brew green tea hot.", "Coffee is black.", "Paint is green.")


def best(top_n: int = 1, **arguments: Any) -> RerankPostprocessor:
    return RerankPostprocessor(**{"scorer": OverlapScorer(), "top_n": top_n, **arguments})


def split_sentences(text: str) -> list[str]:
    """Do without LlamaIndex's own splitter, for which some releases download data."""
    return re.findall(r"[^.]*\. *", text)


class Retrieved(Event):
    query: str
    nodes: list[NodeWithScore]


class Reranked(Event):
    nodes: list[NodeWithScore]


class Answering(Workflow):
    """Retrieve, rerank, answer: each a step."""

    def __init__(self, llm: ScriptedLLM) -> None:
        super().__init__(timeout=60)
        self.index = make_index()
        self.postprocessor = best(2)
        self.synthesizer = get_response_synthesizer(llm=llm, response_mode=ResponseMode.COMPACT)

    @step
    async def retrieve(self, event: StartEvent) -> Retrieved:
        nodes = await self.index.as_retriever(similarity_top_k=5).aretrieve(event.query)
        return Retrieved(query=event.query, nodes=nodes)

    @step
    async def rerank(self, event: Retrieved) -> Reranked:
        nodes = await self.postprocessor.apostprocess_nodes(event.nodes, query_str=event.query)
        return Reranked(nodes=nodes)

    @step
    async def answer(self, event: Reranked) -> StopEvent:
        return StopEvent(result=await self.synthesizer.asynthesize(QUERY, event.nodes))


async def test_in_a_workflow() -> None:
    llm = ScriptedLLM("steep it")
    response: Any = await Answering(llm).run(query=QUERY)
    assert str(response) == "steep it"
    assert found(response.source_nodes) == BEST
    assert "tea from china" not in llm.prompts[-1]


def window_engine(*postprocessors: Any, llm: ScriptedLLM) -> RetrieverQueryEngine:
    parser = SentenceWindowNodeParser.from_defaults(
        window_size=1, sentence_splitter=lambda text: [*map(str.strip, split_sentences(text))]
    )
    index = make_index(parser.get_nodes_from_documents([Document(text=" ".join(SENTENCES))]))
    return RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=4),
        llm=llm,
        node_postprocessors=[*postprocessors],
        response_mode=ResponseMode.COMPACT,
    )


def test_sentences_reranked_and_then_replaced_by_their_windows() -> None:
    llm, scorer = ScriptedLLM("hot"), OverlapScorer()
    engine = window_engine(best(scorer=scorer), MetadataReplacementPostProcessor("window"), llm=llm)
    (node,) = engine.query("brew green tea").source_nodes
    assert node.metadata["original_text"] == SENTENCES[1]
    assert node.text == " ".join(SENTENCES[:3])
    assert {*scorer.calls[0][1]} == {*SENTENCES}
    assert node.text in llm.prompts[-1]


def test_windows_put_in_place_and_then_reranked() -> None:
    llm, scorer = ScriptedLLM("hot"), OverlapScorer()
    engine = window_engine(MetadataReplacementPostProcessor("window"), best(scorer=scorer), llm=llm)
    (node,) = engine.query("coffee paint green is").source_nodes
    assert node.metadata["original_text"] in SENTENCES[2:]
    windows = {" ".join(SENTENCES[max(0, n - 1) : n + 2]) for n in range(4)}
    assert {*scorer.calls[0][1]} == windows


def test_after_an_auto_merging_retriever() -> None:
    documents = [
        Document(text="Green tea. " + "Brew green tea hot. " * 30, id_="tea"),
        Document(text="Paint. " + "White paint for walls. " * 30, id_="paint"),
    ]
    splitters: dict[str, NodeParser] = {
        str(size): SentenceSplitter(
            chunk_size=size, chunk_overlap=0, chunking_tokenizer_fn=split_sentences
        )
        for size in (64, 32)
    }
    nodes = HierarchicalNodeParser.from_defaults(
        node_parser_ids=[*splitters], node_parser_map=splitters
    ).get_nodes_from_documents(documents)
    store = SimpleDocumentStore()
    store.add_documents(nodes)
    before = {key: node.model_dump_json() for key, node in store.docs.items()}
    context = StorageContext.from_defaults(docstore=store)
    leaves = get_leaf_nodes(nodes)
    index = VectorStoreIndex(leaves, embed_model=HashingEmbedding(), storage_context=context)
    retriever = AutoMergingRetriever(
        VectorIndexRetriever(index, similarity_top_k=len(leaves)), storage_context=context
    )
    merged = retriever.retrieve("white paint")
    assert len(merged) < len(leaves)
    (kept,) = best().postprocess_nodes(merged, query_str="white paint")
    assert kept.score == 1.0
    assert kept.node.child_nodes  # a parent that the retriever put in its children's place
    assert kept.node.source_node is not None
    assert kept.node.source_node.node_id == "paint"
    assert {key: node.model_dump_json() for key, node in store.docs.items()} == before


def test_what_an_index_node_led_to() -> None:
    objects = [
        IndexNode(text="about green tea", index_id="tea", obj=TextNode(text="brew green tea")),
        IndexNode(text="about paint", index_id="paint", obj=TextNode(text="white paint")),
    ]
    index = VectorStoreIndex(objects=objects, embed_model=HashingEmbedding())
    nodes = index.as_retriever(similarity_top_k=2).retrieve("brew green tea")
    (node,) = best().postprocess_nodes(nodes, query_str="brew green tea")
    assert (node.text, node.score) == ("brew green tea", 1.0)


def test_an_index_node_keeps_what_it_leads_to() -> None:
    there = make_index().as_retriever()
    given = IndexNode(text="about green tea", index_id="tea", obj=there)
    (result,) = best().postprocess_nodes([NodeWithScore(node=given)], query_str="green tea")
    assert isinstance(result.node, IndexNode)
    assert result.node.obj is there


@pytest.mark.parametrize(
    ("given", "score"),
    [({}, None), ({"text": "green tea"}, 1.0), ({"metadata": {"caption": "green tea"}}, 1.0)],
)
def test_images_are_scored_by_their_text(given: dict[str, Any], score: float | None) -> None:
    image = ImageNode(image_url="http://x/y.png", **given)
    nodes = [NodeWithScore(node=TextNode(text="tea")), NodeWithScore(node=image, score=0.9)]
    results = best(2).postprocess_nodes(nodes, query_bundle=QueryBundle("green tea"))
    assert [type(node.node) for node in results] == (
        [ImageNode, TextNode] if score else [TextNode, ImageNode]
    )
    (kept,) = (node for node in results if isinstance(node.node, ImageNode))
    assert kept.score == score
    assert kept.node.model_dump()["image_url"] == "http://x/y.png"
