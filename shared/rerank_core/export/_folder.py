"""A folder that appears complete or not at all."""

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
"""The file that `OnnxCrossEncoder` reads first; it also marks a folder as an export."""


def check_target(folder: Path, *, force: bool) -> None:
    """Refuse a folder that must not or cannot be written, before the work is done.

    Args:
        folder: What is to be written.
        force: An earlier export, or an empty folder, may be replaced.

    Raises:
        ConfigurationError: If it is in the way, or the folder above it is missing.
    """
    if not folder.parent.is_dir():
        raise ConfigurationError(f"out {folder}: the folder {folder.parent} does not exist")
    if not (folder.exists() or folder.is_symlink()):
        return
    if not force:
        raise ConfigurationError(f"out {folder} exists; choose another, or replace it with force")
    ours = folder.is_dir() and ((folder / SETTINGS).is_file() or not any(folder.iterdir()))
    if folder.is_symlink() or not ours:
        raise ConfigurationError(
            f"out {folder} is not an exported model (it has no {SETTINGS}), so it is not replaced; "
            "choose another"
        )


@contextmanager
def new_folder(folder: Path, *, force: bool) -> Iterator[tuple[Path, Path]]:
    """Fill a folder beside its final place, and put it there once the block has succeeded.

    Args:
        folder: Its final place.
        force: Replace what is there.

    Yields:
        The folder to fill, and one for what is needed meanwhile. If the block fails or is
        interrupted, both go, and what was there before stays.

    Raises:
        ConfigurationError: As `check_target`, at the end too.
        OSError: If a file cannot be written.
    """
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=".partial", dir=folder.parent))
    filled, scratch, old = (draft / name for name in ("filled", "scratch", "old"))
    try:
        filled.mkdir()  # not by mkdtemp, which keeps others from reading
        scratch.mkdir()
        yield filled, scratch
        check_target(folder, force=force)  # it took a while
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
