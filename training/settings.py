"""Settings of the recipe, and writing files atomically."""

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
    """Settings of one run of the recipe.

    Args:
        data: Folder with ``train/`` (gzipped JSON Lines), ``pretrain/``, and ``eval/`` for the
            evaluation.
        work: Folder for the output of all steps. It can be deleted at any time.
        values: Content of the configuration file.
    """

    data: Path
    work: Path
    values: dict[str, Any]

    @property
    def seed(self) -> int:
        """Seed of the random numbers of every step."""
        return int(self.values["seed"])

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of the configuration file."""
        return dict(self.values[name])


def load_settings(config: Path, data: Path, work: Path) -> Settings:
    """Read the configuration and create the work folder."""
    work.mkdir(parents=True, exist_ok=True)
    return Settings(data, work, tomllib.loads(config.read_text(encoding="utf-8")))


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file for writing, and rename it to `path` when the block succeeds."""
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        yield out
    part.replace(path)
