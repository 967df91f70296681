"""Reranked documents in agents: by a retriever tool, and by `RerankMiddleware`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.prompts import PromptTemplate
from langchain_core.tools import BaseTool, create_retriever_tool, tool
from langgraph.types import Command

from langchain_rerank import RerankCompressor, RerankRetriever
from langchain_rerank.middleware import RerankMiddleware
from rerank_core import ConfigurationError, ServiceError
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.langchain import Recorder, ScriptedModel

if TYPE_CHECKING:
    from langchain_community.vectorstores import FAISS

QUESTION = "And is there one with milk?"
SEARCH = "how brew green tea"
both_ways = pytest.mark.parametrize("how", ["sync", "async"])


def searching(name: str = "search", **arguments: Any) -> ScriptedModel:
    call = {"name": name, "args": arguments or {"query": SEARCH}, "id": "call-1"}
    return ScriptedModel(script=[AIMessage("", tool_calls=[call]), AIMessage("Done.")])


def by_overlap(top_n: int = 2) -> RerankCompressor:
    return RerankCompressor(scorer=OverlapScorer(), top_n=top_n)


async def run(how: str, model: ScriptedModel, tools: Sequence[Any], **arguments: Any) -> Any:
    """Ask an agent; return the tool's message, as the model was shown it."""
    config = arguments.pop("config", None)
    agent: Any = create_agent(model, tools, **arguments)
    state = {"messages": [HumanMessage(QUESTION)]}
    ended = agent.invoke(state, config) if how == "sync" else await agent.ainvoke(state, config)
    assert ended["messages"][-1].content == "Done."
    return model.shown[1][-1]


@pytest.fixture
def search(store: FAISS) -> BaseTool:
    return create_retriever_tool(
        store.as_retriever(search_kwargs={"k": 5}),
        "search",
        "Facts on tea.",
        response_format="content_and_artifact",
    )


@both_ways
async def test_a_retriever_tool_over_a_rerank_retriever(how: str, store: FAISS) -> None:
    retriever = RerankRetriever(base_retriever=store.as_retriever(), compressor=by_overlap())
    search = create_retriever_tool(
        retriever, "search", "Facts on tea.", response_format="content_and_artifact"
    )
    message = await run(how, searching(), [search])
    assert message.content == "how to brew green tea\n\ngreen tea with milk"
    assert [document.id for document in message.artifact] == ["id-4", "id-2"]


@both_ways
async def test_the_model_reads_the_best_of_what_a_tool_found(
    how: str, search: BaseTool, store: FAISS
) -> None:
    before = repr(store.docstore._dict)  # type: ignore[attr-defined]
    recorder = Recorder()
    message = await run(
        how,
        searching(),
        [search],
        middleware=[RerankMiddleware(by_overlap())],
        config={"callbacks": [recorder]},
    )
    assert isinstance(message, ToolMessage)
    assert message.content == "how to brew green tea\n\ngreen tea with milk"
    assert [document.id for document in message.artifact] == ["id-4", "id-2"]
    assert [document.metadata["relevance_score"] for document in message.artifact] == [1.0, 0.5]
    assert (message.name, message.tool_call_id, message.status) == ("search", "call-1", "success")
    assert repr(store.docstore._dict) == before  # type: ignore[attr-defined]
    (root,) = recorder.roots
    assert "RerankCompressor" in names_of(root)


def names_of(run: Any) -> list[str]:
    return [run.name, *(name for child in run.child_runs for name in names_of(child))]


def call_request(arguments: dict[str, Any], messages: Sequence[Any] = ()) -> Any:
    call: Any = {"name": "search", "args": arguments, "id": "call-1", "type": "tool_call"}
    runtime: Any = None
    return ToolCallRequest(
        tool_call=call, tool=None, state={"messages": [*messages]}, runtime=runtime
    )


FOUND = (Document("coffee"), Document("green tea with milk"), Document("how to brew green tea"))


def message_with(artifact: Any, **fields: Any) -> ToolMessage:
    return ToolMessage("as found", artifact=artifact, tool_call_id="call-1", **fields)


async def pass_through(how: str, middleware: RerankMiddleware, request: Any, result: Any) -> Any:
    async def handle(_: Any) -> Any:
        return result

    if how == "sync":
        return middleware.wrap_tool_call(request, lambda _: result)
    return await middleware.awrap_tool_call(request, handle)


@pytest.mark.parametrize(
    ("arguments", "query", "best"),
    [
        ({"query": "brew"}, "tool", "how to brew green tea"),
        ({"question": "brew", "limit": 3}, "tool", "how to brew green tea"),
        ({"query": "brew", "language": "en"}, "tool", "how to brew green tea"),
        ({"question": "brew", "language": "en"}, "tool", "green tea with milk"),  # which is it?
        ({"query": " "}, "tool", "green tea with milk"),
        ({}, "tool", "green tea with milk"),
        ({"query": "brew"}, "user", "green tea with milk"),
    ],
)
async def test_what_the_documents_are_scored_against(
    arguments: dict[str, Any], query: Any, best: str
) -> None:
    middleware = RerankMiddleware(RerankCompressor(scorer=OverlapScorer(), top_n=1), query=query)
    said = [HumanMessage("coffee"), AIMessage("Yes?"), HumanMessage("with milk"), HumanMessage(" ")]
    result = message_with([*FOUND])
    message = await pass_through("sync", middleware, call_request(arguments, said), result)
    assert message.content == best
    assert (result.content, result.artifact) == ("as found", [*FOUND])


@both_ways
@pytest.mark.parametrize(
    "result",
    [
        message_with(None),
        message_with([]),
        message_with({"documents": [*FOUND]}),
        message_with([*FOUND, "a text"]),
        message_with([*FOUND], status="error"),
        Command(goto="elsewhere"),
    ],
    ids=["no artifact", "nothing found", "a mapping", "mixed", "an error", "a command"],
)
async def test_anything_else_passes_as_it_is(how: str, result: Any) -> None:
    request = call_request({"query": "tea"})
    assert await pass_through(how, RerankMiddleware(by_overlap()), request, result) is result


@both_ways
async def test_without_a_query_anywhere_nothing_is_done(how: str) -> None:
    result = message_with([*FOUND])
    request = call_request({"limit": 3}, [AIMessage("Hello.")])
    assert await pass_through(how, RerankMiddleware(by_overlap()), request, result) is result


@both_ways
async def test_it_acts_on_the_tools_it_is_given(how: str, search: BaseTool) -> None:
    @tool(response_format="content_and_artifact")
    def other(query: str) -> tuple[str, list[Document]]:
        """Find other things."""
        return "three found", [*FOUND]

    for given, expected in ((["other"], True), ([other], True), (["search"], False), ([], False)):
        middleware = RerankMiddleware(by_overlap(1), tools=given)
        message = await run(
            how, searching("other", query="brew"), [search, other], middleware=[middleware]
        )
        assert message.content == ("how to brew green tea" if expected else "three found")


@both_ways
async def test_documents_are_written_as_asked(how: str) -> None:
    middleware = RerankMiddleware(
        by_overlap(),
        document_prompt=PromptTemplate.from_template("* {page_content} ({relevance_score})"),
        document_separator="\n",
    )
    request = call_request({"query": "brew tea"})
    message = await pass_through(how, middleware, request, message_with([*FOUND]))
    assert message.content == "* how to brew green tea (1.0)\n* green tea with milk (0.5)"


@both_ways
async def test_a_failure_is_raised(how: str) -> None:
    down = ScriptedScorer(ServiceError("the service is down"))
    middleware = RerankMiddleware(RerankCompressor(scorer=down))
    with pytest.raises(ServiceError, match="the service is down"):
        await pass_through(how, middleware, call_request({"query": "tea"}), message_with([*FOUND]))


def test_the_default_is_the_best_five_by_the_embedded_model() -> None:
    texts = [f"{word} with milk" for word in ("tea", "coffee", "soup", "rice", "oats", "eggs")]
    result = message_with([Document(text) for text in texts])
    message: Any = RerankMiddleware().wrap_tool_call(
        call_request({"query": "tea"}), lambda _: result
    )
    assert len(message.artifact) == 5
    assert message.artifact[0].page_content == "tea with milk"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "model"}, "query must be 'tool' or 'user', not 'model'"),
        ({"compressor": "nano"}, "compressor must be a RerankCompressor, not 'nano'"),
        ({"tools": "search"}, "tools must be a list"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RerankMiddleware(**arguments)


def test_without_langchain_the_error_has_the_install_line() -> None:
    code = "import sys; sys.modules['langchain'] = None; import langchain_rerank.middleware"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert 'pip install "rerank-core[agents]"' in done.stderr
