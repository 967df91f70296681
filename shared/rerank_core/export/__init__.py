"""Export of torch cross-encoders to ONNX folders that `OnnxCrossEncoder` runs without torch."""

from rerank_core.export._export import ExportReport, export_model
from rerank_core.export._verify import ExportError, Verification

__all__ = ["ExportError", "ExportReport", "Verification", "export_model"]
