"""Helpers of the LangChain adapter's tests."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.load import loads
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from pydantic import Field

__all__ = ["Recorder", "ScriptedModel", "revive"]


class Recorder(BaseTracer):
    """Keeps each finished root run, with its children."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


class ScriptedModel(BaseChatModel):
    """A chat model that says what it is told to, and keeps what it was shown."""

    script: list[AIMessage]
    shown: list[list[BaseMessage]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.shown.append(list(messages))
        message = self.script[len(self.shown) - 1]
        return ChatResult(generations=[ChatGeneration(message=message)])


def revive(text: str, *classes: type[Any]) -> Any:
    """Load what `dumps` wrote, with these classes allowed."""
    ids = [tuple(kind.lc_id()) for kind in classes]
    arguments: dict[str, Any] = {
        "valid_namespaces": [name[0] for name in ids],
        "additional_import_mappings": {name: name for name in ids},
    }
    if "allowed_objects" in inspect.signature(loads).parameters:  # langchain-core 1.0 has no list
        arguments["allowed_objects"] = [*classes]
    return loads(text, **arguments)
