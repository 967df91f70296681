"""The recipe's configuration, and where its steps keep their files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["Settings", "load_settings", "whole_file"]


@dataclass(frozen=True)
class Settings:
    """What one run of the recipe is told.

    Args:
        data: Folder with ``train/`` (JSON Lines, gzip) and ``pretrain/``, and ``eval/`` for the
            last step.
        work: Folder for everything the steps write; it can be deleted at any time.
        values: The configuration file.
    """

    data: Path
    work: Path
    values: dict[str, Any]

    @property
    def seed(self) -> int:
        """The seed of every step."""
        return int(self.values["seed"])

    def section(self, name: str) -> dict[str, Any]:
        """One section of the configuration file."""
        return dict(self.values[name])


def load_settings(config: Path, data: Path, work: Path) -> Settings:
    """Read the configuration and make the work folder."""
    work.mkdir(parents=True, exist_ok=True)
    return Settings(data, work, tomllib.loads(config.read_text(encoding="utf-8")))


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place only once the block has succeeded."""
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        yield out
    part.replace(path)
