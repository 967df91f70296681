"""Pages whose Python blocks are run, not believed.

A block that needs what a test may not have says so to its reader in its first line: ``# needs
langchain: …``, ``# needs network: …``. It is run where there is a module of that name, else
compiled only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from rerank_core.testing import ScriptedServer

__all__ = ["cohere_stand_in", "python_blocks", "relative_links", "run_block", "runs"]

_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_NEED = re.compile(r"# needs (\w+)")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")


def python_blocks(page: Path) -> list[str]:
    """Return the page's Python blocks, in order."""
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


def relative_links(page: Path) -> list[Path]:
    """Return the files that the page links to."""
    return [page.parent / link for link in _LINK.findall(page.read_text(encoding="utf-8"))]


def runs(block: str) -> bool:
    """Return whether there is all that the block needs."""
    need = _NEED.match(block)
    return need is None or find_spec(need[1]) is not None


def run_block(block: str, names: dict[str, object]) -> None:
    """Run a block with these names, and add its own; compile it only if it cannot run."""
    code = compile(block, "<block>", "exec")
    if runs(block):
        exec(code, names)


@contextmanager
def cohere_stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Let Cohere's service be a server on this machine, and the working directory `folder`."""
    with ScriptedServer() as server:
        monkeypatch.setenv("CO_API_KEY", "a-key")
        monkeypatch.setenv("CO_API_URL", server.url)
        monkeypatch.chdir(folder)
        yield
