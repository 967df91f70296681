"""Tracing a cross-encoder to an ONNX graph."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rerank_core.export._source import Source
from rerank_core.export._verify import ExportError

__all__ = ["PairLogits", "random_inputs", "write_graph"]

# The first opset with LayerNormalization as one operator; every torch from 2.1 can write it.
_OPSET = 17
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
