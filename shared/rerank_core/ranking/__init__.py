"""Order and trim: from a scorer's scores to the few passages worth passing on."""

from rerank_core.ranking._blend import Blend
from rerank_core.ranking._rank import arerank, rerank

__all__ = ["Blend", "arerank", "rerank"]
