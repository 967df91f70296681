from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from benchmarks._checkout import ROOT
from benchmarks._modules import Circle, ReachIn, When, circles, reach_ins, read_modules
from benchmarks.count import count


def _package(folder: Path, files: dict[str, str]) -> Path:
    package = folder / "house"
    for name, text in {"__init__.py": "", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return package


def test_code_lines_are_without_blanks_comments_and_docstrings(tmp_path: Path) -> None:
    text = '''\
        """A module.

        With two paragraphs.
        """

        from typing import (  # a comment beside code
            Any,
        )

        # a comment

        TEXT = """
        # inside a string, blank lines and these do not count

        but this one does
        """
        NUMBER = 1
        """A docstring of a variable is code: nothing but its position tells it from a string."""


        class Room:
            """A class."""

            async def enter(self) -> Any:
                """A method."""
                return TEXT


        def leave() -> None: ...
    '''
    module = read_modules(_package(tmp_path, {"door.py": text}))["house.door"]
    assert (module.lines, module.code_lines) == (29, 12)


@pytest.mark.parametrize(
    ("first", "second", "when"),
    [
        ("import house.b", "from house import a", When.LOADING),
        ("from . import b", "from .a import A", When.LOADING),
        (
            "try:\n    from house.b import B\nexcept ImportError: ...",
            "import house.a",
            When.LOADING,
        ),
        ("from house.b import B", "def f():\n    from house.a import A", When.CALLING),
        (
            "from house.b import B",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.a import A",
            When.TYPING,
        ),
        (
            "def f():\n    from house.b import B",
            "import house.a\ndef f(): import house.a",
            When.CALLING,
        ),
    ],
)
def test_circles_and_when_they_close(tmp_path: Path, first: str, second: str, when: When) -> None:
    modules = read_modules(
        _package(tmp_path, {"a.py": first, "b.py": second, "c.py": "import house.a"})
    )
    assert circles(modules) == [Circle(("house.a", "house.b"), when)]


def test_modules_in_one_circle_count_once(tmp_path: Path) -> None:
    files = {
        "a.py": "from house import b",
        "b.py": "from house import c",
        "c.py": "from house import a, b",
        "d/__init__.py": "from house.d.e import E",
        "d/e.py": "import house.a",  # it does not count that house.d is imported first
    }
    assert circles(read_modules(_package(tmp_path, files))) == [
        Circle(("house.a", "house.b", "house.c"), When.LOADING)
    ]


def test_private_names_of_other_modules(tmp_path: Path) -> None:
    files = {
        "owner.py": """
            def _helper(): ...
            class Owner:
                _limit = 1
                def __init__(self): self._state = 2
                def _step(self): ...
        """,
        "_secret.py": "shown = 1",
        "user.py": """
            from house import Owner
            from house._secret import shown
            from house.owner import _helper as helper

            class User:
                _state = 0
                def use(self, other, foreign):
                    other._state = self._limit
                    other._limit = 3
                    self.inner._state = 4
                    foreign._replace()
                    super()._step()
                    return helper()._step(self.__dict__)
        """,
        "__init__.py": "from house.owner import Owner\nfrom house import _secret",
        "stranger.py": "def use(other): return other._limit",  # of another library, it seems
    }
    assert reach_ins(read_modules(_package(tmp_path, files))) == [
        ReachIn(
            "house.user",
            ("house.owner",),
            (
                "line 4: from house.owner import _helper as helper",
                "line 10: other._limit",
                "line 11: self.inner._state",
                "line 14: helper()._step",
            ),
        )
    ]


def test_this_project_is_counted() -> None:
    found = count(ROOT)
    assert {"rerank_core", "rerank_core.cli"} <= {module.name for module in found.core}
    for run in found.files_run.values():
        assert {"scorer.py", "types.py"} <= {file.lstrip("_") for file in run["kept"]}
        assert set(run["kept"]) < set(run["named"])
        assert all((ROOT / "shared" / "rerank_core" / file).is_file() for file in run["named"])


def test_the_command_prints_two_tables() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.count", "--verbose"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| code lines | " in done.stdout
    assert "| cli | " in done.stdout
    assert "Files that run with Cohere" in done.stdout
