from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from rerank_core import list_models
from rerank_core.cli._app import app

runner = CliRunner()


@pytest.mark.parametrize("columns", ["10", "80"])
def test_every_fact_is_shown_within_80_columns(
    columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    result = runner.invoke(app, ["models"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    shown = " ".join(result.stdout.split())
    joined = "".join(result.stdout.split())
    for model in list_models():
        row = next(line for line in lines if line.split()[:1] == [model.name])
        facts = [model.languages or "-", model.licence or "-", f"{model.max_length:,}"]
        assert set(facts) <= set(row.split())
        if model.quality:
            assert f"{model.quality} {model.name}" in shown
            assert f"{model.benchmark}:" in shown
            assert "".join(str(model.source).split()) in joined
        assert model.note is None or f"{model.name}: {model.note}" in shown


def test_figures_stand_under_their_own_benchmark() -> None:
    shown = runner.invoke(app, ["models"]).stdout.partition("Published quality")[2]
    of_nano, _, others = shown.partition("MTEB(eng, v2)")
    assert "0.687" in of_nano
    assert "0.687" not in others


def test_json_holds_the_list() -> None:
    result = runner.invoke(app, ["models", "--json"])
    assert json.loads(result.stdout) == [asdict(model) for model in list_models()]


def test_no_model_library_is_imported() -> None:
    script = (
        "import sys\n"
        "from rerank_core.cli._models_table import show_models\n"
        "show_models(as_json=False)\n"
        "sys.exit(bool({'torch', 'onnxruntime', 'huggingface_hub', 'numpy'} & set(sys.modules)))\n"
    )
    subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
