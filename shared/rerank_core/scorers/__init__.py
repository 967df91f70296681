"""Scorers that read the texts themselves: local cross-encoders and remote services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerank_core.lazy import lazy

if TYPE_CHECKING:
    from rerank_core.scorers.bi_encoder import BiEncoderScorer
    from rerank_core.scorers.cohere import CohereScorer
    from rerank_core.scorers.onnx import OnnxCrossEncoder
    from rerank_core.scorers.tei import TeiScorer
    from rerank_core.scorers.torch import TorchCrossEncoder

__all__ = ["BiEncoderScorer", "CohereScorer", "OnnxCrossEncoder", "TeiScorer", "TorchCrossEncoder"]

__getattr__ = lazy(
    __name__,
    {
        "BiEncoderScorer": "bi_encoder",
        "CohereScorer": "cohere",
        "OnnxCrossEncoder": "onnx",
        "TeiScorer": "tei",
        "TorchCrossEncoder": "torch",
    },
)
