"""Cross-encoders on ONNX Runtime: no torch, no network beyond a model's first download."""

from rerank_core.scorers.onnx._files import (
    EMBEDDED,
    MissingGraphError,
    embedded_tokenizer,
    looks_like_path,
)
from rerank_core.scorers.onnx._scorer import OnnxCrossEncoder, default_threads
from rerank_core.scorers.onnx._variants import cpu_features, graph_candidates

__all__ = [
    "EMBEDDED",
    "MissingGraphError",
    "OnnxCrossEncoder",
    "cpu_features",
    "default_threads",
    "embedded_tokenizer",
    "graph_candidates",
    "looks_like_path",
]
