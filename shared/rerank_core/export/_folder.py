"""Writing a folder atomically."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rerank_core._errors import ConfigurationError

__all__ = ["SETTINGS", "check_target", "new_folder", "write_settings"]

SETTINGS = "rerank_config.json"
"""Name of the settings file, by which a folder is recognised as an export."""


def check_target(folder: Path, *, force: bool) -> None:
    """Check that a folder can be written.

    Args:
        folder: The folder to write.
        force: Allow an earlier export or an empty folder to be replaced.

    Raises:
        ConfigurationError: If the folder exists and must not be replaced, or its parent does not
            exist.
    """
    if not folder.parent.is_dir():
        raise ConfigurationError(f"out {folder}: the folder {folder.parent} does not exist")
    if not (folder.exists() or folder.is_symlink()):
        return
    if not force:
        raise ConfigurationError(
            f"out {folder} exists; choose another, or replace it with force=True"
        )
    ours = folder.is_dir() and ((folder / SETTINGS).is_file() or not any(folder.iterdir()))
    if folder.is_symlink() or not ours:
        raise ConfigurationError(
            f"out {folder} is not an exported model (it has no {SETTINGS}) and is not replaced; "
            "choose another folder"
        )


@contextmanager
def new_folder(folder: Path, *, force: bool) -> Iterator[tuple[Path, Path]]:
    """Create a temporary folder and move it to its final path when the block succeeds.

    If the block fails or is interrupted, the temporary folders are removed and an existing folder
    at the final path stays as it was.

    Args:
        folder: The final path.
        force: Replace an existing folder.

    Yields:
        The folder to fill, and a scratch folder.

    Raises:
        ConfigurationError: If `check_target` refuses the final path at the end of the block.
        OSError: If a file cannot be written.
    """
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    filled, scratch, old = (draft / name for name in ("filled", "scratch", "old"))
    try:
        filled.mkdir()  # mkdtemp would make it unreadable for other users
        scratch.mkdir()
        yield filled, scratch
        check_target(folder, force=force)  # again, as the block may take minutes
        try:
            if folder.exists():
                folder.replace(old)
            filled.replace(folder)
        except BaseException:
            if old.exists() and not folder.exists():
                old.replace(folder)
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings file of a model folder."""
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / SETTINGS).write_text(text + "\n", encoding="utf-8")
