"""Plot of quality against latency."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from rerank_core._checks import describe
from rerank_core._errors import ConfigurationError, MissingExtraError
from rerank_core._files import replacing
from rerank_core.evaluation._report import FIRST_STAGE, Report

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


def plot(report: Report, path: Path) -> None:
    """Plot each system's mean quality against its median latency, and the first stage's quality.

    With several collections both are means over the collections. A hollow marker is an estimated
    latency, see `Latency`.

    Args:
        report: The report to plot.
        path: The file to write: PNG, SVG or PDF, by its ending.

    Raises:
        ConfigurationError: If the ending is none of those.
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
        from matplotlib.ticker import FuncFormatter
    except ImportError as error:
        raise MissingExtraError("eval", "A plot") from error
    metric = report.metrics[0]
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # pyplot would look for a display
    axes = figure.subplots()
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
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("median latency of a query, ms")
    axes.set_ylabel(metric if len(names) == 1 else f"{metric}, mean of {len(names)} collections")
    # A dollar sign in a name does not start a formula.
    axes.set_title(", ".join(names)[:90], parse_math=False)
    axes.grid(visible=True, alpha=0.3)
    legend = axes.legend(fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)
    with replacing(path) as stream:
        figure.savefig(stream, format=ending[1:], metadata={_OMITTED[ending]: None})
