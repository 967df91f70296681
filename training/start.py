"""Step 5: the student before training, from the weights of an exported `nano` of the first version.

That version was trained by an earlier state of this recipe from all-MiniLM-L6-v2 alone. Its int8
file holds each weight to about a hundredth of its channel's largest, and is in the history of the
repository; the layers that it shares with all-MiniLM-L6-v2 are read from there, in fp32.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from transformers import AutoModelForMaskedLM, BertModel

from rerank_core.training._student import Student
from training.prepare import Labelled, read_labelled
from training.settings import Settings, whole_file
from training.sparse import sparse_folder
from training.teachers import minilm_folder, read_tokenizer

__all__ = ["new_student", "start"]

_MAX_QUERY_TOKENS = 64
_RIDGE = 100.0  # the states are about 3.6 from their mean


def new_student(settings: Settings) -> Student:
    """Return the student as the sum of the two retrievers."""
    bert = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False)
    sparse = AutoModelForMaskedLM.from_pretrained(sparse_folder())
    return Student(bert, sparse, settings.section("train")["open_layers"])


def start(settings: Settings) -> None:
    """Write ``start.pt``.

    Args:
        settings: Settings of the recipe.

    Raises:
        subprocess.CalledProcessError: If the history lacks the file.
    """
    options = settings.section("start")
    student = new_student(settings)
    if options["revision"]:
        command = ["git", "show", f"{options['revision']}:{options['file']}"]
        found = subprocess.run(
            command, cwd=Path(__file__).parent, check=True, capture_output=True
        ).stdout
        _read(student, onnx.load_from_string(found))
    labelled = read_labelled(settings.work)
    student.expansions.copy_(_expansions(student, [item.query for item in labelled[::3]]))
    _fit_weight(student, labelled, options["sparse_weights"])
    with whole_file(settings.work / "start.pt") as out:
        torch.save(student.state_dict(), out)


@torch.no_grad()
def _expansions(student: Student, queries: Sequence[str]) -> torch.Tensor:
    """Return the words that get the highest weights in queries that they do not occur in."""
    tokenizer = read_tokenizer(minilm_folder())
    tokenizer.enable_truncation(_MAX_QUERY_TOKENS)
    words = student.sparse.embeddings.word_embeddings.weight
    total = torch.zeros(len(words))
    for query in queries:
        tokens = torch.tensor([tokenizer.encode(query).ids])
        states = student.sparse(tokens, tokens > 0)[0]
        weights = (states @ words.T + student.sparse.bias).amax(0).relu().log1p()
        weights[tokens[0]] = 0
        total += weights
    return total.topk(len(student.expansions)).indices


@torch.no_grad()
def _fit_weight(
    student: Student, labelled: Sequence[Labelled], weights: Mapping[str, float]
) -> None:
    """Fit the weight of the sparse score to one weight for each kind of query, by ridge regression.

    Args:
        student: The student; its weight is set.
        labelled: Queries. Those about code are also read with the language's name before them, as
            people search for code.
        weights: Weight for the queries of each data set, and for those of others under ``other``.
    """
    texts = [(item.query, weights.get(item.source, weights["other"])) for item in labelled]
    texts += [
        (f"python {item.query}", weights["stdlib"]) for item in labelled if item.source == "stdlib"
    ]
    tokenizer = read_tokenizer(minilm_folder())
    tokenizer.enable_truncation(_MAX_QUERY_TOKENS)
    states = []
    for text, _ in texts:
        tokens = torch.tensor([tokenizer.encode(text).ids])
        states.append(student.lower(tokens, tokens > 0)[0].mean(0))
    x, y = torch.stack(states).double(), torch.tensor([weight for _, weight in texts]).double()
    centred = x - x.mean(0)
    square = centred.T @ centred + _RIDGE * torch.eye(x.shape[1], dtype=torch.float64)
    found = torch.linalg.solve(square, centred.T @ (y - y.mean()))
    student.sparse_weight.weight.copy_(found[None])
    student.sparse_weight.bias.copy_(y.mean() - x.mean(0) @ found)


@torch.no_grad()
def _read(student: Student, model: onnx.ModelProto) -> None:
    """Copy the weights of the open layers and of the score from an exported graph."""
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    # The exporter gives matrices numbers for names, but keeps the order of the layers.
    matrices = [
        _dequantised(values, node.input[1])
        for node in model.graph.node
        if node.op_type == "MatMulInteger"
    ]
    hidden = student.shared_token.shape[1]
    for number in range(student.closed, len(student.layers)):
        layer, prefix = student.layers[number], f"model.layers.{number}."
        joined, output, inner, outer = matrices[4 * number : 4 * number + 4]
        biases = np.split(values[f"model.joined.{number}.bias"], 3)
        size = (hidden // student.heads) ** 0.5  # queries are stored divided by it
        attention = layer.attention.self
        for part, weight, bias, factor in zip(
            (attention.query, attention.key, attention.value),
            np.split(joined, 3, axis=1),
            biases,
            (size, 1.0, 1.0),
            strict=True,
        ):
            _copy(part.weight, weight.T * factor)
            _copy(part.bias, bias * factor)
        for name, matrix in (
            ("attention.output.dense", output),
            ("intermediate.dense", inner),
            ("output.dense", outer),
        ):
            _copy(layer.get_submodule(name).weight, matrix.T)
        for name, parameter in layer.named_parameters():
            if prefix + name in values:
                _copy(parameter, values[prefix + name])
    gates = [
        values[name][0, :, 0, :2].T
        for node in model.graph.node
        for name in node.input
        if name in values and values[name].shape == (1, student.heads, 1, 3)
    ]
    _copy(student.gates, np.stack(gates[-len(student.gates) :]))
    rows = next(name for name in values if values[name].shape == (3, hidden))
    _copy(student.shared_token, _dequantised(values, rows)[1:])
    for name in ("tau", "late", "weigh.bias", "head.bias"):
        _copy(student.get_parameter(name), values[f"model.{name}"])
    _copy(student.head.weight, values["model.head.weight_Transposed"])
    weigh = next(
        name
        for node in model.graph.node
        if node.op_type == "Mul" and node.input[0].startswith("/model/Slice")
        for name in node.input[1:]
        if name in values and values[name].shape == (hidden,)
    )
    _copy(student.weigh.weight, values[weigh])


def _dequantised(values: dict[str, NDArray[np.generic]], name: str) -> NDArray[np.float32]:
    base = name.removesuffix("_quantized")
    zero, scale = values[f"{base}_zero_point"], values[f"{base}_scale"]
    return ((values[name].astype(np.float32) - zero) * scale).astype(np.float32)


def _copy(parameter: torch.Tensor, value: NDArray[np.float32]) -> None:
    parameter.copy_(torch.tensor(value).view_as(parameter))
