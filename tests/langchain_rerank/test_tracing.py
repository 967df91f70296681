"""Each call is a run of its own in LangChain's traces, in its place, and it always ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.documents import Document
from langchain_core.runnables import RunnableConfig, RunnableLambda

from langchain_rerank import RerankCompressor
from rerank_core import Adaptive, Budget, Scale, Scoring, ServiceError
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.langchain import Recorder
from support.scorers import BlockingScorer

DOCUMENTS = [Document("black coffee"), Document("green tea")]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def call(how: str, compressor: RerankCompressor, documents: Any, callbacks: Any) -> Any:
    if how == "sync":
        return compressor.compress_documents(documents, "green tea", callbacks)
    return await compressor.acompress_documents(documents, "green tea", callbacks)


both_ways = pytest.mark.parametrize("how", ["sync", "async"])


@both_ways
@pytest.mark.parametrize("form", [list, CallbackManager, AsyncCallbackManager])
async def test_a_call_is_one_run(how: str, form: Any, recorder: Recorder) -> None:
    callbacks = [recorder] if form is list else form(handlers=[recorder])
    compressor = RerankCompressor(scorer=OverlapScorer(), top_n=1)
    results = await call(how, compressor, iter(DOCUMENTS), callbacks)
    (run,) = recorder.roots
    assert (run.name, run.run_type) == ("RerankCompressor", "chain")
    assert run.inputs == {"query": "green tea", "documents": DOCUMENTS}
    assert run.error is None
    assert run.end_time is not None
    assert run.outputs is not None
    assert run.outputs["documents"] == results
    assert run.outputs["scorer"] == "overlap"
    assert run.outputs["scale"] == "unit"
    assert run.outputs["degraded"] is None
    assert run.outputs["usage"]["pairs"] == 2
    assert run.outputs["usage"]["cost"] == 0
    assert run.outputs["tokens_before"] is run.outputs["tokens_after"] is None


def test_a_run_tells_what_trimming_saved(recorder: Recorder) -> None:
    document = Document("Green tea is hot. Cats purr.")
    budget = Budget(4, counter=str.split)
    compressor = RerankCompressor(scorer=OverlapScorer(), trim=[budget])
    compressor.compress_documents([document], "green tea", [recorder])
    (run,) = recorder.roots
    assert run.outputs is not None
    assert (run.outputs["tokens_before"], run.outputs["tokens_after"]) == (6, 4)


def test_a_run_tells_that_nothing_is_relevant(recorder: Recorder) -> None:
    scorer = ScriptedScorer(
        lambda _, texts: Scoring((0.1,) * len(texts), nothing_probability=0.9),
        scale=Scale.PROBABILITY,
    )
    compressor = RerankCompressor(scorer=scorer, trim=[Adaptive(nothing=0.5)])
    assert not compressor.compress_documents([Document("tea")], "green tea", [recorder])
    (run,) = recorder.roots
    assert run.outputs is not None
    assert "0.9" in run.outputs["nothing_relevant"]
    assert run.outputs["nothing_probability"] == 0.9


@both_ways
async def test_nothing_to_do_is_a_finished_run(how: str, recorder: Recorder) -> None:
    await call(how, RerankCompressor(scorer=OverlapScorer()), [], [recorder])
    (run,) = recorder.roots
    assert run.outputs is not None
    assert run.outputs["documents"] == []
    assert run.end_time is not None


@both_ways
async def test_a_failure_ends_the_run_and_is_raised(how: str, recorder: Recorder) -> None:
    with pytest.raises(ServiceError, match="the service is down"):
        await call(
            how,
            RerankCompressor(scorer=ScriptedScorer(ServiceError("the service is down"))),
            DOCUMENTS,
            [recorder],
        )
    (run,) = recorder.roots
    assert "the service is down" in str(run.error)
    assert run.end_time is not None


async def test_a_cancelled_call_ends_its_run(recorder: Recorder) -> None:
    scorer = BlockingScorer()
    task = asyncio.create_task(
        call("async", RerankCompressor(scorer=scorer), DOCUMENTS, [recorder])
    )
    await asyncio.to_thread(scorer.started.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scorer.go_on.set()
    (run,) = recorder.roots
    assert "CancelledError" in str(run.error)


def sync_step(_: str, config: RunnableConfig) -> list[Document]:
    compressor = RerankCompressor(scorer=OverlapScorer())
    return compressor.compress_documents(DOCUMENTS, "tea", config["callbacks"])


async def async_step(_: str, config: RunnableConfig) -> list[Document]:
    compressor = RerankCompressor(scorer=OverlapScorer())
    return await compressor.acompress_documents(DOCUMENTS, "tea", config["callbacks"])


def silent_sync_step(_: str) -> list[Document]:
    return RerankCompressor(scorer=OverlapScorer()).compress_documents(DOCUMENTS, "tea")


async def silent_async_step(_: str) -> list[Document]:
    compressor = RerankCompressor(scorer=OverlapScorer())
    return await compressor.acompress_documents(DOCUMENTS, "tea")


@both_ways
@pytest.mark.parametrize(
    "step",
    [
        RunnableLambda(sync_step, async_step, name="step"),
        RunnableLambda(silent_sync_step, silent_async_step, name="step"),
    ],
    ids=["callbacks passed on", "callbacks left out"],
)
async def test_inside_a_runnable_the_run_is_its_child(
    how: str, step: RunnableLambda[str, list[Document]], recorder: Recorder
) -> None:
    config: RunnableConfig = {"callbacks": [recorder], "tags": ["mine"]}
    if how == "sync":
        step.invoke("x", config)
    else:
        await step.ainvoke("x", config)
    (root,) = recorder.roots
    assert root.name == "step"
    assert [(child.name, child.tags) for child in root.child_runs] == [
        ("RerankCompressor", ["mine"])
    ]


async def test_it_shows_in_astream_events() -> None:
    step = RunnableLambda(sync_step, async_step, name="step")
    events = [
        event["event"]
        async for event in step.astream_events("x", version="v2")
        if event["name"] == "RerankCompressor"
    ]
    assert events == ["on_chain_start", "on_chain_end"]


def test_why_a_ranking_is_degraded_is_in_the_run(recorder: Recorder) -> None:
    half = ScriptedScorer(Scoring((1.0, None), degraded="the deadline was reached"))
    compressor = RerankCompressor(scorer=half)
    compressor.compress_documents(DOCUMENTS, "tea", [recorder])
    assert recorder.roots[0].outputs is not None
    assert recorder.roots[0].outputs["degraded"] == "the deadline was reached"
