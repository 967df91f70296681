"""The code of this clone against that of an earlier revision: the same calls on both, in turn."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

from benchmarks._checkout import ROOT, Checkout, code_path
from benchmarks._report import table
from benchmarks._service import stand_in_service
from benchmarks._texts import QUERIES, make_workload
from benchmarks._workers import JsonProcess, WorkerError
from benchmarks.calls import Inputs
from benchmarks.imports import time_import

__all__ = ["FULL", "QUICK", "Effort", "Times", "compare", "summarise"]

_SCRIPT = Path(__file__).with_name("calls.py")
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"  # compiling anew is not what an import costs
_IMPORT = "from rerank_core import load_scorer, rerank"  # names are imported at first use
_TITLES = {
    "nano": "nano, 50 mixed candidates",
    "onnx": "fp32 model of MiniLM-L6's size, 10 mixed candidates",
    "score_many": "nano, score_many of 5 queries with 10 short texts each",
    "cohere": "CohereScorer, stand-in service, 50 short candidates",
    "cohere, async": "CohereScorer, async, stand-in service, 50 short candidates",
    "langchain": "LangChain compressor, 50 short documents, no scoring",
    "llamaindex": "LlamaIndex postprocessor, 50 short nodes, no scoring",
    _IMPORT: f"`{_IMPORT}`",
}


class Effort(NamedTuple):
    """Amount of work in a round.

    Attributes:
        calls: Names of the calls.
        seconds: How long a side repeats a call in its turn.
        turns: Turns of each side.
    """

    calls: tuple[str, ...]
    seconds: float
    turns: int


FULL = Effort(tuple(_TITLES), seconds=0.1, turns=8)
QUICK = Effort(tuple(name for name in _TITLES if name != "onnx"), seconds=0.02, turns=1)

Times: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]
"""For each call, pairs of seconds: the earlier code's, and this clone's right before or after."""


def compare(old: Checkout, effort: Effort, rounds: int, report: Callable[[str], None]) -> Times:
    """Time the calls on both sides.

    The sides take turns, and only a turn and the one right after it are compared: the machine was
    then in much the same state. Each round has a fresh process for either side, so that what
    differs from one process to the next, such as the layout of memory, is not taken for a
    difference of the code.

    Args:
        old: The earlier code.
        effort: How much is measured in a round.
        rounds: How many.
        report: Called with what is going on.

    Returns:
        For each call, as many pairs of seconds as there were turns in all.

    Raises:
        WorkerError: If a call fails on either side.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in effort.calls}
    with (
        tempfile.TemporaryDirectory(prefix="rerank-core-") as folder,
        stand_in_service("--steady") as service,
    ):
        inputs = _write_inputs(Path(folder), effort, service, report)
        for number in range(rounds):
            report(f"round {number + 1} of {rounds}")
            with (
                _Side("old", old.root, inputs, number) as before,
                _Side("new", ROOT, inputs, number) as after,
            ):
                for name, pairs in times.items():
                    pairs.extend(_take_turns(name, before, after, effort, number))
    return times


def _write_inputs(
    folder: Path, effort: Effort, service: str, report: Callable[[str], None]
) -> Path:
    model = None
    if "onnx" in effort.calls:
        from benchmarks._model import build_plain_model

        report("building the model")
        model = str(build_plain_model(folder / "model"))
    mixed, short = (list(make_workload(name, 50).texts) for name in ("mixed", "short"))
    inputs = Inputs(list(QUERIES), mixed, short, model, service)
    path = folder / "inputs.json"
    path.write_text(json.dumps(asdict(inputs)), encoding="utf-8")
    return path


def _take_turns(
    name: str, old: _Side, new: _Side, effort: Effort, number: int
) -> list[tuple[float, float]]:
    pairs = []
    for turn in range(number, number + effort.turns):  # neither side always goes first
        fastest = {
            side: side.fastest(name, effort.seconds)
            for side in ((old, new) if turn % 2 == 0 else (new, old))
        }
        pairs.append((fastest[old], fastest[new]))
    return pairs


def summarise(times: Times, commit: str, at_least: float) -> tuple[str, bool]:
    """Write a table of the ratios.

    Args:
        times: What `compare` returned.
        commit: Name of the earlier code.
        at_least: The lowest ratio that will do.

    Returns:
        The table, and whether every call's median ratio will do.
    """
    rows, all_held = [], True
    for name, pairs in times.items():
        ratios = [old / new for old, new in pairs]
        low, median, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios
        held = median >= at_least
        all_held &= held
        rows.append(
            (
                _TITLES[name],
                f"{median:.3f} ({low:.2f}-{high:.2f})",
                *(_show(statistics.median(side)) for side in zip(*pairs, strict=True)),
                "yes" if held else "**no**",
            )
        )
    ratio = "old time / new time: median (middle half)"
    return table(("call", ratio, commit, "this clone", f"at least {at_least:g}"), rows), all_held


def _show(seconds: float) -> str:
    units = (("s", 1.0), ("ms", 1e3), ("µs", 1e6))
    unit, factor = next((found for found in units if seconds * found[1] >= 1), units[-1])
    return f"{seconds * factor:.3g} {unit}"


class _Side:
    """A process with the code of one side, and its environment."""

    def __init__(self, label: str, root: Path, inputs: Path, number: int) -> None:
        self._label = label
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != _NO_BYTECODE},
            "PYTHONPATH": code_path(root),
            "PYTHONHASHSEED": str(number),  # another one in each round, the same on both sides
        }
        command = [sys.executable, "-P", str(_SCRIPT), str(root), str(inputs)]
        self._process = JsonProcess(command, self._environment)

    def fastest(self, name: str, seconds: float) -> float:
        """Repeat a call for so many seconds, at least once, and return what the fastest took."""
        try:
            if name == _IMPORT:
                return min(self._time_import(seconds))
            taken: list[float] = self._process.request({"call": name, "seconds": seconds})
        except WorkerError as error:
            raise WorkerError(f"{name} fails on the {self._label} code: {error}") from error
        return min(taken)

    def _time_import(self, seconds: float) -> list[float]:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while not taken or time.perf_counter() < end:
            try:
                milliseconds = time_import(_IMPORT, environment=self._environment)[1]
            except subprocess.CalledProcessError as error:
                raise WorkerError(error.stderr.strip().rpartition("\n")[2]) from error
            taken.append(milliseconds / 1000)
        return taken

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._process.__exit__(*details)
