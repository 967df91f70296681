"""Pages whose code is run, and whose outputs are what it printed.

A ```` ```python ```` block is run. What it prints stands in a ```` ```text ```` block right
behind it. A ```` ```console ```` block holds commands, each behind ``$ ``, with what they print
beneath them. Commands that are not to be run stand in ```` ```sh ````.

Outputs must be the same, but for blanks at line ends and for fractions that differ by less than
1 %, as int8 models round otherwise on other processors. Where figures change from run to run, such
as times, the block says so behind its language: ```` ```text figures-vary ````.

A block that needs what a test may not have tells its reader in its first line: ``# needs
langchain: …``, ``# needs network: …``. It is run where there is a module of that name, else
compiled only.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from math import isclose
from pathlib import Path
from textwrap import dedent, indent

import pytest

from rerank_core.testing import ScriptedServer

__all__ = [
    "check_outputs",
    "cohere_stand_in",
    "python_blocks",
    "relative_links",
    "run_block",
    "same_output",
    "with_outputs",
]

_PYTHON = re.compile(r"^( *)```python\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(
    r"^(?P<indent> *)```python\n(?P<code>.*?)^ *```\n"
    r"(?:\n*^ *```text(?P<note>[^\n]*)\n(?P<output>.*?)^ *```\n)?"
    r"|^(?P<at> *)```console(?P<remark>[^\n]*)\n(?P<session>.*?)^ *```\n",
    re.DOTALL | re.MULTILINE,
)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)
_NEED = re.compile(r"# needs (\w+)")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
_FRACTION = re.compile(r"\d+\.\d+(?:e-?\d+)?")
_VARY = "figures-vary"


def python_blocks(page: Path) -> list[str]:
    """Return the page's Python blocks, in order."""
    return [dedent(code) for _, code in _PYTHON.findall(page.read_text(encoding="utf-8"))]


def relative_links(page: Path) -> list[Path]:
    """Return the files that the page links to."""
    return [page.parent / link for link in _LINK.findall(page.read_text(encoding="utf-8"))]


def run_block(block: str, names: dict[str, object]) -> str | None:
    """Run a block with these names, and add its own.

    Returns:
        What it printed, or None if it was only compiled, as something that it needs is missing.
    """
    code = compile(block, "<block>", "exec")
    need = _NEED.match(block)
    if need is not None and find_spec(need[1]) is None:
        return None
    with redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    return printed.getvalue()


def run_command(command: str) -> str:
    """Run a command in a shell that finds this environment's programs; return what it printed.

    Standard error counts, too. A command that fails has its exit code below its output.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        env={**os.environ, "PATH": path, "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    return done.stdout + (f"[exit code {done.returncode}]\n" if done.returncode else "")


def with_outputs(
    text: str,
    names: Callable[[], dict[str, object]] = dict,
    command: Callable[[str], str] = run_command,
) -> str:
    """Run the blocks of a text and return it with what they print now.

    An output that says the same as the one that is there stays as it is.

    Args:
        text: Markdown, or the source of a module whose docstrings hold blocks.
        names: Returns the names that a block finds: the same mapping each time where blocks go
            on from one another, and an empty one where each stands alone.
        command: Runs a command and returns what it printed.
    """

    def python(found: re.Match[str]) -> str:
        margin, block, note = found["indent"], found[0], found["note"] or ""
        printed = run_block(dedent(found["code"]), names())
        if printed is None:
            return block
        old = dedent(found["output"] or "")
        if found["output"] is not None and printed and same_output(old, printed, note):
            return block
        block = block[: found.end("code") - found.start()] + f"{margin}```\n"
        if printed:
            shown = indent(_ended(printed), margin)
            block += f"\n{margin}```text{note}\n{shown}{margin}```\n"
        return block

    def console(found: re.Match[str]) -> str:
        margin, note = found["at"], found["remark"]
        before, *parts = _COMMAND.split(dedent(found["session"]))
        assert not before, f"a console block begins with a command, not with {before!r}"
        lines = ""
        for line, old in zip(parts[::2], parts[1::2], strict=True):
            printed = command(line)
            lines += f"$ {line}\n{old if same_output(old, printed, note) else _ended(printed)}"
        return f"{margin}```console{note}\n{indent(lines, margin)}{margin}```\n"

    return _BLOCK.sub(lambda found: (python if found["code"] is not None else console)(found), text)


def check_outputs(page: Path, names: dict[str, object], *, update: bool) -> None:
    """Run a page's blocks one after the other, and compare or rewrite their outputs.

    Args:
        page: A Markdown file.
        names: Names that the first block finds, and that the blocks add to.
        update: Whether the page is rewritten; else it must be what it would become.
    """
    text = page.read_text(encoding="utf-8")
    current = with_outputs(text, lambda: names)
    if update:
        if current != text:
            page.write_text(current, encoding="utf-8")
        return
    assert current == text, f"{page.name} shows other outputs; `make docs-outputs` rewrites them"


@contextmanager
def cohere_stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Let Cohere's service be a server on this machine, and the working directory `folder`."""
    with ScriptedServer() as server:
        monkeypatch.setenv("CO_API_KEY", "a-key")
        monkeypatch.setenv("CO_API_URL", server.url)
        monkeypatch.chdir(folder)
        yield


def _ended(printed: str) -> str:
    """Return it without blanks at the ends of lines, and with one line break at its end."""
    lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines()).strip("\n")
    return f"{lines}\n" if lines else ""


def same_output(old: str, new: str, note: str) -> bool:
    """Return whether two outputs say the same; figures may differ if the note allows it."""
    if note.strip() == _VARY:
        return _without_figures(old) == _without_figures(new)
    old, new = _ended(old), _ended(new)
    if _FRACTION.sub("", old) != _FRACTION.sub("", new):
        return False
    pairs = zip(_FRACTION.findall(old), _FRACTION.findall(new), strict=True)
    return all(
        isclose(float(a), float(b), rel_tol=0.01, abs_tol=0.005) and _is_round(a) == _is_round(b)
        for a, b in pairs
    )


def _without_figures(text: str) -> list[str]:
    # Columns and rules are as wide as the figures in them.
    return re.sub(r"\d[\d.,]*(?:e-?\d+)?", "0", re.sub("[─━-]+", "-", text)).split()


def _is_round(fraction: str) -> bool:
    return len(fraction.partition(".")[2]) <= 6
