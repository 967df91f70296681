"""The code of an earlier revision of this project, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROOT", "Checkout", "CheckoutError", "checkout", "code_path"]

ROOT = Path(__file__).resolve().parents[1]
"""The folder of this project."""

_OWN_PATH = (ROOT, ROOT / "shared")


class CheckoutError(RuntimeError):
    """The code of a revision cannot be had."""


class Checkout(NamedTuple):
    """The code of a revision.

    Attributes:
        root: Folder of the project as it was.
        commit: Short name of the commit.
    """

    root: Path
    commit: str


@contextmanager
def checkout(revision: str, repository: Path = ROOT) -> Iterator[Checkout]:
    """Write the code of a revision to a temporary folder, which is removed at the end.

    The repository itself is left as it is.

    Args:
        revision: A commit, branch or tag.
        repository: Root of a clone.

    Yields:
        The folder and the commit.

    Raises:
        CheckoutError: If there is no git or no clone, the revision is unknown, or it does not
            contain the project.
    """
    top = Path(_git(repository, "rev-parse", "--show-toplevel"))
    if top.resolve() != repository.resolve():
        raise CheckoutError(f"{repository} is not the root of a git clone, but {top} is")
    found = ("rev-parse", "--verify", "--quiet", "--short", "--end-of-options")
    try:
        commit = _git(repository, *found, revision + "^{commit}")
    except CheckoutError as error:
        raise CheckoutError(
            f"{revision!r} is not a commit, branch or tag of {repository}; "
            "fetch it first if the clone is shallow"
        ) from error
    with tempfile.TemporaryDirectory(prefix="rerank-core-") as folder:
        archive, root = Path(folder) / "code.zip", Path(folder) / commit
        _git(repository, "archive", "--format=zip", f"--output={archive}", commit)
        shutil.unpack_archive(archive, root)
        archive.unlink()
        if not (root / "shared" / "rerank_core").is_dir():
            raise CheckoutError(f"{revision!r} ({commit}) has no shared/rerank_core")
        yield Checkout(root, commit)


def code_path(root: Path) -> str:
    """Return the value of PYTHONPATH that runs the code of a checkout, or of this clone."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = (path for path in given if path and Path(path).resolve() not in _OWN_PATH)
    return os.pathsep.join([str(root / "shared"), str(root), *others])


def _git(repository: Path, *arguments: str) -> str:
    # A hook of git sets variables that may point at another repository.
    fixed = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {name: value for name, value in os.environ.items() if name not in fixed}
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
    except FileNotFoundError as error:
        raise CheckoutError("git is not installed, or not on PATH") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip() or f"it ended with {error.returncode}"
        raise CheckoutError(f"git {arguments[0]} failed: {reason}") from error
    return done.stdout.strip()
