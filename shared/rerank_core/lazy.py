"""Names of a package that are imported at first use (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy"]


def lazy(package: str, rooms: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``.

    Args:
        package: Its name.
        rooms: For each name the module of the package that has it.
    """

    def find(name: str) -> Any:
        if name in rooms:
            return getattr(import_module(f"{package}.{rooms[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
