"""The examples in docstrings are run: every public class and function has one."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

from rerank_core import RerankError
from support.markdown import run_block

MODULES = [
    "rerank_core",
    "rerank_core.evaluation",
    "rerank_core.export",
    "rerank_core.testing",
    "langchain_rerank",
    "langchain_rerank.middleware",
    "llamaindex_rerank",
]
_BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Public classes and functions; of the errors, only the base needs an example."""
    for name in module.__all__:
        found = getattr(module, name)
        if not (inspect.isclass(found) or inspect.isfunction(found)):
            continue
        if inspect.isclass(found) and issubclass(found, RerankError) and found is not RerankError:
            continue
        yield f"{module.__name__}.{name}", found


PUBLIC = [entry for name in MODULES for entry in public(importlib.import_module(name))]


def examples(documented: Any) -> list[str]:
    doc = inspect.getdoc(documented) or ""
    return [dedent(block) for _, block in _BLOCK.findall(doc)]


@pytest.mark.parametrize(("name", "documented"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_an_example_runs(name: str, documented: Any) -> None:
    blocks = examples(documented)
    assert blocks, f"{name} has no example"
    for block in blocks:
        run_block(block, {})
