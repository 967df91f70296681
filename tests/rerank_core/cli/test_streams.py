"""The real program on standard streams that are closed or full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RERANK = f"{sys.executable} -m rerank_core.cli"
LINES = '{"text": "cats purr"}\nbad\n{"text": "plants use light"}\n'


def shell(command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command in a folder, with ``$RERANK`` as the program."""
    return subprocess.run(
        ["sh", "-c", command.replace("$RERANK", RERANK)],
        cwd=folder, capture_output=True, text=True, env={**os.environ, **env}, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.jsonl").write_text(LINES)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "lines"),
    [
        ("rank -q x in.jsonl", 0, 2),
        ("rank -q x --usage in.jsonl", 0, 2),
        ("rank -q x --strict in.jsonl", 1, 0),
        ("rank -q x missing.jsonl", 1, 0),
        ("rank --wrong", 2, 0),
        ("rank -q x -s nona in.jsonl", 2, 0),
    ],
)
def test_a_message_that_cannot_be_written_costs_nothing(
    folder: Path, arguments: str, code: int, lines: int
) -> None:
    done = shell(f"$RERANK {arguments} 2>/dev/full", folder)
    assert (done.returncode, done.stderr) == (code, "")
    assert len(done.stdout.splitlines()) == lines


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (">/dev/full", "rerank: No space left on device\n"),
        (">&-", "rerank: standard output is closed"),
    ],
)
@pytest.mark.parametrize("arguments", ["--help", "--version", "rank --help", "rank -q x -", "info"])
def test_what_cannot_be_written_is_told_in_one_line(
    folder: Path, stream: str, message: str, arguments: str
) -> None:
    done = shell(f"echo cats | $RERANK {arguments} {stream}", folder)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_a_file_is_written_where_all_standard_streams_are_closed(folder: Path) -> None:
    done = shell("$RERANK rank -q x -o out.jsonl in.jsonl <&- >&- 2>&-", folder)
    assert done.returncode == 0
    # A file that was opened on a free descriptor would hold the messages, too.
    assert [line[:8] for line in (folder / "out.jsonl").read_text().splitlines()] == [
        '{"text":'
    ] * 2


def test_a_character_that_a_terminal_has_no_code_for_is_replaced(folder: Path) -> None:
    (folder / "show.py").write_text(
        "from rerank_core.cli._streams import prepare_streams\nprepare_streams()\nprint('a\u2192b')"
    )
    done = shell(f"{sys.executable} show.py", folder, PYTHONIOENCODING="ascii")
    assert (done.stdout, done.stderr) == ("a?b\n", "")


def test_a_device_without_an_end_is_refused(folder: Path) -> None:
    done = shell("$RERANK rank -q x /dev/zero", folder)
    message = "rerank: /dev/zero: line 1 is longer than 134,217,728 bytes\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)
