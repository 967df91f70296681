"""The scripted server by the names that tests of services use."""

from __future__ import annotations

from rerank_core.testing import Reply, Request, ScriptedServer

__all__ = ["LoopbackServer", "Reply", "Request"]


class LoopbackServer(ScriptedServer):
    """Knows its port by itself."""

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.url.rpartition(":")[2])
