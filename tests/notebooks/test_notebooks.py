"""The notebooks are run, and stand in the repository with what they print.

`make notebooks` runs them and rewrites their outputs. What is compared is what they print, as for
the pages (see `support.markdown`): a cell whose figures change from run to run, such as times, has
the tag `figures-vary`. Pictures are drawn, and not compared.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from support.markdown import same_output

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


FORMAT: Any = nbformat  # it has no types


def _read(path: Path) -> Any:
    return FORMAT.read(path, as_version=4)


def _code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


def _pictures(cell: Any) -> list[bytes]:
    data = [output.get("data", {}) for output in cell.outputs]
    return [b64decode(found["image/png"]) for found in data if "image/png" in found]


@pytest.fixture(scope="module")
def client() -> Iterator[NotebookClient]:
    """One kernel for all notebooks, as importing torch takes longer than a notebook does."""
    options: dict[str, Any] = {"timeout": 300, "record_timing": False, "coalesce_streams": True}
    client = NotebookClient(FORMAT.v4.new_notebook(), kernel_name="python3", **options)
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    # Of libraries: one would like a widget, one is being replaced.
    environment["PYTHONWARNINGS"] = "ignore:IProgress,ignore:`langchain-community` is being sunset"
    with client.setup_kernel(env=environment):
        yield client


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_it_runs_and_prints_what_it_shows(
    path: Path, client: NotebookClient, *, update_outputs: bool
) -> None:
    shown, notebook = _read(path), _read(path)
    forget = FORMAT.v4.new_code_cell("%reset -f")  # what another notebook named
    client.nb = FORMAT.v4.new_notebook(cells=[forget])
    client.execute_cell(forget, 0)
    client.nb = notebook
    client.reset_execution_trackers()
    for number, cell in enumerate(notebook.cells):
        client.execute_cell(cell, number)
    for number, cell in enumerate(_code_cells(notebook), 1):
        cell.execution_count = number
    if update_outputs:
        FORMAT.write(notebook, path)
        return
    for old, new in zip(_code_cells(shown), _code_cells(notebook), strict=True):
        before, after = _printed(old), _printed(new)
        note = " ".join(new.metadata.get("tags", ()))
        assert same_output(before, after, note), f"{new.id} now prints:\n{after}"
        assert len(_pictures(old)) == len(_pictures(new))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_what_is_kept_is_small_and_not_of_the_machine(path: Path) -> None:
    outputs = [output for cell in _code_cells(_read(path)) for output in cell.outputs]
    assert outputs
    assert all(output.get("name") != "stderr" for output in outputs)
    text = json.dumps(outputs)
    assert not [trace for trace in ("/home/", "/root/", "/tmp/", "site-packages") if trace in text]
    pictures = [picture for cell in _code_cells(_read(path)) for picture in _pictures(cell)]
    assert pictures
    assert max(map(len, pictures)) < 60_000


def test_both_frameworks_put_the_answers_at_the_same_ranks() -> None:
    tables = [
        [text for cell in _code_cells(_read(path)) if "moved up" in (text := _printed(cell))]
        for path in NOTEBOOKS[:2]
    ]
    assert len(tables[0]) == 1
    assert tables[0] == tables[1]
