"""Quality against latency, as a picture."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from rerank_core._errors import MissingExtraError
from rerank_core.evaluation._report import FIRST_STAGE, Report

__all__ = ["plot"]

_MARKERS = "os^Dv"


def plot(report: Report, path: Path) -> None:
    """Draw each system's mean quality against its median latency, and the first stage's quality.

    Over several collections both are means over them. A hollow mark is a latency that was
    estimated, see `Latency`.

    Args:
        report: What to draw.
        path: The PNG to write.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        OSError: If it cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except ImportError as error:
        raise MissingExtraError("eval", "A plot") from error
    metric = report.metrics[0]
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: it would look for a screen
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
                _MARKERS[at // 10 % len(_MARKERS)],  # the colours repeat after ten
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
    # No mathtext: a dollar sign in a name is a dollar sign.
    axes.set_title(", ".join(names)[:90], parse_math=False)
    axes.grid(visible=True, alpha=0.3)
    legend = axes.legend(fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)
    draft = path.with_name(f".{path.name}.tmp")
    try:
        figure.savefig(draft, format="png", metadata={"Software": None})
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
