"""The second stage of retrieval: score candidates against a query, reorder, trim.

Importing this package is cheap: models, services and their libraries are imported at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rerank_core import combinators, scorers
from rerank_core._version import __version__
from rerank_core.errors import (
    AllScorersFailed,
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    InvalidInputError,
    MalformedResponseError,
    MissingExtraError,
    NonFiniteScoreError,
    RateLimitError,
    RerankError,
    ScorerError,
    ServiceError,
)
from rerank_core.loading import load_scorer
from rerank_core.prices import Prices
from rerank_core.ranking import Blend, arerank, rerank
from rerank_core.scorer import Scorer
from rerank_core.types import (
    Progress,
    RankedItem,
    Ranking,
    Scale,
    Scoring,
    Span,
    StopScoring,
    Usage,
)

if TYPE_CHECKING:
    from rerank_core.combinators import (
        Cached,
        Cascade,
        Deadline,
        DiskStore,
        Fallback,
        MemoryStore,
        Store,
        Windowed,
    )
    from rerank_core.scorers import (
        BiEncoderScorer,
        CohereScorer,
        OnnxCrossEncoder,
        TeiScorer,
        TorchCrossEncoder,
    )

__all__ = [
    "AllScorersFailed",
    "AuthenticationError",
    "BiEncoderScorer",
    "Blend",
    "Cached",
    "Cascade",
    "CohereScorer",
    "ConfigurationError",
    "Deadline",
    "DeadlineExceeded",
    "DiskStore",
    "Fallback",
    "InvalidInputError",
    "MalformedResponseError",
    "MemoryStore",
    "MissingExtraError",
    "NonFiniteScoreError",
    "OnnxCrossEncoder",
    "Prices",
    "Progress",
    "RankedItem",
    "Ranking",
    "RateLimitError",
    "RerankError",
    "Scale",
    "Scorer",
    "ScorerError",
    "Scoring",
    "ServiceError",
    "Span",
    "StopScoring",
    "Store",
    "TeiScorer",
    "TorchCrossEncoder",
    "Usage",
    "Windowed",
    "__version__",
    "arerank",
    "load_scorer",
    "rerank",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    for rooms in (scorers, combinators):
        if name in rooms.__all__:
            return getattr(rooms, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
