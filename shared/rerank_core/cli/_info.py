"""``rerank info``: the facts, for people or as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core._display import printable
from rerank_core.cli._facts import EXTRAS, gather_facts
from rerank_core.cli._output import write_lines

__all__ = ["show_info"]


def show_info(*, as_json: bool) -> None:
    """Write what is installed and found to standard output.

    Args:
        as_json: As one JSON object; if not, as a table.

    Raises:
        OSError: If writing fails.
    """
    facts = gather_facts()
    if as_json:
        # ASCII, because a folder's name may hold bytes that are no UTF-8.
        write_lines([json.dumps(facts, indent=2)], None)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(facts):
        table.add_row(Text(printable(name)), Text(printable(value)))
    console = Console(force_terminal=sys.stdout is not None and sys.stdout.isatty())
    with console.capture() as capture:
        console.print(table)
    write_lines([line.rstrip() for line in capture.get().rstrip().split("\n")], None)


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (package, installed or f'not installed: pip install "rerank-core[{EXTRAS[package]}]"')
        for package, installed in facts["versions"].items()
    ]
    models = facts["models"]
    rows += [
        ("providers", ", ".join(facts["providers"])),
        ("threads", str(facts["threads"])),
        ("int8 graphs for", ", ".join(facts["cpu"]) or "any CPU"),
        *(("model, embedded", f"{m['name']} ({_size(m['bytes'])})") for m in models["embedded"]),
        *(("model, cached", _cached(model)) for model in models["cached"]),
    ]
    if not models["cached"]:
        rows.append(("models, cached", f"no cross-encoder in {models['cache']}"))
    return rows + list(facts["environment"].items())


def _cached(model: dict[str, Any]) -> str:
    kind = "onnx" if model["onnx"] else "torch only"
    if model["int8"]:
        kind += f", int8: {model['int8']}"
    return f"{model['name']} ({_size(model['bytes'])}, {kind})"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
