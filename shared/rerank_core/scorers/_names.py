"""What a model is called, without looking into it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["model_name"]


def model_name(model: str) -> str:
    """Return a folder's or file's own name, and any other name as it is.

    Args:
        model: A path, a hub id or an embedded model's name.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve().name
    return path.stem if path.suffix == ".onnx" else model
