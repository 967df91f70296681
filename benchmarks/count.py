"""Figures that tell whether the code has become easier to read: ``python -m benchmarks.count``.

How they are counted stands beside the functions that count them, in ``_modules.py`` and
``files_run.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks._checkout import ROOT, CheckoutError, checkout, code_path
from benchmarks._modules import (
    Circle,
    Module,
    ReachIn,
    When,
    circles,
    reach_ins,
    read_modules,
)
from benchmarks._report import table
from benchmarks._service import stand_in_service

__all__ = ["Count", "count", "main"]

_SCRIPT = Path(__file__).with_name("files_run.py")
_SCORERS = {"nano": "nano", "Cohere": "cohere:rerank-v5.0-fast"}
_WHEN = {
    When.LOADING: "as they are imported",
    When.CALLING: "by an import inside a function",
    When.TYPING: "by an import for type checking",
}


@dataclass(frozen=True)
class Count:
    """Figures of one tree.

    Attributes:
        core: The modules of `rerank_core`.
        files_run: For each scorer, files that run in a warm call that makes it by its name, and
            in one that has it already.
        circles: Groups of modules that import each other, those of the adapters included.
        reach_ins: Modules that use private names of others, those of the adapters included.
    """

    core: Sequence[Module]
    files_run: dict[str, dict[str, list[str]]]
    circles: list[Circle]
    reach_ins: list[ReachIn]


def count(root: Path) -> Count:
    """Count in a tree of this project.

    Args:
        root: Its folder.

    Raises:
        subprocess.CalledProcessError: If its code does not run.
    """
    adapters = (root / name for name in ("langchain_rerank", "llamaindex_rerank"))
    modules = read_modules(root / "shared" / "rerank_core", *adapters)
    core = [module for name, module in modules.items() if name.split(".")[0] == "rerank_core"]
    with stand_in_service("--steady") as url:
        files_run = {scorer: _files_run(root, name, url) for scorer, name in _SCORERS.items()}
    return Count(core, files_run, circles(modules), reach_ins(modules))


def _files_run(root: Path, name: str, url: str) -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-P", str(_SCRIPT), name],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": code_path(root),
            "HF_HUB_OFFLINE": "1",
            "CO_API_URL": url,
            "CO_API_KEY": "k-0123456789",
        },
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def main() -> int:
    """Print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.count",
        description="Count files, code lines, import circles and uses of private names.",
    )
    parser.add_argument("--against", metavar="REF", help="count in an earlier revision too")
    parser.add_argument("--verbose", action="store_true", help="list what was counted")
    options = parser.parse_args()
    with ExitStack() as stack:
        trees = {"this clone": ROOT}
        if options.against is not None:
            try:
                earlier = stack.enter_context(checkout(options.against))
            except CheckoutError as error:
                parser.exit(2, f"{parser.prog}: {error}\n")
            trees = {earlier.commit: earlier.root} | trees
        counts = {name: count(root) for name, root in trees.items()}
    print(_tables(counts))
    if options.verbose:
        for name, found in counts.items():
            print(*([f"\n## {name}"] if len(counts) > 1 else []), *_details(found), sep="\n")
    return 0


def _tables(counts: dict[str, Count]) -> str:
    figures = [dict(_figures(found)) for found in counts.values()]
    rooms = [_rooms(found.core) for found in counts.values()]
    return "\n\n".join(
        table((head, *counts), ((key, *(side.get(key, "-") for side in sides)) for key in keys))
        for head, sides, keys in (
            ("rerank_core", figures, [*figures[0]]),
            ("room: files, code lines", rooms, sorted({key for side in rooms for key in side})),
        )
    )


def _figures(found: Count) -> Iterator[tuple[str, str]]:
    yield "files", f"{len(found.core)}"
    yield "code lines", f"{sum(module.code_lines for module in found.core):,}"
    yield "all lines", f"{sum(module.lines for module in found.core):,}"
    for scorer, run in found.files_run.items():
        yield (
            f"files that run in a warm `rerank()` with {scorer}, made by its name (or at hand)",
            f"{len(run['named'])} ({len(run['kept'])})",
        )
    in_core = [circle for circle in found.circles if circle.modules[0].startswith("rerank_core")]
    yield "import circles (with the adapters)", f"{len(in_core)} ({len(found.circles)})"
    yield "modules that use private names of another, with the adapters", f"{len(found.reach_ins)}"


def _rooms(modules: Sequence[Module]) -> dict[str, str]:
    files, lines = Counter[str](), Counter[str]()
    for module in modules:
        room = (module.name.split(".")[1:] or ["(itself)"])[0]
        files[room] += 1
        lines[room] += module.code_lines
    return {room: f"{files[room]}, {lines[room]:,}" for room in files}


def _details(found: Count) -> Iterator[str]:
    for scorer, run in found.files_run.items():
        yield f"\nFiles that run with {scorer} (* to make the scorer only):"
        yield from (f"- {file}{'' if file in run['kept'] else ' *'}" for file in run["named"])
    yield "\nImport circles:"
    yield from (f"- {', '.join(names)}: closed {_WHEN[when]}" for names, when in found.circles)
    yield "\nUses of private names:"
    for module, owners, uses in found.reach_ins:
        yield f"- {module}, of {' or '.join(owners)}: {'; '.join(uses)}"


if __name__ == "__main__":
    sys.exit(main())
