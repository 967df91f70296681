"""The notebooks are executed, and stand in the repository with their outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    return [
        "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_both_frameworks_have_one() -> None:
    text = " ".join(path.name for path in NOTEBOOKS)
    assert "langchain" in text
    assert "llamaindex" in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_it_runs_and_prints_what_it_shows(path: Path) -> None:
    read: Any = nbformat.read
    notebook = read(path, as_version=4)
    shown = printed(notebook)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    ran = printed(notebook)
    assert [bool(text) for text in ran] == [bool(text) for text in shown]
    assert any("TimedRotatingFileHandler" in text for text in ran)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_nothing_of_the_machine_it_ran_on_is_kept(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", [])]
    assert outputs
    assert all(output.get("name") != "stderr" for output in outputs)
    assert "/home/" not in str(outputs)
    assert "site-packages" not in str(outputs)
