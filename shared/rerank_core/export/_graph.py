"""Tracing a cross-encoder to an ONNX graph, and quantising the graph to int8."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from rerank_core.export._source import Source
from rerank_core.export._verify import ExportError

__all__ = ["PairLogits", "gather_graph", "quantise_graph", "random_inputs", "write_graph"]

# The first opset with LayerNormalization as one operator; every torch from 2.1 can write it.
_OPSET = 17
# A protocol buffer holds at most 2 GB; leave room for the nodes beside the weights.
_MAX_BYTES = 2**31 - 2**24
# Warnings of torch while it traces these models. They are harmless: a wrong graph would be found by
# the verification.
_EXPECTED: tuple[tuple[str, type[Warning]], ...] = (
    ("", torch.jit.TracerWarning),  # type: ignore[attr-defined] # shapes read as Python numbers
    ("You are using the legacy TorchScript", DeprecationWarning),
    ("The feature will be removed", DeprecationWarning),
    ("Exporting aten::index operator", UserWarning),  # its indices are never negative
    ("To copy construct from a tensor", UserWarning),  # a width, in DeBERTa
)


class PairLogits(nn.Module):
    """Module that computes logits from token ids, for every supported kind of model.

    Args:
        source: The model.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.model = source.model
        self.parts = nn.ModuleList(source.modules)
        takes = inspect.signature(self.model.forward).parameters
        names = ("input_ids", "attention_mask", "token_type_ids")
        self.input_names = [name for name in names if name in source.input_names and name in takes]
        self.name = source.reference.name
        self.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return logits of shape (pairs, labels)."""
        features: dict[str, Any] = dict(zip(self.input_names, inputs, strict=True))
        if not self.parts:
            output = self.model(**features)
            logits: Tensor = output if isinstance(output, Tensor) else output.logits
            return logits
        for part in self.parts:
            features = part(features)
        scores: Tensor = features["scores"]
        return scores


def random_inputs(logits: PairLogits, *, pairs: int, length: int, seed: int) -> tuple[Tensor, ...]:
    """Return random pairs of different lengths, padded on the right.

    Args:
        logits: The model that will read them.
        pairs: Number of pairs; the first one is not padded.
        length: Number of tokens in the longest pair.
        seed: Seed of the random numbers.

    Returns:
        The model's inputs, in the order of its `input_names`.
    """
    config = logits.model.config
    generator = torch.Generator().manual_seed(seed)
    pad = config.pad_token_id or 0
    ids = torch.randint(0, config.vocab_size, (pairs, length), generator=generator)
    ids[ids == pad] = (pad + 1) % config.vocab_size
    lengths = torch.randint(1, length + 1, (pairs, 1), generator=generator)
    lengths[0] = length
    position = torch.arange(length)
    mask = (position < lengths).long()
    ids = torch.where(mask == 1, ids, pad)
    types = ((position >= length // 3).long() * mask).clamp(
        max=getattr(config, "type_vocab_size", 1) - 1
    )
    made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    return tuple(made[name] for name in logits.input_names)


def write_graph(logits: PairLogits, path: Path) -> None:
    """Write a model as an ONNX graph for any number of pairs of any length.

    Torch's tracing exporter is used, because every torch from 2.2 has it and it needs no other
    package.

    Args:
        logits: The model.
        path: File to write. Beyond 2 GB torch writes each weight to a file of its own beside it.

    Raises:
        ExportError: If the model cannot be traced.
    """
    names = logits.input_names
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:  # from torch 2.5 on
        options["dynamo"] = False
    with warnings.catch_warnings(), torch.no_grad():
        for message, category in _EXPECTED:
            warnings.filterwarnings("ignore", message, category)
        try:
            torch.onnx.export(
                logits,
                random_inputs(logits, pairs=2, length=12, seed=0),
                str(path),
                input_names=names,
                output_names=["logits"],
                dynamic_axes={
                    **{name: {0: "pairs", 1: "tokens"} for name in names},
                    "logits": {0: "pairs"},
                },
                opset_version=_OPSET,
                **options,
            )
        except (RuntimeError, TypeError, ValueError) as error:
            first_line = str(error).partition("\n")[0]
            raise ExportError(
                f"model {logits.name!r} could not be traced by torch {torch.__version__}: "
                f"{first_line}"
            ) from error


def quantise_graph(source: Path, target: Path, scratch: Path) -> None:
    """Quantise a graph to int8: weights per channel, activations dynamically.

    The settings were chosen by comparing them with fp32 on one x86-64 core with VNNI, one pair at a
    time. The model was the encoder of all-MiniLM-L6-v2 with a linear head fitted to the scores of
    another reranker.

    * Weights have 7 bits (``reduce_range``). They are as fast and as close as 8-bit weights, which
      can saturate the 16-bit sums of CPUs without VNNI. Unsigned weights take 1.7 times as long.
    * Embeddings are quantised. The file has a quarter of its size instead of two thirds, the speed
      is the same, and the scores are as close (tau 0.85 against 0.87, top-10 overlap 0.87 against
      0.83 on 240 pairs).
    * The head is not quantised. Its matrices see one row per pair, so it takes 2 % of the file and
      no measurable time, and tau is 0.854 instead of 0.848.

    Args:
        source: The fp32 graph.
        target: File to write.
        scratch: An empty folder for temporary files.

    Raises:
        OSError: If a file cannot be written.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = _bytes_beside(source) > _MAX_BYTES
    prepared = scratch / "prepared.onnx"
    quant_pre_process(
        str(source),
        str(prepared),
        skip_symbolic_shape=True,
        skip_optimization=large,  # it would put all weights into one protocol buffer
        save_as_external_data=large,
        all_tensors_to_one_file=large,
    )
    nodes = onnx.load(str(prepared), load_external_data=False).graph.node
    # Torch writes a linear layer as Gemm if its input is a matrix, else as MatMul.
    head = [node.name for node in nodes if node.op_type == "Gemm"]
    quantize_dynamic(
        prepared,
        target,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*head, *(f"{name}_MatMul" for name in head)],  # renamed by the quantiser
        use_external_data_format=large,
    )


def gather_graph(source: Path, target: Path, max_bytes: int = _MAX_BYTES) -> None:
    """Move a graph and the files of its weights into one file, or two if it is too large.

    Args:
        source: The graph, in a folder that contains only its files.
        target: File to write. Weights that do not fit are written to one file beside it, whose
            name ends with ``_data``.
        max_bytes: Size up to which the weights fit.

    Raises:
        OSError: If a file cannot be written.
    """
    if len(list(source.parent.iterdir())) == 1:
        source.replace(target)
        return
    onnx.save_model(
        onnx.load(str(source)),
        str(target),
        save_as_external_data=_bytes_beside(source) > max_bytes,
        location=f"{target.name}_data",
    )


def _bytes_beside(graph: Path) -> int:
    return sum(path.stat().st_size for path in graph.parent.iterdir())
