"""`RerankCompressor.as_runnable`: a step of a chain, with all that LangChain's Runnables have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough

from langchain_rerank import RerankCompressor, RerankRunnable
from rerank_core import (
    InvalidInputError,
    ServiceError,
    load_scorer,
)
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.langchain import Recorder, revive

if TYPE_CHECKING:
    from langchain_community.vectorstores import FAISS

DOCUMENTS = [Document("black coffee"), Document("green tea"), Document("tea")]
INPUT = {"query": "green tea", "documents": DOCUMENTS}
BEST = [
    Document("green tea", metadata={"relevance_score": 1.0}),
    Document("tea", metadata={"relevance_score": 0.5}),
]


def step(**arguments: Any) -> RerankRunnable:
    return RerankCompressor(**{"scorer": OverlapScorer(), "top_n": 2, **arguments}).as_runnable()


async def test_one_and_many_sync_and_async() -> None:
    coffee = {"query": "coffee", "documents": DOCUMENTS[:1]}
    other = [Document("black coffee", metadata={"relevance_score": 1.0})]
    assert step().invoke(INPUT) == BEST
    assert await step().ainvoke(INPUT) == BEST
    assert step().batch([INPUT, coffee]) == [BEST, other]
    assert await step().abatch([INPUT, coffee], {"max_concurrency": 1}) == [BEST, other]
    assert list(step().stream(INPUT)) == [BEST]
    assert [chunk async for chunk in step().astream(INPUT)] == [BEST]
    assert "relevance_score" not in DOCUMENTS[1].metadata


async def test_in_a_chain_from_the_question_to_the_best(store: FAISS) -> None:
    retriever = store.as_retriever(search_kwargs={"k": 5})
    chain = RunnableParallel(query=RunnablePassthrough(), documents=retriever) | step()
    results = chain.invoke("how brew green tea")
    assert [document.id for document in results] == ["id-4", "id-2"]
    assert await chain.ainvoke("how brew green tea") == results


def test_in_place_of_the_documents_of_a_larger_input() -> None:
    chain = RunnablePassthrough.assign(documents=step())
    assert chain.invoke({**INPUT, "history": ["hello"]}) == {
        "query": "green tea",
        "documents": BEST,
        "history": ["hello"],
    }


def test_beside_another_in_parallel() -> None:
    both = RunnableParallel(best=step(top_n=1), worst=step(top_n=None) | (lambda found: found[-1:]))
    found = both.invoke(INPUT)
    assert [document.page_content for document in found["best"]] == ["green tea"]
    assert [document.page_content for document in found["worst"]] == ["black coffee"]


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_call_is_one_run_with_what_the_config_says(how: str) -> None:
    recorder = Recorder()
    run_id = UUID(int=7)
    config: Any = {
        "callbacks": [recorder],
        "tags": ["mine"],
        "metadata": {"user": "u1"},
        "run_name": "second stage",
        "run_id": run_id,
    }
    if how == "sync":
        step().invoke(INPUT, config)
    else:
        await step().ainvoke(INPUT, config)
    (run,) = recorder.roots
    assert (run.name, run.id, run.run_type, run.child_runs) == ("second stage", run_id, "chain", [])
    assert run.tags == ["mine"]
    assert run.metadata["user"] == "u1"
    assert run.inputs == {"query": "green tea", "documents": DOCUMENTS}
    assert run.outputs is not None
    assert run.outputs["documents"] == BEST
    assert run.outputs["usage"]["pairs"] == 3


def test_in_a_chain_the_run_is_its_child() -> None:
    recorder = Recorder()

    def look_up(query: str) -> dict[str, Any]:
        return {**INPUT, "query": query}

    chain = RunnableLambda(look_up) | step()
    chain.with_config(callbacks=[recorder]).invoke("tea")
    (root,) = recorder.roots
    assert [run.name for run in root.child_runs] == ["look_up", "RerankRunnable"]


async def test_it_shows_in_astream_events() -> None:
    chain = step().with_config(tags=["mine"]) | RunnableLambda(len)
    events = [event async for event in chain.astream_events(INPUT, version="v2")]
    mine = [event for event in events if event["name"] == "RerankRunnable"]
    assert [event["event"] for event in mine] == ["on_chain_start", "on_chain_end"]
    assert "mine" in mine[0]["tags"]
    assert mine[1]["data"]["output"]["documents"] == BEST
    assert events[-1]["data"]["output"] == 2


def fails_once() -> ScriptedScorer:
    return ScriptedScorer(
        ServiceError("the service is down"), lambda _, texts: [float(len(text)) for text in texts]
    )


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_with_retry_and_with_fallbacks(how: str) -> None:
    async def call(runnable: Any) -> Any:
        return runnable.invoke(INPUT) if how == "sync" else await runnable.ainvoke(INPUT)

    with pytest.raises(ServiceError):
        await call(step(scorer=fails_once()))
    retried = step(scorer=fails_once()).with_retry(
        retry_if_exception_type=(ServiceError,), wait_exponential_jitter=False
    )
    assert [d.metadata["relevance_score"] for d in await call(retried)] == [12.0, 9.0]
    assert await call(step(scorer=fails_once()).with_fallbacks([step()])) == BEST


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("green tea", r'must be a mapping with "query" and "documents".*, not str'),
        ({"query": "tea"}, r"no 'documents', only \['query'\]"),
        ({"question": "tea", "documents": []}, r"no 'query', only \['documents', 'question'\]"),
        ({"query": ["tea"], "documents": []}, "query must be a str"),
        ({"query": " ", "documents": []}, "query is blank"),
        ({"query": "tea", "documents": "text"}, "documents must be a list of Document, not str"),
        ({"query": "tea", "documents": ["text"]}, r"documents\[0\] must be a Document"),
    ],
)
async def test_a_wrong_input_is_refused_and_named(given: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        step().invoke(given)
    with pytest.raises(InvalidInputError, match=message):
        await step().ainvoke(given)


def test_other_arguments_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="top_n: the step takes an input and a config only"):
        step().bind(top_n=1).invoke(INPUT)


def test_its_schemas_tell_what_goes_in_and_out() -> None:
    schema = step().get_input_jsonschema()
    assert schema["$defs"]["RerankInput"]["required"] == ["query", "documents"]
    assert step().get_output_jsonschema()["type"] == "array"


@pytest.mark.filterwarnings("ignore:The function `loads` is in beta")
def test_dumps_and_loads() -> None:
    text = dumps(step(scorer=load_scorer("nano")))
    again = revive(text, RerankRunnable, RerankCompressor)
    assert type(again) is RerankRunnable
    assert again.compressor.to_dict() == step(scorer=load_scorer("nano")).compressor.to_dict()
    with pytest.raises(NotImplementedError):
        revive(dumps(step(scorer=ScriptedScorer({}))), RerankRunnable, RerankCompressor)
