"""The version matrix: `nox` runs all of it, `nox -l` lists it, `nox -s peers` runs a part.

`make release-check` runs the sessions `dist` and `installed`, on what would be published.

The lowest and the newest release that each extra allows, on the lowest Python and on the newest
one this machine has. A session takes the newest of everything else that goes with the release,
and runs the tests it can affect. `make test` is the whole suite on the newest of all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nox

nox.options.sessions = ("matrix", "peers", "ray", "typing")
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True

OLDEST_PYTHON = "3.11"
# What all tests import, beside what a session is about.
TEST_TOOLS = ("hypothesis", "pytest>=8.2", "pytest-asyncio>=0.26")
ADAPTER_TESTS = ("tests/contract/test_adapters.py", "tests/contract/test_adapter_options.py")


class Subject(NamedTuple):
    """A package whose releases are tried.

    Attributes:
        extras: Ours that its tests need.
        tools: What else they import.
        tests: The tests it can affect, as arguments of pytest.
        beside_floor: Limits on other packages whose newest releases break the lowest of this one
            without saying so.
    """

    extras: str
    tools: tuple[str, ...]
    tests: tuple[str, ...]
    beside_floor: tuple[str, ...] = ()


SUBJECTS = {
    "langchain-core": Subject(
        "cohere,langchain,llamaindex",
        ("faiss-cpu", "langchain", "langchain-classic", "langchain-community", "langchain-tests"),
        (
            "tests/langchain_rerank",
            *ADAPTER_TESTS,
            "--ignore=tests/langchain_rerank/test_migration.py",  # it needs torch
        ),
        beside_floor=("langgraph-checkpoint<4", "langgraph-prebuilt<1.0.2"),
    ),
    "llama-index-core": Subject(
        "cohere,langchain,llamaindex",
        (),
        (
            "tests/llamaindex_rerank",
            *ADAPTER_TESTS,
            "--ignore=tests/llamaindex_rerank/test_peers.py",  # it needs torch
        ),
    ),
    "cohere": Subject("cohere", (), ("tests/rerank_core/remote/cohere",)),
    "sentence-transformers": Subject(
        "cohere,export,llamaindex",
        (),
        ("tests/rerank_core/local/test_torch.py", "tests/llamaindex_rerank/test_peers.py"),
    ),
}


OUR_EXTRAS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
# Those for work on this repository do nothing outside it.
EXTRAS = ("base", *(extra for extra in OUR_EXTRAS if extra not in ("bench", "dev", "docs")))


def floor_of(package: str) -> str:
    """Return the lowest release that pyproject.toml allows."""
    for requirement in (line for lines in OUR_EXTRAS.values() for line in lines):
        if found := re.match(rf"{package}>=([\d.]+)", requirement):
            return found[1]
    raise LookupError(f"pyproject.toml has no lowest release of {package}")


def newest_python() -> str:
    """Find the newest released Python on the path or among pyenv's, and put it on the path."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    check = "import sys; sys.exit(sys.version_info.releaselevel != 'final')"
    for minor in range(30, sys.version_info.minor, -1):
        name = f"python3.{minor}"
        for python in (shutil.which(name), *map(str, pyenv.glob(f"versions/*/bin/{name}"))):
            if python is None:
                continue
            # pyenv has a command on the path even for a Python that is not switched on.
            done = subprocess.run([python, "-c", check], capture_output=True, check=False)  # noqa: S603 - no input
            if done.returncode == 0:
                os.environ["PATH"] = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
                return f"3.{minor}"
    return f"3.{sys.version_info.minor}"


def install(session: nox.Session, extras: str, *requirements: str) -> None:
    """Install this package with extras, the tools of all tests, and other requirements."""
    session.install("-c", "constraints-dev.txt", "-e", f".[{extras}]", *TEST_TOOLS, *requirements)


@nox.session(python=sorted({OLDEST_PYTHON, newest_python()}))
@nox.parametrize("release", ["floor", "newest"])
@nox.parametrize("package", [*SUBJECTS])
def matrix(session: nox.Session, package: str, release: str) -> None:
    """The tests that a package can affect, with one of its releases."""
    if package == "sentence-transformers" and session.python != OLDEST_PYTHON:
        # Where there is no wheel for the CPU, pip takes a build for CUDA: several gigabytes.
        session.skip(f"torch is tried on Python {OLDEST_PYTHON} only")
    subject = SUBJECTS[package]
    chosen: tuple[str, ...] = (package,)
    if release == "floor":
        chosen = (f"{package}=={floor_of(package)}", *subject.beside_floor)
    install(session, subject.extras, *chosen, *subject.tools)
    session.run("python", "-m", "pip", "freeze")
    # The oldest release may itself warn about the newest of what it needs.
    lenient = ["-W", "default"] if release == "floor" else []
    session.run("python", "-m", "pytest", "-q", *lenient, *subject.tests, *session.posargs)


@nox.session(python=OLDEST_PYTHON)
def peers(session: nox.Session) -> None:
    """The frameworks' own rerankers beside ours, in environments with an older Cohere SDK."""
    packages = (
        *("llama-index-postprocessor-cohere-rerank", "llama-index-postprocessor-sbert-rerank"),
        *("flashrank", "langchain-classic", "langchain-cohere", "langchain-community", "litellm"),
    )
    install(session, "cohere,export,langchain,llamaindex,serve,tei", *packages)
    session.run("python", "-m", "pip", "freeze")
    folders = ("langchain_rerank", "llamaindex_rerank", "rerank_core/serving")
    tests = [f"tests/{folder}/peers.py" for folder in folders]
    session.run("python", "-m", "pytest", "-q", *tests, *session.posargs)


@nox.session(python=OLDEST_PYTHON)
def ray(session: nox.Session) -> None:
    """Bulk jobs on Ray: the same results, whoever is killed, within the same memory."""
    install(session, "cli,export,ray,tei", "psutil")
    page = "tests/docs/test_docs.py::test_the_blocks_of_a_page_print_what_it_shows[how-to/bulk.md]"
    lenient = ["-W", "default"]  # Ray warns of its own settings
    session.run("python", "-m", "pytest", "-q", *lenient, "tests/on_ray", page, *session.posargs)


@nox.session(python=OLDEST_PYTHON)
def typing(session: nox.Session) -> None:
    """User code for mypy and pyright; the latter fetches itself when it first runs."""
    tools = ("langchain-classic", "mypy", "pyright[nodejs]")
    install(session, "agents,cli,cohere,langchain,llamaindex,tei", *tools)
    session.run("python", "-m", "pytest", "-q", "tests/typing", *session.posargs)


@nox.session(python=OLDEST_PYTHON)
def dist(session: nox.Session) -> None:
    """Build the wheel and the source archive into dist/, and check what is in them."""
    shutil.rmtree("dist", ignore_errors=True)
    session.install(
        "build", "twine", *nox.project.load_toml("pyproject.toml")["build-system"]["requires"]
    )
    build = ("python", "-m", "build", "--no-isolation")
    session.run(*build)  # the wheel is built from the source archive
    session.run(*build, "--wheel", "--outdir", session.create_tmp())
    archives = [str(path) for path in sorted(Path("dist").iterdir(), reverse=True)]
    session.run("twine", "check", "--strict", *archives)
    (again,) = Path(session.create_tmp()).glob("*.whl")
    wheel, sdist = sorted(archives, key=lambda name: not name.endswith(".whl"))
    session.run("python", "tests/release/archives.py", wheel, sdist, str(again))


@nox.session(python=OLDEST_PYTHON)
@nox.parametrize("extra", EXTRAS)
def installed(session: nox.Session, extra: str) -> None:
    """Install the built wheel with an extra and nothing else, and try what the extra promises."""
    (wheel,) = Path("dist").glob("*.whl")
    session.install(str(wheel.resolve()) if extra == "base" else f"{wheel.resolve()}[{extra}]")
    session.run("python", "-m", "pip", "check")
    session.run("python", "-I", "tests/release/installed.py", extra)
