"""`rerank export`: export a model, and tell what was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rerank_core.cli._guard import interrupt_raised, to_stderr
from rerank_core.cli._output import two_columns, write_lines

if TYPE_CHECKING:
    from rerank_core.export import ExportReport

__all__ = ["run_export"]


def run_export(model: str, out: Path, **options: Any) -> None:
    """Export a model, and write what was done to standard output.

    Args:
        model: Hub id or folder.
        out: The folder to write.
        **options: For `export_model`.

    Raises:
        RerankError: If the export fails.
        OSError: If writing fails.
    """
    from rerank_core.export import export_model

    with interrupt_raised() as check, _status(check) as progress:
        report = export_model(model, out, progress=progress, **options)
    write_lines(two_columns(_export_rows(report)), None)
    for warning in report.warnings:
        to_stderr(f"warning: {warning}")


@contextmanager
def _status(check: Callable[[], None]) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being done, and erase it afterwards."""
    with Console(stderr=True).status("starting") as status:

        def show(step: str) -> None:
            check()
            status.update(step)

        yield show


def _export_rows(report: ExportReport) -> list[tuple[str, str]]:
    found = report.verification
    revision = f" at {report.revision}" if report.revision else ""
    last_layer = "first token only" if report.first_token_only else f"whole: {report.kept_whole}"
    return [
        ("exported", f"{report.source}{revision}"),
        ("to", f"{report.folder} ({report.size / 1e6:.1f} MB)"),
        ("precision", report.precision),
        ("max length", f"{report.max_length} tokens"),
        ("scale", f"{report.scale.value} (activation {report.activation})"),
        ("last layer", last_layer),
        ("against the original", f"{found.pairs} built-in pairs"),
        ("  max difference", f"{found.max_difference:.2g} (logits)"),
        ("  Kendall tau", f"{found.kendall_tau:.4f}"),
        ("  top-10 overlap", f"{found.top10_overlap:.1%}"),
    ]
