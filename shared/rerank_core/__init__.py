"""The second stage of retrieval: score candidates against a query, reorder, trim.

Importing this package is cheap: models, services and their libraries are imported at first use.
"""

from __future__ import annotations

from rerank_core._version import __version__

TYPE_CHECKING = False  # importing typing would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from rerank_core._blend import Blend
    from rerank_core._combinators.cached import Cached
    from rerank_core._combinators.calibrated import Calibrated
    from rerank_core._combinators.calibration import Calibration
    from rerank_core._combinators.cascade import Cascade
    from rerank_core._combinators.deadline import Deadline
    from rerank_core._combinators.fallback import Fallback
    from rerank_core._combinators.stores import DiskStore, MemoryStore, Store
    from rerank_core._combinators.windowed import Windowed
    from rerank_core._errors import (
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
    from rerank_core._loading import load_scorer
    from rerank_core._local.bi_encoder import BiEncoderScorer
    from rerank_core._local.onnx import OnnxCrossEncoder
    from rerank_core._local.torch import TorchCrossEncoder
    from rerank_core._models import RecommendedModel, list_models
    from rerank_core._profile import Profile
    from rerank_core._remote.base import HttpScorer
    from rerank_core._remote.cohere import CohereScorer
    from rerank_core._remote.nim import NimScorer
    from rerank_core._remote.prices import Prices
    from rerank_core._remote.sglang import SglangScorer
    from rerank_core._remote.tei import TeiScorer
    from rerank_core._remote.voyage import VoyageScorer
    from rerank_core._reranking import arerank, rerank
    from rerank_core._scorer import Scorer
    from rerank_core._trimming.base import TrimContext, Trimmer
    from rerank_core._trimming.budget import Budget
    from rerank_core._trimming.excerpt import Excerpt
    from rerank_core._trimming.selection import Adaptive, Arrange, Distinct
    from rerank_core._types import (
        Progress,
        RankedItem,
        Ranking,
        Scale,
        Scoring,
        Span,
        StopScoring,
    )
    from rerank_core._usage import Usage

__all__ = [
    "Adaptive",
    "AllScorersFailed",
    "Arrange",
    "AuthenticationError",
    "BiEncoderScorer",
    "Blend",
    "Budget",
    "Cached",
    "Calibrated",
    "Calibration",
    "Cascade",
    "CohereScorer",
    "ConfigurationError",
    "Deadline",
    "DeadlineExceeded",
    "DiskStore",
    "Distinct",
    "Excerpt",
    "Fallback",
    "HttpScorer",
    "InvalidInputError",
    "MalformedResponseError",
    "MemoryStore",
    "MissingExtraError",
    "NimScorer",
    "NonFiniteScoreError",
    "OnnxCrossEncoder",
    "Prices",
    "Profile",
    "Progress",
    "RankedItem",
    "Ranking",
    "RateLimitError",
    "RecommendedModel",
    "RerankError",
    "Scale",
    "Scorer",
    "ScorerError",
    "Scoring",
    "ServiceError",
    "SglangScorer",
    "Span",
    "StopScoring",
    "Store",
    "TeiScorer",
    "TorchCrossEncoder",
    "TrimContext",
    "Trimmer",
    "Usage",
    "VoyageScorer",
    "Windowed",
    "__version__",
    "arerank",
    "list_models",
    "load_scorer",
    "rerank",
]


# Imported at first use (PEP 562), each from its module.
_LAZY = {
    "Adaptive": "_trimming.selection",
    "Arrange": "_trimming.selection",
    "Budget": "_trimming.budget",
    "Distinct": "_trimming.selection",
    "Excerpt": "_trimming.excerpt",
    "TrimContext": "_trimming.base",
    "Trimmer": "_trimming.base",
    "AllScorersFailed": "_errors",
    "AuthenticationError": "_errors",
    "BiEncoderScorer": "_local.bi_encoder",
    "Blend": "_blend",
    "Cached": "_combinators.cached",
    "Calibrated": "_combinators.calibrated",
    "Calibration": "_combinators.calibration",
    "Cascade": "_combinators.cascade",
    "CohereScorer": "_remote.cohere",
    "ConfigurationError": "_errors",
    "Deadline": "_combinators.deadline",
    "DeadlineExceeded": "_errors",
    "DiskStore": "_combinators.stores",
    "Fallback": "_combinators.fallback",
    "InvalidInputError": "_errors",
    "MalformedResponseError": "_errors",
    "HttpScorer": "_remote.base",
    "MemoryStore": "_combinators.stores",
    "MissingExtraError": "_errors",
    "NimScorer": "_remote.nim",
    "NonFiniteScoreError": "_errors",
    "OnnxCrossEncoder": "_local.onnx",
    "Prices": "_remote.prices",
    "Profile": "_profile",
    "Progress": "_types",
    "RankedItem": "_types",
    "Ranking": "_types",
    "RateLimitError": "_errors",
    "RecommendedModel": "_models",
    "RerankError": "_errors",
    "Scale": "_types",
    "Scorer": "_scorer",
    "ScorerError": "_errors",
    "Scoring": "_types",
    "ServiceError": "_errors",
    "SglangScorer": "_remote.sglang",
    "Span": "_types",
    "StopScoring": "_types",
    "Store": "_combinators.stores",
    "TeiScorer": "_remote.tei",
    "TorchCrossEncoder": "_local.torch",
    "Usage": "_usage",
    "VoyageScorer": "_remote.voyage",
    "Windowed": "_combinators.windowed",
    "arerank": "_reranking",
    "list_models": "_models",
    "load_scorer": "_loading",
    "rerank": "_reranking",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value  # the next time it is found without this function
    return value
