"""The speeds that rerank-core promises, against what a run found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks._statistics import Ratio, ratio
from benchmarks._systems import BASELINE, OUR_FP32, OUR_INT8, READY

__all__ = ["Bar", "bars", "find_workload", "modular_bars"]

_CANDIDATES = 50
_MOST_DIFFERENCE = 1e-4  # of fp32 scores


class Bar(NamedTuple):
    """A promise, what was found, and whether it held."""

    promise: str
    found: str
    held: bool


def find_workload(results: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a run's workload of this name with 50 candidates."""
    return next(
        workload
        for workload in results["workloads"]
        if workload["name"] == name and workload["candidates"] == _CANDIDATES
    )


def bars(results: Mapping[str, Any]) -> list[Bar]:
    """Check every promise; those whose systems failed are left out."""
    mixed, short = (find_workload(results, name) for name in ("mixed", "short"))
    systems = results["systems"]
    found = [
        _faster(mixed, OUR_INT8, BASELINE, 4.0),
        _faster(short, OUR_INT8, BASELINE, 2.0),
        _faster(mixed, OUR_FP32, BASELINE, 1.6),
        _faster(mixed, OUR_INT8, _fastest_peer(mixed, systems), 3.0),
        _faster(short, OUR_INT8, _fastest_peer(short, systems), 1.5),
    ]
    found += [_same(results["workloads"], OUR_FP32), _start(systems), *_adapters(results, mixed)]
    return [bar for bar in found if bar is not None]


def modular_bars(found: Mapping[str, Any]) -> list[Bar]:
    """Check the promises for models whose head is in modules.

    Args:
        found: The result of `compare_modular`.
    """
    wanted = {READY: 3.0, OUR_FP32: 3.0, OUR_INT8: 5.0}
    checked = [
        _faster(workload, label, BASELINE, least)
        for workload in found.values()
        for label, least in wanted.items()
    ]
    checked += [_same([*found.values()], label) for label in (READY, OUR_FP32)]
    return [bar for bar in checked if bar is not None]


def _same(workloads: Sequence[Mapping[str, Any]], label: str) -> Bar | None:
    alike = [workload["agreement"].get(label) for workload in workloads]
    most = max((one["max_difference"] for one in alike if one), default=None)
    if most is None:
        return None
    return Bar(
        f"{label}: scores are those of {BASELINE} within {_MOST_DIFFERENCE:g}",
        f"{most:.1g}",
        most <= _MOST_DIFFERENCE,
    )


def _faster(
    workload: Mapping[str, Any], label: str, other: str | None, wanted: float
) -> Bar | None:
    seconds = workload["seconds"]
    if label not in seconds or other not in seconds:
        return None
    speed = ratio(seconds[other], seconds[label])
    return Bar(
        f"{workload['name']}: {label} is {wanted:g} times as fast as {other}",
        _show(speed),
        speed.median >= wanted,
    )


def _fastest_peer(workload: Mapping[str, Any], systems: Mapping[str, Any]) -> str | None:
    peers = {
        label: statistics.median(taken)
        for label, taken in workload["seconds"].items()
        if not systems[label]["ours"]
    }
    return min(peers, key=lambda label: peers[label]) if peers else None


def _start(systems: Mapping[str, Any]) -> Bar | None:
    ours, flashrank = (systems[label]["first_seconds"] for label in (OUR_INT8, "FlashRank int8"))
    if not ours or len(ours) != len(flashrank):
        return None
    speed: Ratio = ratio(flashrank, ours)
    return Bar(
        f"cold start: {OUR_INT8} is not slower than FlashRank int8", _show(speed), speed.median >= 1
    )


def _show(speed: Ratio) -> str:
    return f"{speed}; by the lowest seconds {speed.fastest:.2f}"


def _adapters(results: Mapping[str, Any], mixed: Mapping[str, Any]) -> list[Bar]:
    if OUR_INT8 not in mixed["seconds"]:
        return []
    scoring = statistics.median(mixed["seconds"][OUR_INT8])
    shares = {
        name: 1e-6 * microseconds * _CANDIDATES / scoring
        for name, microseconds in results["overhead"][str(_CANDIDATES)].items()
    }
    return [
        Bar(
            f"the {name} adapter takes at most 2 % of the time of scoring {_CANDIDATES} mixed "
            f"candidates with {OUR_INT8}",
            f"{share:.2%}",
            share <= 0.02,
        )
        for name, share in shares.items()
    ]
