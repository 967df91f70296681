"""Scorers made of scorers; they nest freely."""

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
