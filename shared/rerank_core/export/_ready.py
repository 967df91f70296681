"""Quantising a model that has a ready ONNX graph, without torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_core._errors import ConfigurationError
from rerank_core._local.external_data import external_data
from rerank_core._local.files import ModelFiles, find_files, local_path
from rerank_core._local.graph import quantises_activations
from rerank_core._local.onnx import OnnxCrossEncoder
from rerank_core._local.reading import read_object
from rerank_core._local.settings import Activation, read_settings
from rerank_core.export._quantise import gather_graph, quantise_graph
from rerank_core.export._verify import ExportError

__all__ = ["ReadySource", "has_torch_weights", "load_ready", "write_quantised"]


@dataclass(frozen=True)
class ReadySource:
    """A model with a ready graph.

    Attributes:
        reference: Scorer that returns the logits of the ready graph.
        files: The model's files.
        config: Its ``config.json``.
        pad_token_id: Id of the padding token.
        revision: Commit on the hub; None for a local folder.
        max_length: Maximum number of tokens in a pair, including special tokens.
        activation: Function that turns the logits into scores.
    """

    reference: OnnxCrossEncoder
    files: ModelFiles
    config: Mapping[str, Any]
    pad_token_id: int | None
    revision: str | None
    max_length: int
    activation: Activation


def has_torch_weights(model: str) -> bool:
    """Return whether torch can read a model; of a hub id that is not known."""
    folder = local_path(model)
    return folder is None or not folder.is_dir() or any(folder.glob("*.safetensors"))


def load_ready(
    model: str, *, revision: str | None, max_length: int | None, activation: Activation | None
) -> ReadySource:
    """Find a model's ready graph, and read its settings.

    Raises:
        ConfigurationError: If there is no graph that gives scores, or it is quantised already.
    """
    files = find_files(model, precision=None, file=None, revision=revision, local_files_only=False)
    if quantises_activations(files.graph):
        raise ConfigurationError(f"model {model!r} is quantised already: {files.graph}")
    settings = read_settings(files, max_length, activation)
    reference = OnnxCrossEncoder(
        model, revision=revision, max_length=settings.max_length, activation="identity"
    )
    return ReadySource(
        reference,
        files,
        read_object(files.folder / "config.json"),
        settings.pad_token_id,
        files.commit,
        settings.max_length,
        settings.activation,
    )


def write_quantised(files: ModelFiles, filled: Path, scratch: Path) -> None:
    """Write the quantised graph, the tokenizer, and the head as it is.

    Raises:
        ExportError: If nothing in the graph could be quantised.
    """
    ready, prepared, quantised = (scratch / name for name in ("ready", "prepared", "quantised"))
    for folder in (ready, prepared, quantised):
        folder.mkdir()
    shutil.copy(files.graph, ready / "model.onnx")
    for path in external_data(files.graph):
        target = ready / path.relative_to(files.graph.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    quantise_graph(ready / "model.onnx", quantised / "model.onnx", prepared)
    gather_graph(quantised / "model.onnx", filled / "model.onnx")
    if not quantises_activations(filled / "model.onnx"):
        raise ExportError(
            f"nothing in {files.graph} could be quantised; it must be a graph in single precision"
        )
    shutil.copy(files.tokenizer, filled / "tokenizer.json")
    for path in () if files.head is None else files.head.files:
        target = filled / path.relative_to(files.folder)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
