"""Runs of a compressor in LangChain's traces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables.config import (
    RunnableConfig,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)

from rerank_core import Ranking
from rerank_core._adapters import ranking_facts

__all__ = ["atraced", "traced"]

_Finish = Callable[[list[Document], Ranking], list[Document]]


@contextmanager
def traced(
    config: RunnableConfig, name: str, query: str, documents: list[Document]
) -> Iterator[_Finish]:
    """Run a block as one run of LangChain's.

    Args:
        config: Callbacks, and perhaps the run's name and id.
        name: The run's name where `config` has none.
        query: An input of the run.
        documents: The other one.

    Yields:
        A function to tell the documents that stayed and their ranking, which returns the
        documents.
    """
    manager = get_callback_manager_for_config(config)
    run = manager.on_chain_start(**_inputs(config, name, query, documents))
    outputs: list[dict[str, Any]] = []
    try:
        yield _finish(outputs)
    except BaseException as error:
        run.on_chain_error(error)
        raise
    run.on_chain_end(*outputs)


@asynccontextmanager
async def atraced(
    config: RunnableConfig, name: str, query: str, documents: list[Document]
) -> AsyncIterator[_Finish]:
    """Like `traced`, with asynchronous callbacks."""
    manager = get_async_callback_manager_for_config(config)
    run = await manager.on_chain_start(**_inputs(config, name, query, documents))
    outputs: list[dict[str, Any]] = []
    try:
        yield _finish(outputs)
    except BaseException as error:
        await run.on_chain_error(error)
        raise
    await run.on_chain_end(*outputs)


def _inputs(
    config: RunnableConfig, name: str, query: str, documents: list[Document]
) -> dict[str, Any]:
    name = config.get("run_name") or name
    return {
        # The name, not the arguments: handlers may send this anywhere.
        "serialized": {"name": name},
        "inputs": {"query": query, "documents": documents},
        "name": name,
        "run_id": config.get("run_id"),
    }


def _finish(outputs: list[dict[str, Any]]) -> _Finish:
    def finish(documents: list[Document], ranking: Ranking) -> list[Document]:
        outputs.append({"documents": documents, **ranking_facts(ranking)})
        return documents

    return finish
