from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rerank_core import OnnxCrossEncoder
from rerank_core.cli._app import app
from support.models import TinyModel

RERANK = [sys.executable, "-m", "rerank_core.cli"]


def run(*arguments: str | Path, prefix: str = "") -> subprocess.CompletedProcess[str]:
    script = f"{prefix}\nfrom rerank_core.cli import main\nimport sys\nsys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", script, "export", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )


def test_help() -> None:
    result = CliRunner().invoke(app, ["export", "--help"])
    assert result.exit_code == 0
    assert "--precision" in result.stdout


def test_it_says_what_it_did(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(tiny().torch, "--out", out, "--precision", "int8", "--max-length", "40")
    assert done.returncode == 0, done.stderr
    shown = dict(line.rsplit("  ", 1) for line in done.stdout.splitlines() if "  " in line)
    shown = {name.strip(): value.strip() for name, value in shown.items()}
    assert shown["exported"] == "torch"
    assert shown["precision"] == "int8"
    assert shown["max length"] == "40 tokens"
    assert shown["scale"] == "unit (activation sigmoid)"
    assert shown["last layer"] == "first token only"
    assert shown["against the original"] == "248 built-in pairs"
    assert float(shown["Kendall tau"]) > 0.8
    assert shown["top-10 overlap"].endswith("%")
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    scorer = OnnxCrossEncoder(out)
    assert scorer.score("drug", ["river " * 60]).usage.tokens == 40


def test_errors_are_plain(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.txt").write_text("x")
    model = tiny().torch
    for arguments, message in (
        (
            [model, "--out", tmp_path / "there"],
            "exists; choose another, or replace it with --force",
        ),
        ([model, "--out", tmp_path / "there", "--force"], "is not an exported model"),
        ([model, "--out", tmp_path / "no" / "out"], "does not exist"),
        ([tmp_path / "there", "--out", tmp_path / "out"], "could not be loaded"),
        ([model, "--out", tmp_path / "out", "--precision", "fp16"], "--precision"),
        ([model], "--out"),
    ):
        result = CliRunner().invoke(app, ["export", *map(str, arguments)])
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_full_disk_leaves_nothing(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    done = run(tiny().torch, "--out", tmp_path / "out", prefix=limit)
    assert done.returncode == 1, done.stderr
    assert "rerank: " in done.stderr.splitlines()[-1]
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    master, slave = pty.openpty()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits "ignored"
    process = subprocess.Popen(
        [*RERANK, "export", str(tiny().torch), "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    signal.signal(signal.SIGINT, before)
    os.close(slave)
    with process:
        seen = b""
        try:
            while b"comparing" not in seen:
                assert select.select([master], [], [], 60)[0], seen
                seen += os.read(master, 65536)
            assert len(list(tmp_path.iterdir())) == 1  # the draft
            process.send_signal(signal.SIGINT)
            while True:
                try:
                    chunk = os.read(master, 65536)
                except OSError:  # how Linux ends a pseudo-terminal
                    break
                if not chunk:
                    break
                seen += chunk
            assert process.wait(timeout=60) == 130, seen.decode()
        finally:
            if process.poll() is None:
                process.kill()
            os.close(master)
    assert seen.rstrip().endswith(b"rerank: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_that_torch_swallows_leaves_nothing(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    swallow = (
        "import signal, sys\n"
        "class Swallows:\n"
        "    def __del__(self): signal.raise_signal(signal.SIGINT)\n"
        "def press(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'torch' and not seen:\n"
        "        seen.append(Swallows())\n"
        "        seen[0] = None\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.addaudithook(press)\n"
    )
    done = run(tiny().torch, "--out", tmp_path / "out", prefix=swallow)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "rerank: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["export", "info"])
def test_the_command_line_loads_no_torch_for_help(command: str) -> None:
    script = (
        "import sys\n"
        "from rerank_core.cli._app import app\n"
        "try:\n"
        f"    app([{command!r}, '--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "sys.exit(bool({'torch', 'onnx', 'sentence_transformers', 'numpy'} & set(sys.modules)))\n"
    )
    subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
