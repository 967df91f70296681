"""From a torch cross-encoder to an ONNX folder that `OnnxCrossEncoder` runs without torch."""

from rerank_core.export._export import export_model
from rerank_core.export._report import ExportError, ExportReport, Verification

__all__ = ["ExportError", "ExportReport", "Verification", "export_model"]
