"""The files beside this one, written as a user writes them, are clean for mypy and pyright.

Where such code is wrong it says so (``type: ignore``, ``pyright: ignore``), and both checkers
report an ignored error that is none: a wrong call that is no longer noticed fails here too.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SNIPPETS = sorted(str(path.relative_to(ROOT)) for path in HERE.glob("*_user.py"))


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_snippet_for_each_package() -> None:
    names = [Path(snippet).stem for snippet in SNIPPETS]
    assert names == ["core_user", "langchain_user", "llamaindex_user"]


def test_mypy() -> None:
    # With the project's settings, and so with the cache that `make lint` leaves.
    run("mypy", *SNIPPETS)


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright() -> None:
    run("pyright", "--pythonpath", sys.executable, "--project", str(HERE))
