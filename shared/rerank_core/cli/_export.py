"""``rerank export``: a torch cross-encoder as an ONNX folder, and what became of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rerank_core._display import printable
from rerank_core.cli._guard import interrupt_raised, tell
from rerank_core.cli._output import write_lines
from rerank_core.export import ExportReport, export_model

__all__ = ["ExportPrecision", "run_export"]


class ExportPrecision(StrEnum):
    """What ``--precision`` takes."""

    FP32 = "fp32"
    INT8 = "int8"


def run_export(model: str, out: Path, precision: ExportPrecision, **options: Any) -> None:
    """Export a model, and write what was done to standard output.

    Args:
        model: Hub id or folder.
        out: The folder to write.
        precision: Of the export.
        **options: For `export_model`.

    Raises:
        RerankError: If that fails.
        OSError: If writing fails.
    """
    with interrupt_raised() as check, _steps(check) as step:
        report = export_model(model, out, precision=precision.value, progress=step, **options)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(report):
        table.add_row(name, Text(printable(value)))
    console = Console(force_terminal=sys.stdout is not None and sys.stdout.isatty())
    with console.capture() as capture:
        console.print(table)
    write_lines([line.rstrip() for line in capture.get().rstrip().split("\n")], None)
    for warning in report.warnings:
        tell(f"warning: {warning}")


@contextmanager
def _steps(check: Callable[[], None]) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being done, and take it away afterwards."""
    with Console(stderr=True).status("starting") as status:

        def show(step: str) -> None:
            check()
            status.update(step)

        yield show


def _rows(report: ExportReport) -> list[tuple[str, str]]:
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
        ("against torch", f"{found.pairs} built-in pairs"),
        ("  max difference", f"{found.max_difference:.2g} (logits)"),
        ("  Kendall tau", f"{found.kendall_tau:.4f}"),
        ("  top-10 overlap", f"{found.top10_overlap:.1%}"),
    ]
