"""`rerank models`: the recommended models, and where their figures come from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rerank_core._models import RecommendedModel, list_models
from rerank_core.cli._output import output_console, rendered, write_lines

__all__ = ["show_models"]

_LEAST_WIDTH = 80  # a name that is broken into lines cannot be pasted


def show_models(*, as_json: bool) -> None:
    """Write the recommended models to standard output.

    Args:
        as_json: Write one JSON array instead of a table.

    Raises:
        OSError: If writing fails.
    """
    models = list_models()
    if as_json:
        write_lines([json.dumps([asdict(model) for model in models], indent=2)], None)
    else:
        parts = (_table(models), *_quality(models), *_notes(models))
        console = output_console()
        console.width = max(console.width, _LEAST_WIDTH)
        write_lines(rendered(console, *parts), None)


def _table(models: Sequence[RecommendedModel]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model", overflow="fold")
    table.add_column("languages", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    for runs_on, group in groupby(models, key=lambda model: model.runs_on):
        table.add_row(Text(runs_on, style="bold"))
        for model in group:
            table.add_row(
                Text(f"  {model.name}"),
                model.languages or "-",
                "-" if model.parameters is None else f"{model.parameters / 1e6:.3g}M",
                "-" if model.max_length is None else f"{model.max_length:,}",
                model.licence or "-",
            )
    return table


def _quality(models: Sequence[RecommendedModel]) -> Iterator[RenderableType]:
    """Lay out the figures benchmark by benchmark, since only those of one can be compared."""
    yield Text("\nPublished quality (compare figures of the same benchmark only)", style="bold")
    measured = [model for model in models if model.benchmark]
    for benchmark in dict.fromkeys(model.benchmark for model in measured):
        group = [model for model in measured if model.benchmark == benchmark]
        yield Text(f"{benchmark}:")
        table = Table.grid(padding=(0, 2))
        for model in group:
            table.add_row(Text(str(model.quality)), Text(model.name))
        yield Padding(table, (0, 0, 0, 2))
        yield Padding(Text(str(group[0].source), overflow="fold"), (0, 0, 0, 2))


def _notes(models: Sequence[RecommendedModel]) -> Iterator[RenderableType]:
    yield Text("\nNotes", style="bold")
    for model in models:
        if model.note:
            yield Text(f"{model.name}: {model.note}")
