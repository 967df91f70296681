"""Torch weights of the embedded model, dequantised from its int8 graph."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.torch import save_file

__all__ = ["write_nano"]

_NANO = Path(__file__).parent.parent / "models" / "nano"
_WIDTH, _LAYERS, _HEADS = 384, 6, 12
_SPARSE_WIDTH, _SPARSE_LAYERS, _SPARSE_HEADS = 128, 2, 2
_CONFIG = {
    "architectures": ["GatedCrossEncoder"],
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": _WIDTH,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "intermediate_size": 1536,
    "pad_token_id": 0,
    "open_layers": 4,
    "first_content_token": 999,
    "max_length": 256,
    "expanded": 16,
    "sparse": {
        "vocab_size": 30522,
        "hidden_size": _SPARSE_WIDTH,
        "num_hidden_layers": _SPARSE_LAYERS,
        "num_attention_heads": _SPARSE_HEADS,
        "intermediate_size": 512,
    },
}
_DENSE = ("attention.output.dense", "intermediate.dense", "output.dense")
_DERIVED = ("joined.", "sparse_joined.", "expand.")  # by `GatedCrossEncoder`, from other weights
_QUANTISED = ("_quantized", "_scale", "_zero_point", "_Transposed")

_Array = NDArray[np.float32]


def write_nano(folder: Path) -> None:
    """Write the embedded model in the format that `GatedCrossEncoder` reads.

    An export of the folder to int8 has the weights that the embedded graph has.

    Args:
        folder: Folder to create.
    """
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(_CONFIG, indent=2), encoding="utf-8")
    shutil.copy(_NANO / "tokenizer.json", folder / "tokenizer.json")
    arrays = _read(onnx.load(str(_NANO / "model.onnx")).graph)
    weights = {name: torch.tensor(np.ascontiguousarray(value)) for name, value in arrays.items()}
    save_file(weights, folder / "model.safetensors")


def _read(graph: onnx.GraphProto) -> dict[str, _Array]:
    """Return the weights of a graph, by the names in a model's file.

    The exporter keeps the names of vectors, and calls a matrix by the node that multiplies with it.
    What it has computed itself is known by its shape.
    """
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    rows = {value.shape: name for name, value in values.items() if value.dtype == np.uint8}
    inputs = [values[name] for node in graph.node for name in node.input if name in values]
    matrices = {
        node.name.removeprefix("/model/").removesuffix("/MatMul_quant"): _dequantised(
            values, node.input[1].removesuffix("_quantized")
        ).T
        for node in graph.node
        if node.op_type == "MatMulInteger"
    }
    found = {
        short: value
        for name, value in values.items()
        if (short := name.removeprefix("model.")) != name
        and not name.endswith(_QUANTISED)
        and not short.startswith(_DERIVED)
    }
    first = 0  # number of the part's first dense layer
    for prefix, width, layers, heads in (
        ("", _WIDTH, _LAYERS, _HEADS),
        ("sparse.", _SPARSE_WIDTH, _SPARSE_LAYERS, _SPARSE_HEADS),
    ):
        embeddings = f"{prefix}embeddings."
        words = f"{embeddings}word_embeddings.weight"
        found[words] = _dequantised(values, f"model.{words}")
        # These have the vector of the only segment added.
        positions = rows[512, width].removesuffix("_quantized")
        found[f"{embeddings}position_embeddings.weight"] = _dequantised(values, positions)
        found[f"{embeddings}token_type_embeddings.weight"] = np.zeros((2, width), np.float32)
        for number in range(layers):
            joined = f"{prefix.replace('.', '_')}joined.{number}"
            parts = _split(matrices[joined], values[f"model.{joined}.bias"], heads)
            layer = f"{prefix}layers.{number}."
            found |= {f"{layer}attention.self.{name}": value for name, value in parts.items()}
            for place, name in enumerate(_DENSE, start=first + len(_DENSE) * number):
                found[f"{layer}{name}.weight"] = matrices[f"dense_{place}" if place else "dense"]
        first += len(_DENSE) * layers
    found["sparse.transform.dense.weight"] = matrices["transform/dense"]
    found["sparse.bias"] = _dequantised(values, "model.sparse.bias")
    found["expansions"] = next(value for value in inputs if value.shape == (1000, 1))[:, 0]
    for name in ("head", "sparse_weight"):
        found[f"{name}.weight"] = values[f"model.{name}.weight_Transposed"].T
    shared = rows[3, _WIDTH].removesuffix("_quantized")
    found["shared_token"] = _dequantised(values, shared)[1:]  # the first is for other tokens
    gates = [value[0, :, 0, :2].T for value in inputs if value.shape == (1, _HEADS, 1, 3)]
    found["gates"] = np.stack(gates[-4:])
    found["weigh.weight"] = next(
        value[None]
        for name, value in values.items()
        if name.startswith("onnx::Mul_") and value.shape == (_WIDTH,)
    )
    return found


def _dequantised(values: dict[str, Any], name: str) -> _Array:
    zero, scale = values[f"{name}_zero_point"], values[f"{name}_scale"]
    return np.asarray((values[f"{name}_quantized"].astype(np.float32) - zero) * scale, np.float32)


def _split(weight: _Array, bias: _Array, heads: int) -> dict[str, _Array]:
    """Split a joined matrix (outputs, inputs) for queries, keys and values, and its bias."""
    root = (weight.shape[1] // heads) ** 0.5  # queries are stored divided by it
    split: dict[str, _Array] = {}
    for name, rows, part, factor in zip(
        ("query", "key", "value"), np.split(weight, 3), np.split(bias, 3), (root, 1, 1), strict=True
    ):
        split |= {f"{name}.weight": rows * factor, f"{name}.bias": part * factor}
    return split
