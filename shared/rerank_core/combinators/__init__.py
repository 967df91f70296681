"""Scorers made of scorers; they nest freely."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_core.combinators._cached import Cached
    from rerank_core.combinators._cascade import Cascade
    from rerank_core.combinators._deadline import Deadline
    from rerank_core.combinators._fallback import Fallback
    from rerank_core.combinators._stores import DiskStore, MemoryStore, Store
    from rerank_core.combinators._windowed import Windowed

__all__ = [
    "Cached",
    "Cascade",
    "Deadline",
    "DiskStore",
    "Fallback",
    "MemoryStore",
    "Store",
    "Windowed",
]

_ROOMS = {
    "Cached": "_cached",
    "Cascade": "_cascade",
    "Deadline": "_deadline",
    "DiskStore": "_stores",
    "Fallback": "_fallback",
    "MemoryStore": "_stores",
    "Store": "_stores",
    "Windowed": "_windowed",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
