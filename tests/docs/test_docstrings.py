"""Every public class and function has an example, which prints what it shows."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from types import ModuleType
from typing import Any

import pytest

from rerank_core import RerankError
from support.markdown import with_outputs
from support.site import PACKAGES


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Classes, functions and modules with an example; of the errors, only the base needs one."""
    if "```python" in (module.__doc__ or ""):
        yield module.__name__, module
    for name in module.__all__:
        found = getattr(module, name)
        if not (inspect.isclass(found) or inspect.isfunction(found)):
            continue
        if inspect.isclass(found) and issubclass(found, RerankError) and found is not RerankError:
            continue
        yield f"{module.__name__}.{name}", found


PUBLIC = [entry for name in PACKAGES for entry in public(importlib.import_module(name))]


@pytest.mark.parametrize(("name", "documented"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_an_example_prints_what_it_shows(name: str, documented: Any, update_outputs: bool) -> None:
    text = f"{inspect.getdoc(documented)}\n"
    assert "```python\n" in text, f"{name} has no example"
    current = with_outputs(text)
    if not update_outputs:
        assert current == text, f"{name} shows other outputs; `make docs-outputs` rewrites them"
    elif current != text:
        source = Path(inspect.getfile(documented))
        before = source.read_text(encoding="utf-8")
        margin = "" if inspect.ismodule(documented) else "    "
        old, new = (indent(doc, margin).strip() for doc in (text, current))
        assert before.count(old) == 1
        source.write_text(before.replace(old, new), encoding="utf-8")
