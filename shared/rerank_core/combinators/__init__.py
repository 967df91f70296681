"""Scorers made of scorers; they nest freely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerank_core.lazy import lazy

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

__getattr__ = lazy(
    __name__,
    {
        "Cached": "_cached",
        "Cascade": "_cascade",
        "Deadline": "_deadline",
        "DiskStore": "_stores",
        "Fallback": "_fallback",
        "MemoryStore": "_stores",
        "Store": "_stores",
        "Windowed": "_windowed",
    },
)
