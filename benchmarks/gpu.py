"""Pairs per second on a GPU beside sentence-transformers: ``python -m benchmarks.gpu``.

The models have random weights in the shapes of known ones, and are made on the spot. Every system
scores the same candidates in turn, in this process. Where torch finds no GPU, the command says so
and ends with 0.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks._report import table
from benchmarks._statistics import agreement, ratio
from benchmarks._systems import BASELINE
from benchmarks._texts import Workload, make_workload
from benchmarks._weights import ETTIN, Shape, save_ettin, save_minilm, save_qwen3

__all__ = ["compare", "find_device", "main"]

Score: TypeAlias = Callable[[str, Sequence[str]], list[float]]

_TINY = Shape(width=32, layers=2, heads=2, inner=48, vocabulary=30522)
_CAUSAL = "Qwen3-Reranker-0.6B"
_CAUSAL_BYTES = 16 * 2**30  # memory for its weights in every precision, and for the scoring
_PRECISIONS = ("float32", "bfloat16", "float16")


def find_device() -> str | None:
    """Return torch's name of this machine's GPU; None if it finds none."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None


def compare(model: Path, device: str, workload: Workload, rounds: int) -> list[tuple[str, ...]]:
    """Time every system on one model.

    Args:
        model: Folder of a cross-encoder.
        device: Device of torch.
        workload: The pairs to score.
        rounds: Turns of every system, after one to warm up.

    Returns:
        A row for each system: its name, pairs per second by the median, speed relative to the
        baseline, and Kendall's tau against the baseline's scores. A system that fails has its
        error in place of them.
    """
    systems, failed = {}, {}
    for label, load in _systems(str(model), device):
        try:
            systems[label] = load()
        except Exception as error:  # noqa: BLE001 - memory, a kernel that is missing, …
            failed[label] = _first_line(error)
    seconds: dict[str, list[float]] = {label: [] for label in systems}
    scores: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for label in random.Random(number).sample(list(systems), len(systems)):
            if label in failed:
                continue
            started = time.perf_counter()
            try:
                scores[label] = systems[label](workload.query, workload.texts)
            except Exception as error:  # noqa: BLE001
                failed[label] = _first_line(error)
                continue
            if number:  # the first round warms up
                seconds[label].append(time.perf_counter() - started)
    if BASELINE in failed:
        raise SystemExit(f"{BASELINE} fails on {device}: {failed[BASELINE]}")
    rows = []
    for label, taken in seconds.items():
        if label not in failed:
            speed = ratio(seconds[BASELINE], taken)
            tau = agreement(*(_distinct(workload, scores[one]) for one in (BASELINE, label)))
            pairs = len(workload.texts) / statistics.median(taken)
            rows.append((label, f"{pairs:,.0f}", str(speed), f"{tau.kendall_tau:.2f}"))
    return [*rows, *((label, error, "-", "-") for label, error in failed.items())]


def _systems(model: str, device: str) -> Iterator[tuple[str, Callable[[], Score]]]:
    """Yield the name of each system and what loads it, the baseline first."""
    from transformers.utils import is_flash_attn_2_available

    yield BASELINE, partial(_load_peer, model, device)
    flash = ("flash_attention_2",) if device == "cuda" and is_flash_attn_2_available() else ()
    for dtype in _PRECISIONS:
        for attention in (None, *(flash if dtype != "float32" else ())):
            label = " ".join(filter(None, ("rerank-core", dtype, attention)))
            yield label, partial(_load_ours, model, device, dtype, attention)


def _load_peer(model: str, device: str) -> Score:
    from sentence_transformers import CrossEncoder

    encoder = CrossEncoder(model, device=device)

    def score(query: str, texts: Sequence[str]) -> list[float]:
        found = encoder.predict([(query, text) for text in texts], show_progress_bar=False)
        return [float(one) for one in found]

    return score


def _load_ours(model: str, device: str, dtype: Any, attention: Any) -> Score:
    from rerank_core import TorchCrossEncoder, rerank

    scorer = TorchCrossEncoder(model, device=device, dtype=dtype, attn_implementation=attention)
    scorer.load()

    def score(query: str, texts: Sequence[str]) -> list[float]:
        ranked = rerank(query, list(texts), scorer)
        return [float(item.score or 0) for item in sorted(ranked, key=lambda item: item.index)]

    return score


def _distinct(workload: Workload, scores: Sequence[float]) -> list[float]:
    return [scores[workload.texts.index(text)] for text in dict.fromkeys(workload.texts)]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def _builders(tiny: bool, device: str) -> Mapping[str, Callable[[Path], Any]]:
    """Return what builds each model, the causal one if the memory is enough."""
    import torch

    shapes = {"ettin-17m": _TINY} if tiny else ETTIN
    builders: dict[str, Callable[[Path], Any]] = {
        "MiniLM-L6": partial(save_minilm, **({"shape": _TINY} if tiny else {})),
        **{name: partial(save_ettin, shape=shape) for name, shape in shapes.items()},
        _CAUSAL: partial(save_qwen3, **({"shape": _TINY} if tiny else {})),
    }
    enough = tiny or (device.startswith("cuda") and torch.cuda.mem_get_info()[0] > _CAUSAL_BYTES)
    if not enough:
        print(f"{_CAUSAL} is left out: it needs a GPU with {_CAUSAL_BYTES / 1e9:.0f} GB free\n")
        del builders[_CAUSAL]
    return builders


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table, and return the exit code.

    Args:
        arguments: Command line. Default: that of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Measure pairs per second of TorchCrossEncoder and of sentence-transformers' "
        "default on a GPU, with the same random weights and in one run.",
    )
    parser.add_argument("--device", help="a device of torch, cpu too (default: the GPU)")
    parser.add_argument("--candidates", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--tiny", action="store_true", help="tiny models, which show that it runs and not its speed"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.candidates < 10:
        parser.error("--rounds must be at least 1, and --candidates at least 10")
    device = options.device or find_device()
    if device is None:
        print("torch finds no GPU here, so nothing was measured; --device cpu measures the CPU")
        return 0
    import torch
    import transformers

    named = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    workload = make_workload("mixed", options.candidates)
    print(
        f"{named}, Python {platform.python_version()}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}. {options.candidates} candidates of mixed lengths, "
        f"{workload.tokens:.0f} tokens a pair on average; {options.rounds} rounds after one to "
        f"warm up. Speeds are the seconds of {BASELINE} ÷ the system's, of the same round: median "
        "(lowest-highest). Random weights.\n"
    )
    heads = ("model", "system", "pairs per second", "speed", "Kendall tau")
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, build in _builders(options.tiny, device).items():
            build(Path(folder, name))
            print(name, file=sys.stderr, flush=True)
            found = compare(Path(folder, name), device, workload, options.rounds)
            rows += ((name, *row) for row in found)
    print(table(heads, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
