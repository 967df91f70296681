"""The peers' environments: one for each file of pinned requirements, made once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["NAMES", "installed", "interpreter", "prepare"]

_FILES = Path(__file__).with_name("environments")
_SIZES = Path(__file__).with_name("sizes.py")
NAMES = tuple(sorted(path.stem for path in _FILES.glob("*.txt")))
"""Names of all environments."""


def prepare(name: str, folder: Path, report: Callable[[str], None]) -> None:
    """Make an environment unless it is there and holds what its file asks for.

    Args:
        name: One of `NAMES`.
        folder: Where environments lie; it is made, and git ignores it.
        report: Called with what is going on.

    Raises:
        subprocess.CalledProcessError: If something cannot be installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    wanted = (_FILES / f"{name}.txt").read_bytes()
    done = folder / name / "installed.txt"
    if done.exists() and done.read_bytes() == wanted:
        return
    report(f"installing the environment {name!r}; this takes minutes")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / name)], check=True)
    pip = [str(interpreter(name, folder)), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "-r", str(_FILES / f"{name}.txt")], check=True)
    done.write_bytes(wanted)


def interpreter(name: str | None, folder: Path) -> Path:
    """Return the interpreter of an environment; None is the one that runs this."""
    if name is None:
        return Path(sys.executable)
    return folder / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def installed(python: Path, packages: Sequence[str]) -> dict[str, Any]:
    """Return the bytes that packages and all they need take on disk, and their versions."""
    command = [str(python), str(_SIZES), *packages]
    found: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return found
