"""The results as one picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._bars import find_workload
from benchmarks._statistics import ratio
from benchmarks._systems import BASELINE

__all__ = ["plot"]


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw speeds at 50 candidates, and in a full run time against number and length.

    Args:
        results: What `measure` returned.
        path: The PNG file to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    lines = {
        "candidates, mixed lengths": _series(results, "mixed"),
        "tokens of each text, 50 candidates": _series(results, None),
    }
    lines = {title: points for title, points in lines.items() if len(points) > 1}
    figure, panels = plt.subplots(
        1, 1 + len(lines), figsize=(8 + 6 * len(lines), 5), layout="constrained", squeeze=False
    )
    labels = list(results["systems"])
    speeds = panels[0][0]
    for offset, name in ((-0.2, "mixed"), (0.2, "short")):
        seconds = find_workload(results, name)["seconds"]
        found = [
            (place, ratio(seconds[BASELINE], seconds[label]))
            for place, label in enumerate(labels)
            if label in seconds
        ]
        medians = [speed.median for _, speed in found]
        spread = [
            [speed.median - speed.low for _, speed in found],
            [speed.high - speed.median for _, speed in found],
        ]
        places = [place + offset for place, _ in found]
        speeds.barh(places, medians, height=0.4, xerr=spread, label=name, capsize=2)
    speeds.set_yticks(range(len(labels)), labels)
    speeds.invert_yaxis()
    speeds.axvline(1, color="black", linewidth=0.8)
    speeds.set_xlabel(f"times as fast as {BASELINE}, 50 candidates")
    speeds.legend()
    for panel, (title, points) in zip(panels[0][1:], lines.items(), strict=True):
        for place, label in enumerate(labels):
            curve = [(x, taken[label]) for x, taken in points if label in taken]
            style = "-" if results["systems"][label]["ours"] else "--"
            panel.loglog(
                [x for x, _ in curve],
                [seconds for _, seconds in curve],
                style,
                marker="o",
                label=label,
                color=mpl.colormaps["tab20"](place),
            )
        panel.set_xticks([x for x, _ in points], [f"{x:g}" for x, _ in points])
        panel.set_xticks([], minor=True)
        panel.set_xlabel(title)
        panel.set_ylabel("seconds, median")
        panel.grid(visible=True, which="both", alpha=0.3)
    if lines:
        panels[0][-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _series(results: Mapping[str, Any], name: str | None) -> list[tuple[float, dict[str, float]]]:
    """Return medians by number of candidates for workloads of a name; without one, by length."""
    return sorted(
        (
            (
                float(workload["name"] if name is None else workload["candidates"]),
                {label: statistics.median(taken) for label, taken in workload["seconds"].items()},
            )
            for workload in results["workloads"]
            if (workload["name"].isdigit() if name is None else workload["name"] == name)
        ),
        key=lambda point: point[0],
    )
