"""Scorers that read the texts themselves: local cross-encoders and remote services."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_core.scorers.bi_encoder import BiEncoderScorer
    from rerank_core.scorers.cohere import CohereScorer
    from rerank_core.scorers.onnx import OnnxCrossEncoder
    from rerank_core.scorers.tei import TeiScorer
    from rerank_core.scorers.torch import TorchCrossEncoder

__all__ = ["BiEncoderScorer", "CohereScorer", "OnnxCrossEncoder", "TeiScorer", "TorchCrossEncoder"]

_ROOMS = {
    "BiEncoderScorer": "bi_encoder",
    "CohereScorer": "cohere",
    "OnnxCrossEncoder": "onnx",
    "TeiScorer": "tei",
    "TorchCrossEncoder": "torch",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
