"""`RerankRetriever`: over-fetching, one call's `k`, traces, serialisation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_classic.retrievers import EnsembleRetriever, MultiVectorRetriever
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.load import dumps
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from langchain_rerank import RerankCompressor, RerankRetriever
from rerank_core import ConfigurationError, InvalidInputError, load_scorer
from rerank_core.testing import OverlapScorer
from support.langchain import Recorder, revive

if TYPE_CHECKING:
    from langchain_community.vectorstores import FAISS

QUERY = "how brew green tea"


class Numbers(BaseRetriever):
    """Gives the first `k` of many documents."""

    k: int = 4

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return numbered(self.k)


class ByArgument(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int = 4
    ) -> list[Document]:
        return numbered(k)


class Fixed(BaseRetriever):
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return numbered(7)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True


def numbered(count: int) -> list[Document]:
    return [Document(f"number {n}") for n in range(count)]


def candidates(base: Any, **arguments: Any) -> int:
    """Return the number of candidates that a retriever over this base scores."""
    scorer = OverlapScorer()
    RerankRetriever(base_retriever=base, scorer=scorer, **arguments).invoke("number 3")
    ((_, texts),) = scorer.calls
    return len(texts)


async def test_the_best_come_back_sync_and_async(store: FAISS) -> None:
    retriever = RerankRetriever(base_retriever=store.as_retriever(), scorer=OverlapScorer(), k=2)
    results = retriever.invoke(QUERY)
    assert [(d.id, d.metadata["relevance_score"]) for d in results] == [
        ("id-4", 1.0),
        ("id-2", 0.5),
    ]
    assert await retriever.ainvoke(QUERY) == results
    assert retriever.batch([QUERY, QUERY]) == [results, results]
    assert await retriever.abatch([QUERY], k=1) == [results[:1]]


async def test_k_of_a_call_beats_the_retrievers_and_that_the_compressors(store: FAISS) -> None:
    base = store.as_retriever()
    compressor = RerankCompressor(scorer=OverlapScorer(), top_n=4)
    assert len(RerankRetriever(base_retriever=base, compressor=compressor).invoke(QUERY)) == 4
    retriever = RerankRetriever(base_retriever=base, compressor=compressor, k=3)
    assert len(retriever.invoke(QUERY)) == 3
    assert len(retriever.invoke(QUERY, k=6)) == 6
    assert len(await retriever.ainvoke(QUERY, k=1)) == 1
    assert (retriever.k, compressor.top_n) == (3, 4)


@pytest.mark.parametrize("base", [Numbers(), ByArgument()], ids=["field", "argument"])
def test_a_base_is_asked_for_many(base: BaseRetriever) -> None:
    before = repr(base)
    assert candidates(base) == 50
    assert candidates(base, fetch_k=9) == 9
    assert candidates(base, fetch_k=9, k=11) == 11
    assert candidates(base, k=60) == 60
    assert repr(base) == before


def test_a_number_the_user_gave_the_base_holds_unless_there_is_another(store: FAISS) -> None:
    assert candidates(Numbers(k=8)) == 8
    assert candidates(Numbers(k=8), fetch_k=30) == 30
    assert candidates(store.as_retriever()) == 6  # all there are, not the store's default of 4
    retriever = store.as_retriever(search_kwargs={"k": 3, "filter": None})
    assert candidates(retriever, k=2) == 3
    assert candidates(retriever, fetch_k=5) == 5
    assert retriever.search_kwargs == {"k": 3, "filter": None}


def test_maximal_marginal_relevance_has_enough_to_choose_from() -> None:
    texts = [f"number {n}" for n in range(40)]
    store = InMemoryVectorStore.from_texts(texts, DeterministicFakeEmbedding(size=4))
    assert candidates(store.as_retriever(search_type="mmr"), fetch_k=30) == 30


def test_a_multi_vector_retriever_is_asked_for_many(store: FAISS) -> None:
    parents = InMemoryStore()
    parents.mset([(f"id-{n}", page) for n, page in enumerate(numbered(6))])
    for doc_id, document in store.docstore._dict.items():  # type: ignore[attr-defined]
        document.metadata["parent"] = doc_id
    base = MultiVectorRetriever(vectorstore=store, docstore=parents, id_key="parent")
    assert candidates(base) == 6  # all there are, not the store's default of 4
    assert candidates(base, fetch_k=5) == 5
    assert base.search_kwargs == {}


def test_any_other_base_gives_what_it_gives() -> None:
    assert candidates(Fixed(), fetch_k=3) == 7
    assert candidates(RunnableLambda(lambda _: numbered(9)), fetch_k=3) == 9
    assert candidates(RerankRetriever(base_retriever=Fixed(), k=6, scorer=OverlapScorer())) == 6


async def test_over_an_ensemble(store: FAISS) -> None:
    ensemble = EnsembleRetriever(
        retrievers=[store.as_retriever(search_kwargs={"k": 6}), Numbers()], weights=[0.5, 0.5]
    )
    retriever = RerankRetriever(base_retriever=ensemble, scorer=OverlapScorer(), k=1)
    assert [document.id for document in retriever.invoke(QUERY)] == ["id-4"]
    assert [document.id for document in await retriever.ainvoke(QUERY)] == ["id-4"]


def test_the_store_is_not_poisoned(store: FAISS) -> None:
    kept: dict[str, Document] = store.docstore._dict  # type: ignore[attr-defined]
    before = {doc_id: document.model_copy(deep=True) for doc_id, document in kept.items()}
    retriever = RerankRetriever(base_retriever=store.as_retriever(), scorer=OverlapScorer())
    for document in retriever.invoke(QUERY):
        document.metadata["source"]["page"] = "changed"
    assert kept == before


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_both_stages_are_children_of_the_call(how: str, store: FAISS) -> None:
    retriever = RerankRetriever(
        base_retriever=store.as_retriever(), scorer=OverlapScorer(), k=1, tags=["mine"]
    )
    recorder = Recorder()
    if how == "sync":
        results = retriever.invoke(QUERY, {"callbacks": [recorder]})
    else:
        results = await retriever.ainvoke(QUERY, {"callbacks": [recorder]})
    (root,) = recorder.roots
    assert (root.name, root.run_type, root.tags) == ("RerankRetriever", "retriever", ["mine"])
    assert root.outputs == {"documents": results}
    assert [(run.name, run.run_type) for run in root.child_runs] == [
        ("VectorStoreRetriever", "retriever"),
        ("RerankCompressor", "chain"),
    ]


def test_a_blank_query_or_a_wrong_k_is_refused_before_anything_is_retrieved() -> None:
    def fail(_: str) -> list[Document]:
        raise AssertionError("the base was asked")

    retriever = RerankRetriever(base_retriever=RunnableLambda(fail), scorer=OverlapScorer())
    with pytest.raises(InvalidInputError, match="query is blank"):
        retriever.invoke(" ")
    with pytest.raises(InvalidInputError, match="k must be"):
        retriever.invoke("tea", k=0)
    with pytest.raises(TypeError, match="top_k"):
        retriever.invoke("tea", top_k=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be a whole number"),
        ({"fetch_k": -1}, "fetch_k must be a whole number"),
        ({"fetch_k": "9"}, "fetch_k must be a whole number"),
        ({"topk": 3}, "topk"),
        ({"min_score": "high"}, "min_score must be"),
        ({"top_n": 3}, "is called k"),
        ({"compressor": RerankCompressor(), "scorer": "nano"}, "scorer: arguments of the compress"),
        ({"compressor": "nano"}, "compressor"),
        ({"base_retriever": "no retriever"}, "base_retriever"),
    ],
)
def test_a_wrong_argument_is_refused_and_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValidationError, ConfigurationError), match=message):
        RerankRetriever(**{"base_retriever": Fixed(), **arguments})


def test_an_assignment_is_checked_too() -> None:
    retriever = RerankRetriever(base_retriever=Fixed())
    with pytest.raises(ValidationError, match="k must be"):
        retriever.k = 0


def test_k_can_be_a_configurable_field() -> None:
    retriever = RerankRetriever(base_retriever=Fixed(), scorer=OverlapScorer(), k=3)
    configurable = retriever.configurable_fields(k=ConfigurableField(id="k"))
    assert len(configurable.invoke("number 3")) == 3
    assert len(configurable.invoke("number 3", {"configurable": {"k": 1}})) == 1


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_dumps_and_loads_keep_everything() -> None:
    retriever = RerankRetriever(
        base_retriever=Fixed(), scorer=load_scorer("nano"), k=2, fetch_k=30, blend="rrf"
    )
    text = dumps(retriever)
    again = revive(text, RerankRetriever, RerankCompressor, Fixed)
    assert isinstance(again, RerankRetriever)
    assert json.loads(dumps(again)) == json.loads(text)
    assert (again.k, again.fetch_k, type(again.base_retriever)) == (2, 30, Fixed)
    assert again.compressor.to_dict() == retriever.compressor.to_dict()


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_a_base_that_cannot_be_written_cannot_be_loaded(store: FAISS) -> None:
    text = dumps(RerankRetriever(base_retriever=store.as_retriever()))
    with pytest.raises(NotImplementedError, match="VectorStoreRetriever"):
        revive(text, RerankRetriever, RerankCompressor)
