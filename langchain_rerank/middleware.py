"""`RerankMiddleware`: what an agent's tools retrieve is reranked before the model reads it.

It needs langchain: ``pip install "rerank-core[agents]"``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from langchain_core.documents import Document
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.prompts import (
    BasePromptTemplate,
    PromptTemplate,
    aformat_document,
    format_document,
)
from langchain_core.tools import BaseTool

from langchain_rerank._compressor import CompressorOptions, RerankCompressor, make_compressor
from rerank_core import ConfigurationError, MissingExtraError
from rerank_core._checks import check_choice, describe, is_blank

try:
    from langchain.agents.middleware import AgentMiddleware
except ModuleNotFoundError as error:
    raise MissingExtraError("agents", "langchain_rerank.middleware") from error

if TYPE_CHECKING:
    from typing import Unpack

    from langchain.tools.tool_node import ToolCallRequest
    from langgraph.types import Command

__all__ = ["QuerySource", "RerankMiddleware"]

QuerySource = Literal["tool", "user"]
"""Source of the query: the tool call, or what the user said."""

_AS_TOOLS_DO = PromptTemplate.from_template("{page_content}")


class RerankMiddleware(AgentMiddleware[Any, Any]):
    """Reranks the documents in a tool message's artifact, and writes its content anew.

    It acts on tools whose artifact is a list of documents, such as those that
    ``create_retriever_tool(…, response_format="content_and_artifact")`` makes. Every other
    message, and one that reports an error, passes as it is. The agent gets a copy: its content is
    the text of the documents that stayed, best first, and its artifact is those documents.

    Args:
        compressor: What reranks. Without it, one is made from `options`; without those, it keeps
            the best five by the embedded model.
        query: What to score against: ``"tool"``, the call's argument ``query``, or its only text
            argument; or ``"user"``, the last thing the user said, which also stands in where the
            call has no such argument. Default ``"tool"``: a model writes its search to be
            understood alone.
        tools: The tools, or their names, to act on. Default: all.
        document_prompt: How a document is written for the model. Default: its text. Give what the
            tool was given.
        document_separator: What stands between two documents. Default: a blank line.
        **options: Arguments of `RerankCompressor`.

    Raises:
        pydantic.ValidationError: If an option is unknown or wrong; the message names it.
        ConfigurationError: If there are `options` beside a `compressor`, `query` is neither,
            `compressor` is no `RerankCompressor`, or `tools` is no list.

    Example:
        ```python
        from langchain_rerank.middleware import RerankMiddleware

        middleware = RerankMiddleware(scorer="nano", top_n=3, tools=["search_docs"])
        # agent = create_agent(model, tools=[search_docs], middleware=[middleware])
        ```
    """

    def __init__(
        self,
        compressor: RerankCompressor | None = None,
        *,
        query: QuerySource = "tool",
        tools: Sequence[BaseTool | str] | None = None,
        document_prompt: BasePromptTemplate[str] = _AS_TOOLS_DO,
        document_separator: str = "\n\n",
        **options: Unpack[CompressorOptions],
    ) -> None:
        super().__init__()
        if not isinstance(compressor, RerankCompressor | None):
            raise ConfigurationError(
                f"compressor must be a RerankCompressor, not {describe(compressor)}"
            )
        if isinstance(tools, str | BaseTool):
            raise ConfigurationError(f"tools must be a list, such as [{tools!r:.60}]")
        self.tools = []  # of its own, in LangChain's words: it brings none
        self._compressor = make_compressor(compressor, options)
        self._source = check_choice(query, "query", get_args(QuerySource))
        self._names = (
            None
            if tools is None
            else {tool if isinstance(tool, str) else tool.name for tool in tools}
        )
        self._prompt = document_prompt
        self._separator = document_separator

    def wrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]],
    ) -> ToolMessage | Command[Any]:
        """Run the tool and rerank what it retrieved.

        Raises:
            ScorerError: If the scorer fails; `rerank_core.Fallback` keeps that from happening.
        """
        result = handler(request)
        found = self._find(request, result)
        if found is None:
            return result
        message, query = found
        best = self._compressor.compress_documents(message.artifact, query)
        texts = [format_document(document, self._prompt) for document in best]
        return self._rewrite(message, best, texts)

    async def awrap_tool_call(
        self,
        request: ToolCallRequest,
        handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]],
    ) -> ToolMessage | Command[Any]:
        """Like `wrap_tool_call`, without blocking the event loop while the scorer works."""
        result = await handler(request)
        found = self._find(request, result)
        if found is None:
            return result
        message, query = found
        best = await self._compressor.acompress_documents(message.artifact, query)
        texts = [await aformat_document(document, self._prompt) for document in best]
        return self._rewrite(message, best, texts)

    def _find(
        self, request: ToolCallRequest, result: ToolMessage | Command[Any]
    ) -> tuple[ToolMessage, str] | None:
        """Return a message whose documents are to be reranked, and the query for it."""
        if self._names is not None and request.tool_call["name"] not in self._names:
            return None
        if not isinstance(result, ToolMessage) or result.status == "error":
            return None
        artifact = result.artifact
        if not isinstance(artifact, list | tuple) or not artifact:
            return None
        if not all(isinstance(document, Document) for document in artifact):
            return None
        query = _call_query(request.tool_call["args"]) if self._source == "tool" else None
        query = query or _user_query(request.state)
        return (result, query) if query else None

    def _rewrite(self, message: ToolMessage, best: list[Document], texts: list[str]) -> ToolMessage:
        return message.model_copy(update={"content": self._separator.join(texts), "artifact": best})


def _call_query(arguments: Mapping[str, Any]) -> str | None:
    texts = [value for value in arguments.values() if isinstance(value, str)]
    query = arguments.get("query", texts[0] if len(texts) == 1 else None)
    return query if isinstance(query, str) and not is_blank(query) else None


def _user_query(state: Any) -> str | None:
    messages = state.get("messages", ()) if isinstance(state, Mapping) else ()
    said = (str(m.text) for m in reversed(messages) if isinstance(m, HumanMessage))
    return next((text for text in said if not is_blank(text)), None)
