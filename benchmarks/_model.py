"""Cross-encoders with random weights, laid out for each system."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks._weights import Shape, save_ettin, save_minilm, write_graph
from rerank_core.export import export_model

__all__ = [
    "Models",
    "ModularModels",
    "build_models",
    "build_modular",
    "build_plain_model",
    "models_in",
]

# FlashRank reads models under known names only; this one is the place of a quantised MiniLM.
_FLASHRANK = ("ms-marco-MiniLM-L-12-v2", "flashrank-MiniLM-L-12-v2_Q.onnx")


@dataclass(frozen=True)
class Models:
    """Folders with the same weights.

    Attributes:
        torch: For sentence-transformers and all that is built on it.
        fp32: Exported by `rerank_core.export`.
        int8: Exported and quantised by `rerank_core.export`.
        plain_fp32: Exported by torch alone, as the files on the hub are.
        plain_int8: That, quantised by ONNX Runtime with weights per channel.
        flashrank: The same graph as FlashRank reads it.
    """

    torch: Path
    fp32: Path
    int8: Path
    plain_fp32: Path
    plain_int8: Path
    flashrank: Path


@dataclass(frozen=True)
class ModularModels:
    """Folders with the same weights, of a model whose head is in modules.

    Attributes:
        hub: As on the hub: weights for torch, and a graph without the head.
        fp32: Exported by `rerank_core.export`.
        int8: Exported and quantised by `rerank_core.export`.
    """

    hub: Path
    fp32: Path
    int8: Path


def build_models(folder: Path) -> Models:
    """Build the model and every layout of it.

    Args:
        folder: An empty folder.

    Returns:
        Where they lie.
    """
    models = _layout(folder)
    model = save_minilm(models.torch)
    export_model(models.torch, models.fp32, precision="fp32")
    export_model(models.torch, models.int8, precision="int8")
    for path in (models.plain_fp32, models.plain_int8, models.flashrank):
        _copy_tokenizer(models.torch, path)
    write_graph(model, models.plain_fp32 / "model.onnx")
    _quantise(models.plain_fp32 / "model.onnx", models.plain_int8 / "model.onnx")
    os.link(models.plain_int8 / "model.onnx", models.flashrank / _FLASHRANK[1])
    return models


def models_in(folder: Path) -> Models:
    """Return the models of a folder, which are built if it is not there.

    Args:
        folder: The folder.

    Returns:
        Where they lie.
    """
    return _layout(folder) if folder.exists() else build_models(folder)


def _layout(folder: Path) -> Models:
    return Models(
        torch=folder / "torch",
        fp32=folder / "fp32",
        int8=folder / "int8",
        plain_fp32=folder / "plain-fp32",
        plain_int8=folder / "plain-int8",
        flashrank=folder / "flashrank" / _FLASHRANK[0],
    )


def build_modular(folder: Path, shape: Shape) -> ModularModels:
    """Build a model of ettin's architecture and every layout of it.

    Args:
        folder: An empty folder.
        shape: Size of the model.

    Returns:
        Where they lie.
    """
    models = ModularModels(folder / "hub", folder / "fp32", folder / "int8")
    save_ettin(models.hub, shape)
    export_model(models.hub, models.fp32, precision="fp32")
    export_model(models.hub, models.int8, precision="int8")
    return models


def build_plain_model(folder: Path) -> Path:
    """Build the model in the layout that every revision reads: as the files on the hub are.

    Args:
        folder: An empty folder.

    Returns:
        Where ``plain_fp32`` of `Models` lies.
    """
    source, target = folder / "torch", folder / "plain-fp32"
    model = save_minilm(source)
    _copy_tokenizer(source, target)
    write_graph(model, target / "model.onnx")
    return target


def _copy_tokenizer(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, target)
    tokens = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk")}
    (target / "special_tokens_map.json").write_text(json.dumps(tokens))


def _quantise(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it advises a pre-processing that changes nothing here
    try:
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
