"""Every option of the compressor reaches all that are made from one."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError
from typer.core import TyperGroup
from typer.main import get_command

from langchain_rerank import RerankCompressor, RerankRetriever, RerankRunnable
from langchain_rerank._compressor import CompressorOptions
from langchain_rerank.middleware import RerankMiddleware
from rerank_core import Blend, ConfigurationError, Excerpt
from rerank_core.cli._app import app
from rerank_core.testing import OverlapScorer

OPTIONS: dict[str, Any] = {
    "scorer": OverlapScorer(),
    "depth": 7,
    "top_n": 3,
    "min_score": 0.25,
    "blend": "rrf:0.3",
    "max_tokens": 100,
    "count_tokens": len,
    "trim": (Excerpt(drop=0.25),),
    "score_key": "mine",
    "span_key": "passages",
    "trim_key": "cut",
    "rank_fields": ["title", "year"],
    "text_key": "window",
    "prior_key": "first",
    "distinct_ids": True,
}


def from_retriever(**options: Any) -> RerankCompressor:
    if "top_n" in options:
        options["k"] = options.pop("top_n")
    base: RunnableLambda[str, list[Document]] = RunnableLambda(lambda query: [Document(query)])
    retriever = RerankRetriever(base_retriever=base, **options)
    _, _, compressor = retriever._prepare("query", None)
    return compressor


def from_runnable(**options: Any) -> RerankCompressor:
    return RerankRunnable(**options).compressor


def from_middleware(**options: Any) -> RerankCompressor:
    return RerankMiddleware(**options)._compressor


MADE_BY = (RerankCompressor, from_retriever, from_runnable, from_middleware)


def test_all_options_are_tried() -> None:
    assert {*OPTIONS} == {*RerankCompressor.model_fields} == {*get_type_hints(CompressorOptions)}


@pytest.mark.parametrize("make", MADE_BY)
@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_reaches_the_compressor(name: str, make: Any) -> None:
    compressor = make(**{name: OPTIONS[name]})
    expected = Blend("rrf", 0.3) if name == "blend" else OPTIONS[name]
    assert getattr(compressor, name) == expected


# A record's fields are all that there is: --text-field names the one to read.
@pytest.mark.parametrize("name", OPTIONS.keys() - {"rank_fields", "text_key", "trim_key"})
def test_an_option_is_one_of_the_command_line(name: str) -> None:
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    assert name in {parameter.name for parameter in command.commands["rank"].params}


@pytest.mark.parametrize("make", MADE_BY)
def test_an_unknown_option_is_refused_everywhere(make: Any) -> None:
    with pytest.raises(ValidationError, match="'min_scor'; did you mean 'min_score'"):
        make(min_scor=0.5)


@pytest.mark.parametrize("make", [from_runnable, from_middleware])
def test_options_beside_a_compressor_are_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="depth: arguments of the compressor"):
        make(compressor=RerankCompressor(), depth=3)


def test_a_retriever_keeps_each_id_once_unless_told_otherwise() -> None:
    found = [
        Document("tea", id="1"),
        Document("green tea", id="2"),
        Document("tea, again", id="1"),
        Document("no id"),
        Document("no id"),
    ]
    base: RunnableLambda[str, list[Document]] = RunnableLambda(lambda _: found)
    options: dict[str, Any] = {"base_retriever": base, "scorer": OverlapScorer(), "k": 10}
    best = RerankRetriever(**options).invoke("green tea")
    assert [document.page_content for document in best] == ["green tea", "tea", "no id", "no id"]
    assert len(RerankRetriever(**options, distinct_ids=False).invoke("green tea")) == 5
    assert len(RerankCompressor(scorer=OverlapScorer()).compress_documents(found, "tea")) == 5


def test_depth_is_how_many_a_retriever_asks_for() -> None:
    store = InMemoryVectorStore.from_texts(
        [f"text {i}" for i in range(30)], DeterministicFakeEmbedding(size=4)
    )
    scorer = OverlapScorer()
    retriever = RerankRetriever(base_retriever=store.as_retriever(), scorer=scorer, depth=20, k=2)
    assert len(retriever.invoke("text 1")) == 2
    assert len(scorer.calls[0][1]) == 20
    wide = RerankRetriever(
        base_retriever=store.as_retriever(), scorer=scorer, depth=5, fetch_k=20, k=15
    )
    assert len(wide.invoke("text 1")) == 15
    assert len(scorer.calls[1][1]) == 5
