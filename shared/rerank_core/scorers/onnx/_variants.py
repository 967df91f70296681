"""Which of a model's ready graphs suits the precision asked for and this CPU."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Literal

__all__ = ["Precision", "cpu_features", "graph_candidates"]

Precision = Literal["fp32", "int8"]

# As sentence-transformers names the graphs it quantises for one kind of CPU:
# https://sbert.net/docs/cross_encoder/usage/efficiency.html
_BY_FEATURE = {
    "avx512_vnni": "qint8_avx512_vnni",
    "avx512": "qint8_avx512",
    "avx2": "quint8_avx2",
    "arm64": "qint8_arm64",
}
# As Optimum and transformers.js name them, for any CPU.
_FOR_ANY_CPU = ("quantized", "uint8", "int8")


def graph_candidates(precision: Precision | None) -> tuple[str, ...]:
    """Name the files a graph may lie in, by preference.

    Args:
        precision: ``"int8"`` asks for a quantised graph that suits this CPU; ``"fp32"`` and None
            for the plain one.

    Returns:
        Paths relative to the model's folder or repository.
    """
    names = ["model"]
    if precision == "int8":
        suited = [_BY_FEATURE[feature] for feature in cpu_features()]
        names = [f"model_{suffix}" for suffix in (*suited, *_FOR_ANY_CPU)]
    return tuple(f"{folder}{name}.onnx" for name in names for folder in ("", "onnx/"))


@cache
def cpu_features() -> tuple[str, ...]:
    """Say which kinds of quantised graphs this CPU runs well, best first.

    Returns:
        Some of ``"avx512_vnni"``, ``"avx512"``, ``"avx2"``, or ``"arm64"``. Where the system does
        not tell, an x86-64 CPU counts as one with AVX2, which nearly all have.
    """
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return ("arm64",)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ("avx2",)
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), {"avx2"})
    known = {
        "avx512_vnni": "avx512_vnni" in flags,
        "avx512": "avx512f" in flags,
        "avx2": "avx2" in flags,
    }
    return tuple(feature for feature, there in known.items() if there)
