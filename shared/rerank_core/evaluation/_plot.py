"""Plots: quality against latency, and how far probabilities hold."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from rerank_core._checks import describe
from rerank_core._combinators.calibration import Calibration
from rerank_core._errors import ConfigurationError, MissingExtraError
from rerank_core._files import replacing
from rerank_core.evaluation._report import FIRST_STAGE, Report
from rerank_core.evaluation._tune_report import TuneRow, Tuning

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_ending", "plot"]

_MARKERS = "os^Dv"


_OMITTED = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}
"""The formats, and of each the metadata that would change with a release or from day to day."""


def check_ending(path: Path) -> str:
    """Return the ending of the name of a file that `plot` can write.

    Raises:
        ConfigurationError: If it is of another format, or has none.
    """
    ending = path.suffix.lower()
    if ending not in _OMITTED:
        known = ", ".join(_OMITTED)
        raise ConfigurationError(f"plot {describe(path.name)} must end in one of {known}")
    return ending


def plot(report: Report | Tuning | Calibration, path: Path) -> None:
    """Plot quality against what it takes, or how far probabilities hold.

    Of a report: each system's mean against its median latency, and the first stage's mean. With
    several collections both are means over the collections. A hollow marker is an estimated
    latency, see `Latency`.

    Of a tuning: the mean of every configuration against its 95th percentile of latency and, if
    there is a price, against its price. The Pareto front is a line, and the recommendation a star.

    Of a calibration: how many texts are relevant against the probability that they were given, a
    point for each tenth of them. Those of a perfect calibration lie on the diagonal.

    Args:
        report: What to plot.
        path: The file to write: PNG, SVG or PDF, by its ending.

    Raises:
        ConfigurationError: If the ending is none of those, or a calibration has no figures.
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file cannot be written.

    Example:
        ```python
        from pathlib import Path
        from tempfile import mkdtemp
        from rerank_core import load_scorer
        from rerank_core.evaluation import Collection, System, Task, evaluate, first_stage, plot

        pets = Collection("pets", {"1": "Cats purr."}, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        task = Task(pets, first_stage("bm25", pets, 10), depths=(10,))
        report = evaluate([task], [System(load_scorer("nano"))])
        plot(report, Path(mkdtemp()) / "report.png")
        ```
    """
    ending = check_ending(path)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("eval", "A plot") from error
    priced = isinstance(report, Tuning) and any(row.cost for row in report.rows)
    figure = Figure(figsize=(16 if priced else 8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # pyplot would look for a display
    if isinstance(report, Report):
        _draw_report(figure.subplots(), report)
    elif isinstance(report, Calibration):
        _draw_reliability(figure.subplots(), report)
    else:
        axes = figure.subplots(ncols=2, squeeze=False)[0] if priced else [figure.subplots()]
        _draw_tuning(axes[0], report, "95th percentile of latency, ms", attrgetter("p95"))
        if priced:
            _draw_tuning(axes[1], report, "price of 1,000 queries", attrgetter("cost"))
    with replacing(path) as stream:
        figure.savefig(stream, format=ending[1:], metadata={_OMITTED[ending]: None})


def _draw_report(axes: Axes, report: Report) -> None:
    metric = report.metrics[0]
    first = report.mean[FIRST_STAGE][metric]
    axes.axhline(first, color="grey", linestyle="--", label=f"{FIRST_STAGE} ({first:.3f})")
    for at, system in enumerate(report.collections[0].systems):
        found = [collection.systems[at].latency for collection in report.collections]
        times = [latency for latency in found if latency is not None]
        if times:
            quality = report.mean[system.name][metric]
            axes.plot(
                max(fmean(latency.p50 for latency in times), 1e-3),
                quality,
                _MARKERS[at // 10 % len(_MARKERS)],  # colours repeat after ten systems
                markersize=9,
                fillstyle="none" if any(latency.estimated for latency in times) else "full",
                label=f"{system.name} ({quality:.3f})",
            )
    names = [collection.name for collection in report.collections]
    axes.set_xlabel("median latency of a query, ms")
    axes.set_ylabel(metric if len(names) == 1 else f"{metric}, mean of {len(names)} collections")
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(lambda x, _: f"{x:g}")
    _finish(axes, ", ".join(names))


def _draw_tuning(
    axes: Axes, tuning: Tuning, label: str, take: Callable[[TuneRow], float | None]
) -> None:
    """Plot the configurations against one of the things that they take."""
    rows = [(found, row) for row in tuning.rows if (found := take(row)) is not None]
    axes.plot([x for x, _ in rows], [row.value for _, row in rows], ".", color="silver")
    rows.sort(key=lambda pair: (pair[0], -pair[1].value))
    front: list[tuple[float, TuneRow]] = []
    for x, row in rows:
        if not front or row.value > front[-1][1].value:
            front.append((x, row))
    axes.step([x for x, _ in front], [row.value for _, row in front], where="post", color="grey")
    for at, (x, row) in enumerate(front):
        marker = _MARKERS[at // 10 % len(_MARKERS)]
        axes.plot(x, row.value, marker, label=f"{row.name} ({row.value:.3f})")
    if (chosen := take(tuning.chosen)) is not None:
        axes.plot(
            chosen,
            tuning.chosen.value,
            "*",
            color="black",
            markersize=14,
            fillstyle="none",
            label=f"recommended: {tuning.chosen.name}",
        )
    axes.set_xlabel(label)
    axes.set_ylabel(tuning.metric)
    _finish(axes, tuning.collection)


def _draw_reliability(axes: Axes, calibration: Calibration) -> None:
    bins = calibration.figures.get("reliability")
    if not bins:
        raise ConfigurationError("the calibration has no figures to plot; calibrate makes them")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    points = [[found[name] for found in bins] for name in ("probability", "relevant")]
    axes.plot(*points, "o-", label=f"{calibration.name}, {bins[0]['texts']} texts a point")
    axes.set_xlabel("mean probability")
    axes.set_ylabel("share that is relevant")
    _finish(axes, ", ".join(calibration.figures.get("collections", ())))


def _finish(axes: Axes, title: str) -> None:
    # A dollar sign in a name does not start a formula.
    axes.set_title(title[:90], parse_math=False)
    axes.grid(visible=True, alpha=0.3)
    legend = axes.legend(fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)
