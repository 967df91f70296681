"""The results as a markdown page."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks._bars import Bar, bars, find_workload, modular_bars
from benchmarks._statistics import ratio
from benchmarks._systems import BASELINE

__all__ = ["markdown", "modular_markdown", "summary_table", "table"]


def markdown(results: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        results: What `measure` returned.
    """
    parts = [
        "# Benchmark",
        _conditions(results["conditions"])
        + " One model with random weights, of MiniLM-L6's size, for all but nano.",
        "## 50 candidates",
        summary_table(results),
        "## Promises",
        _promises(bars(results)),
    ]
    if "modular" in results:
        parts += ["## Models with their head in modules", _modular(results["modular"])]
    if len(results["workloads"]) > 2:
        parts += ["## All workloads", _workloads(results)]
    parts += [
        "## Workloads",
        table(
            ("workload", "candidates", "distinct", "mean tokens of a pair", "padded ÷ true tokens"),
            (
                (
                    _name(workload),
                    str(workload["candidates"]),
                    str(workload["distinct"]),
                    f"{workload['tokens']:.0f}",
                    f"{workload['padded']:.2f}",
                )
                for workload in results["workloads"]
            ),
        ),
        "## Adapters",
        "Microseconds per document that an adapter adds to `rerank`.",
        table(
            ("candidates", *next(iter(results["overhead"].values()))),
            (
                (count, *(f"{microseconds:.1f}" for microseconds in found.values()))
                for count, found in results["overhead"].items()
            ),
        ),
        "## Systems",
        table(
            ("system", "versions", "threads"),
            (
                (
                    label,
                    ", ".join(f"{name} {number}" for name, number in row["versions"].items()),
                    row.get("threads", "-"),
                )
                for label, row in results["systems"].items()
            ),
        ),
    ]
    failed = [
        f"- {label} at {where}: {error}"
        for label, row in results["systems"].items()
        for where, error in row["errors"].items()
    ]
    if failed:
        parts += ["## Failed", "\n".join(failed)]
    return "\n\n".join(parts) + "\n"


def modular_markdown(results: Mapping[str, Any]) -> str:
    """Write the page of models whose head is in modules alone."""
    parts = ["# Benchmark", _conditions(results["conditions"]), _modular(results["modular"])]
    return "\n\n".join(parts) + "\n"


def _conditions(conditions: Mapping[str, Any]) -> str:
    plan = conditions["plan"]
    return (
        f"`{conditions['command']}`, Python {conditions['python']}, {conditions['system']} on "
        f"{conditions['cpus']} {conditions['machine']} cores "
        f"({', '.join(conditions['cpu_features'])}). {plan['rounds']} rounds after one to warm "
        f"up, {plan['starts']} cold starts; systems take turns within each. Speeds are the "
        f"seconds of {BASELINE} ÷ the system's, of the same round: median (lowest-highest); "
        f"the machine's load was {conditions['load_before']} before."
    )


def _promises(checked: Iterable[Bar]) -> str:
    return table(
        ("promise", "found", "held"),
        ((bar.promise, bar.found, "yes" if bar.held else "**no**") for bar in checked),
    )


def _modular(found: Mapping[str, Any]) -> str:
    labels = dict.fromkeys(label for one in found.values() for label in one["agreement"])
    speeds = table(
        ("system, 50 candidates of mixed lengths", *found),
        ((label, *(_speed(one, label) for one in found.values())) for label in labels),
    )
    failed = [
        f"- {label}: {error}"
        for one in found.values()
        for label, errors in one["errors"].items()
        for error in errors.values()
    ]
    random = "Random weights in the shapes of `cross-encoder/ettin-reranker-17m-v1` and `-32m-v1`."
    return "\n\n".join([random, speeds, _promises(modular_bars(found)), *failed])


def summary_table(results: Mapping[str, Any]) -> str:
    """Write one row for each system: speed, start, memory, size, and agreement.

    Args:
        results: What `measure` returned.
    """
    mixed, short = (find_workload(results, name) for name in ("mixed", "short"))
    rows = []
    for label, row in results["systems"].items():
        alike = mixed["agreement"].get(label)
        starts = row["first_seconds"]
        rows.append(
            (
                label,
                _speed(mixed, label),
                _speed(short, label),
                f"{statistics.median(starts):.2f} s" if starts else "-",
                _megabytes(row["first_peak_bytes"]),
                _megabytes(row.get("peak_bytes", 0)),
                _megabytes(row["installed_bytes"]),
                f"{alike['kendall_tau']:.2f}, {alike['top10']}"
                if alike and not row["own_weights"]
                else "other weights",
            )
        )
    heads = (
        "system",
        "mixed lengths",
        "short",
        "first ten scores",
        "memory then",
        "memory in all",
        "installed",
        "Kendall tau, same top 10",
    )
    return table(heads, rows)


def _workloads(results: Mapping[str, Any]) -> str:
    return table(
        ("system", *(f"{_name(one)}, {one['candidates']}" for one in results["workloads"])),
        (
            (label, *(_speed(workload, label) for workload in results["workloads"]))
            for label in results["systems"]
        ),
    )


def _name(workload: Mapping[str, Any]) -> str:
    name: str = workload["name"]
    return f"{name} tokens each" if name.isdigit() else name


def _speed(workload: Mapping[str, Any], label: str) -> str:
    seconds = workload["seconds"]
    if label not in seconds:
        return "failed"
    return "1" if label == BASELINE else str(ratio(seconds[BASELINE], seconds[label]))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count else "-"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
