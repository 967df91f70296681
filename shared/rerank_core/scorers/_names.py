"""What a model is called, without looking into it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["local_path", "model_name"]


def local_path(model: str) -> Path | None:
    """Return the file or folder of this name, or None if there is none."""
    try:
        path = Path(os.path.expanduser(model))  # noqa: PTH111 - Path's own raises for "~nobody"
        return path if path.exists() else None
    except (OSError, ValueError):  # too long for a path, or a null byte in it
        return None


def model_name(model: str) -> str:
    """Return a folder's or file's own name, and any other name as it is.

    Args:
        model: A path, a hub id or an embedded model's name.
    """
    path = local_path(model)
    if path is not None and path.is_dir():
        return path.resolve().name
    return Path(model).stem if model.endswith(".onnx") else model
