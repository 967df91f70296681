"""A cross-encoder of MiniLM-L6's size with random weights, laid out for each system.

Speed does not depend on the weights, and building the model needs no download.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._texts import QUERIES, cut_texts
from rerank_core._local.files import embedded_tokenizer
from rerank_core.export import export_model

__all__ = ["MAX_LENGTH", "Models", "build_models", "build_plain_model"]

MAX_LENGTH = 512
"""Most tokens of a pair."""

_SPREAD = 2.0  # standard deviation of the logits over texts; an untrained head gives 0.05
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


def build_models(folder: Path) -> Models:
    """Build the model and every layout of it.

    Args:
        folder: An empty folder.

    Returns:
        Where they lie.
    """
    models = Models(
        torch=folder / "torch",
        fp32=folder / "fp32",
        int8=folder / "int8",
        plain_fp32=folder / "plain-fp32",
        plain_int8=folder / "plain-int8",
        flashrank=folder / "flashrank" / _FLASHRANK[0],
    )
    model = _build(models.torch)
    export_model(models.torch, models.fp32, precision="fp32")
    export_model(models.torch, models.int8, precision="int8")
    for path in (models.plain_fp32, models.plain_int8, models.flashrank):
        _copy_tokenizer(models.torch, path)
    _write_graph(model, models.plain_fp32 / "model.onnx")
    _quantise(models.plain_fp32 / "model.onnx", models.plain_int8 / "model.onnx")
    os.link(models.plain_int8 / "model.onnx", models.flashrank / _FLASHRANK[1])
    return models


def build_plain_model(folder: Path) -> Path:
    """Build the model in the layout that every revision reads: as the files on the hub are.

    Args:
        folder: An empty folder.

    Returns:
        Where ``plain_fp32`` of `Models` lies.
    """
    source, target = folder / "torch", folder / "plain-fp32"
    model = _build(source)
    _copy_tokenizer(source, target)
    _write_graph(model, target / "model.onnx")
    return target


def _copy_tokenizer(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, target)
    tokens = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk")}
    (target / "special_tokens_map.json").write_text(json.dumps(tokens))


def _build(folder: Path) -> Any:
    """Save a torch model whose logits spread like a trained one's."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    make_model: Any = BertForSequenceClassification
    make_config: Any = BertConfig
    make_tokenizer: Any = PreTrainedTokenizerFast
    tokenizer = make_tokenizer(
        tokenizer_object=embedded_tokenizer(),
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk")},
    )
    torch.manual_seed(0)
    model = make_model(
        make_config(
            vocab_size=30522,
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
            max_position_embeddings=MAX_LENGTH,
            num_labels=1,
            initializer_range=0.05,  # with the usual 0.02 all texts look nearly alike
            sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"},
        )
    ).eval()
    texts = cut_texts([60] * 64, seed=1)
    with torch.no_grad():
        inputs = tokenizer([QUERIES[0]] * len(texts), texts, padding=True, return_tensors="pt")
        logits = model(**inputs).logits
        scale = _SPREAD / float(logits.std())
        model.classifier.weight *= scale
        model.classifier.bias += -scale * float(logits.mean())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def _write_graph(model: Any, path: Path) -> None:
    import torch

    class Logits(torch.nn.Module):
        """The model without its dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            """Return logits of shape (pairs, 1)."""
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits

    ids = torch.full((2, 12), 5)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter warns about itself
        torch.onnx.export(
            Logits().eval(),
            (ids, torch.ones_like(ids), torch.zeros_like(ids)),
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={
                **{name: {0: "pairs", 1: "tokens"} for name in names},
                "logits": {0: "pairs"},
            },
            opset_version=17,
            dynamo=False,
        )


def _quantise(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it advises a pre-processing that changes nothing here
    try:
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
