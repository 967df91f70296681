"""The scripted server by the names that tests of `CohereScorer` use."""

from __future__ import annotations

from rerank_core.testing import Reply, Request
from rerank_core.testing import ScriptedServer as CohereServer

__all__ = ["CohereServer", "Reply", "Request", "answer"]

answer = CohereServer.answer
