"""Contents of the wheel and the source archive: ``python tests/release/archives.py WHEEL SDIST``.

``nox -s dist`` builds both and runs it.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
LARGEST = 32 << 20
NEEDED = {
    "langchain_rerank/py.typed",
    "llamaindex_rerank/py.typed",
    "rerank_core/evaluation/sample/LICENSE",
    "rerank_core/models/nano/README.md",
    "rerank_core/models/nano/model.onnx",
    "rerank_core/models/nano/tokenizer.json",
    "rerank_core/py.typed",
    *(f"rerank_core/serving/page/{name}" for name in ("index.html", "page.css", "page.js")),
}
NEEDED_OF_SOURCE = {
    *("CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "README.md", "SECURITY.md"),
    *("noxfile.py", "pyproject.toml", "tests/conftest.py", "docs/index.md"),
}


def wheel_files(wheel: Path) -> dict[str, str]:
    """Return the names of the files of a wheel, each with a hash of its content."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def check_wheel(files: Mapping[str, str], about: str, *, size: int) -> None:
    """Check that everything is there that users need, and nothing else.

    Args:
        files: The result of `wheel_files`.
        about: The folder of its metadata.
        size: The size of the wheel, in bytes.
    """
    assert not (missing := NEEDED - set(files)), missing
    licences = {name for name in files if name.startswith(f"{about}/licenses/")}
    assert {PurePosixPath(name).name for name in licences} == {"LICENSE"}, licences
    assert len(licences) == 2, licences
    packages = ("rerank_core", "langchain_rerank", "llamaindex_rerank", about)
    stray = [
        name
        for name in files
        if name.partition("/")[0] not in packages or name.endswith((".pyc", ".tmp", ".jsonl"))
    ]
    assert not stray, stray
    assert size < LARGEST, f"{size:,} bytes"


def check_source(sdist: Path) -> None:
    """Check that the source archive has what the repository has, as far as it is needed."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert not (missing := NEEDED_OF_SOURCE - names), missing
    stray = [name for name in names if ".venv" in name or name.endswith((".pyc", ".done"))]
    assert not stray, stray


def main(wheel: Path, sdist: Path, wheel_of_tree: Path) -> None:
    """Check both archives, and that a wheel built from either tree is the same.

    Args:
        wheel: Built from the source archive.
        sdist: The source archive.
        wheel_of_tree: Built from the repository.
    """
    files = wheel_files(wheel)
    about = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    check_wheel(files, about, size=wheel.stat().st_size)
    check_source(sdist)
    assert files == wheel_files(wheel_of_tree), "the archive does not build the repository's wheel"
    sys.stdout.write(f"{wheel.name}: {len(files)} files, {wheel.stat().st_size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
