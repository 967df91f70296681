"""A cross-encoder as one torch module from token ids to logits, as an ONNX graph, and in int8."""

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

# The first with LayerNormalization as one operator; every torch from 2.1 can write it.
_OPSET = 17
# A protocol buffer, and so a graph with its weights inside, ends at 2 GB; leave room for the nodes.
_MOST_BYTES = 2**31 - 2**24
# What torch says while tracing these models. None of it needs an answer, and a wrong graph would
# show in the verification.
_EXPECTED: tuple[tuple[str, type[Warning]], ...] = (
    ("", torch.jit.TracerWarning),  # type: ignore[attr-defined] # numbers that Python reads from shapes
    ("You are using the legacy TorchScript", DeprecationWarning),
    ("The feature will be removed", DeprecationWarning),
    ("Exporting aten::index operator", UserWarning),  # of indices that are never negative
)


class PairLogits(nn.Module):
    """Token ids in, logits out, whichever way the model is put together.

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
    """Make random pairs of different lengths, padded on the right.

    Args:
        logits: The model they are for.
        pairs: How many; the first one is not padded.
        length: Tokens of the longest.
        seed: Different seeds give different pairs.

    Returns:
        What the model takes, in the order of its `input_names`.
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

    Torch's tracing exporter is used: it is the one that every torch from 2.2 on has, and it needs
    no further package.

    Args:
        logits: The model.
        path: The file. Beyond 2 GB torch puts the weights beside it, a file for each.

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
    """Quantise a graph: int8 weights per channel, activations by the scale of each run.

    Chosen by measuring the encoder of all-MiniLM-L6-v2 with a linear head fitted to another
    reranker's scores, on one x86-64 core with VNNI, one pair at a time, against fp32:

    * 7-bit weights (``reduce_range``): as fast and as close as 8-bit ones, and they cannot saturate
      the 16-bit sums of CPUs without VNNI, where 8-bit ones can. Unsigned weights take 1.7 times
      as long.
    * Embeddings too: a quarter of the file instead of two thirds, no slower, and as
      close (tau 0.85 against 0.87, top-10 overlap 0.87 against 0.83 on 240 pairs).
    * Not the matrices of the head, which see a row for each pair: 2 % of the file, no time, and
      tau 0.854 against 0.848.

    Args:
        source: The fp32 graph.
        target: Where the quantised one goes.
        scratch: An empty folder for what is needed meanwhile.

    Raises:
        OSError: If a file cannot be written.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = _bytes_beside(source) > _MOST_BYTES
    prepared = scratch / "prepared.onnx"
    quant_pre_process(
        str(source),
        str(prepared),
        skip_symbolic_shape=True,
        skip_optimization=large,  # it would hold the weights in one protocol buffer
        save_as_external_data=large,
        all_tensors_to_one_file=large,
    )
    nodes = onnx.load(str(prepared), load_external_data=False).graph.node
    # Torch writes a linear layer of rows as Gemm, one of sequences as MatMul.
    head = [node.name for node in nodes if node.op_type == "Gemm"]
    quantize_dynamic(
        prepared,
        target,
        op_types_to_quantize=["MatMul", "Gather"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=[*head, *(f"{name}_MatMul" for name in head)],  # it renames each
        use_external_data_format=large,
    )


def gather_graph(source: Path, target: Path, most_bytes: int = _MOST_BYTES) -> None:
    """Move a graph, and its weights where they are in files of their own, into one place.

    Args:
        source: The graph, in a folder that holds nothing but its files.
        target: Where it goes. Weights that do not fit into it go into one file beside it, with
            ``_data`` added to its name.
        most_bytes: What fits.

    Raises:
        OSError: If a file cannot be written.
    """
    if len(list(source.parent.iterdir())) == 1:
        source.replace(target)
        return
    onnx.save_model(
        onnx.load(str(source)),
        str(target),
        save_as_external_data=_bytes_beside(source) > most_bytes,
        location=f"{target.name}_data",
    )


def _bytes_beside(graph: Path) -> int:
    return sum(path.stat().st_size for path in graph.parent.iterdir())
