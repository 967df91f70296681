"""The API reference: docstrings as this repository writes them, for Sphinx.

Docstrings are in Google's style, with Markdown's code blocks, and name what they mention in single
backticks. Examples come first on the page.
"""

from __future__ import annotations

import re
from textwrap import indent
from typing import TYPE_CHECKING, Any

import rerank_core

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_EXAMPLE = re.compile(r"^Example:\n((?:    .*\n|\n)+)", re.MULTILINE)
_TOP = ("class", "data", "exception", "function", "type")
_FENCE = re.compile(r"^( *)```(\w+).*\n((?:.*\n)*?) *```$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    # Before napoleon, which is connected at the usual priority.
    app.connect("autodoc-process-docstring", _prepare, priority=100)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _find)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _prepare(*event: Any) -> None:
    """Put the example behind the summary, and code blocks into Sphinx's form."""
    documented, lines = event[3], event[5]
    text = "\n".join(lines) + "\n"
    summary, _, rest = text.partition("\n\n")
    if example := _EXAMPLE.search(rest):
        code = re.sub("^    ", "", example[1], flags=re.MULTILINE)
        rest = f"{code}\n{rest[: example.start()]}{rest[example.end() :]}"
    if isinstance(documented, type) and (bases := dict.fromkeys(_bases(documented))):
        rest = f"Base: {', '.join(f'`{name}`' for name in bases)}.\n\n{rest}"
    text = f"{summary}\n\n{rest}"
    text = _FENCE.sub(
        lambda found: f"{found[1]}.. code-block:: {found[2]}\n\n{indent(found[3], '   ')}", text
    )
    lines[:] = text.splitlines()


def _skip(*event: Any) -> bool | None:
    """Leave out the fields of named tuples, which the class describes."""
    member = event[3]
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field") else None


def _bases(kind: type) -> Iterator[str]:
    """Yield the names of its bases, those of private ones in their place."""
    for base in kind.__bases__:
        if hasattr(rerank_core, base.__name__):
            yield base.__name__
        elif base.__module__.startswith(("rerank_core", "langchain_rerank", "llamaindex_rerank")):
            yield from _bases(base)
        elif base.__module__.startswith(("langchain", "llama_index")):
            yield base.__name__


def _find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Find what is mentioned by its last name, or by that of the private module it is from."""
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    target = node["reftarget"]
    for last in (target, target.rpartition(".")[2]):
        found = [
            name
            for name, entry in domain.objects.items()
            if name.endswith(f".{last}") and ("." in last or entry.objtype in _TOP)
        ]
        if found:
            name = min(found, key=len)
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)
    return None
