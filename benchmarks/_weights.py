"""Cross-encoders with random weights, in the shapes of known ones, saved for torch.

Speed does not depend on the weights, and building a model needs no download. All of them read the
tokens of the embedded model's tokenizer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._texts import QUERIES, cut_texts
from rerank_core._local.files import embedded_tokenizer

__all__ = ["ETTIN", "Shape", "save_ettin", "save_minilm", "save_qwen3", "write_graph"]

_SPREAD = 2.0  # standard deviation of the logits over texts; an untrained head gives 0.05
_IDS = {"pad": "pad", "cls": "cls", "bos": "cls", "sep": "sep", "eos": "sep"}
_SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk")}


class Shape(NamedTuple):
    """Size of a transformer.

    Attributes:
        width: Width of its states.
        layers: Number of layers.
        heads: Number of attention heads.
        inner: Width inside of a feed-forward network.
        vocabulary: Number of token ids.
    """

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int


_MINILM = Shape(width=384, layers=6, heads=12, inner=1536, vocabulary=30522)
# https://huggingface.co/jhu-clsp/ettin-encoder-17m and -32m
ETTIN: Mapping[str, Shape] = {
    "ettin-17m": Shape(width=256, layers=7, heads=4, inner=384, vocabulary=50368),
    "ettin-32m": Shape(width=384, layers=10, heads=6, inner=576, vocabulary=50368),
}
"""Shapes of ``cross-encoder/ettin-reranker-17m-v1`` and ``-32m-v1``."""
# https://huggingface.co/Qwen/Qwen3-Reranker-0.6B
_QWEN3 = Shape(width=1024, layers=28, heads=16, inner=3072, vocabulary=151669)


def save_minilm(folder: Path, shape: Shape = _MINILM) -> Any:
    """Save a BERT with a classification head, as ``cross-encoder/ms-marco-MiniLM-L6-v2``.

    Args:
        folder: Folder to write.
        shape: Another size.

    Returns:
        The model.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = _tokenizer(512, ["input_ids", "token_type_ids", "attention_mask"])
    model = _make(
        BertForSequenceClassification,
        BertConfig,
        shape,
        max_position_embeddings=512,
        num_labels=1,
        initializer_range=0.05,  # with the usual 0.02 all texts look nearly alike
        sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"},
    )

    def logits(texts: list[str]) -> Any:
        inputs = tokenizer([QUERIES[0]] * len(texts), texts, padding=True, return_tensors="pt")
        return model(**inputs).logits

    with torch.no_grad():
        _spread(model.classifier, logits)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def save_ettin(folder: Path, shape: Shape) -> Any:
    """Save a ModernBERT with Pooling, Dense, LayerNorm and Dense, as ettin's rerankers.

    Args:
        folder: Folder to write, in the layout of the hub: ``onnx/model.onnx`` has the ModernBERT
            only, traced by torch as Optimum does it.
        shape: One of `ETTIN`, or another one.

    Returns:
        The model.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.sentence_transformer.modules.layer_norm import LayerNorm
    from sentence_transformers.sentence_transformer.modules.pooling import Pooling
    from transformers import ModernBertConfig, ModernBertModel

    backbone = folder.with_name(f"{folder.name}-backbone")
    tokenizer = _tokenizer(7999, ["input_ids", "attention_mask"])
    model = _make(
        ModernBertModel,
        ModernBertConfig,
        shape,
        max_position_embeddings=7999,
        local_attention=128,
        global_attn_every_n_layers=3,
        rope_parameters={
            kind: {"rope_type": "default", "rope_theta": 160_000.0}
            for kind in ("full_attention", "sliding_attention")
        },
        initializer_range=0.05,
        **{f"{to}_token_id": getattr(tokenizer, f"{name}_token_id") for to, name in _IDS.items()},
    )
    model.save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    identity = torch.nn.Identity()  # type: ignore[no-untyped-call]
    last = Dense(shape.width, 1, activation_function=identity, module_output_name="scores")
    encoder: Any = CrossEncoder(
        modules=[
            Transformer(str(backbone)),
            Pooling(shape.width, "cls"),
            Dense(shape.width, shape.width, bias=False, activation_function=torch.nn.GELU()),
            LayerNorm(shape.width),
            last,
        ],
        device="cpu",
        activation_fn=identity,
    )

    def logits(texts: list[str]) -> Any:
        return torch.tensor(encoder.predict([(QUERIES[0], text) for text in texts]))

    with torch.no_grad():
        _spread(last.linear, logits)
    encoder.save_pretrained(str(folder))
    (folder / "onnx").mkdir()
    write_graph(model, folder / "onnx" / "model.onnx", output="last_hidden_state", types=False)
    return encoder


def save_qwen3(folder: Path, shape: Shape = _QWEN3) -> Any:
    """Save a causal Qwen3 with LogitScore, as ``Qwen/Qwen3-Reranker-0.6B``.

    Args:
        folder: Folder to write.
        shape: Another size; its heads are 128 wide, as Qwen3's are.

    Returns:
        The model.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.cross_encoder.modules.logit_score import LogitScore
    from transformers import Qwen3Config, Qwen3ForCausalLM

    backbone = folder.with_name(f"{folder.name}-backbone")
    tokenizer = _tokenizer(8192, ["input_ids", "attention_mask"], padding_side="left")
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }} : {{ message.content }} {% endfor %}?"
    )
    model = _make(
        Qwen3ForCausalLM,
        Qwen3Config,
        shape,
        num_key_value_heads=max(1, shape.heads // 2),
        head_dim=128,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(backbone)
    tokenizer.save_pretrained(backbone)
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    encoder: Any = CrossEncoder(
        modules=[
            Transformer(str(backbone), transformer_task="text-generation"),
            LogitScore(yes, no),
        ],
        device="cpu",
        activation_fn=torch.nn.Identity(),  # type: ignore[no-untyped-call]
    )
    encoder.save_pretrained(str(folder))
    return encoder


def write_graph(model: Any, path: Path, output: str = "logits", types: bool = True) -> None:
    """Write a graph as the files on the hub are: traced by torch, and nothing more.

    Args:
        model: A model of transformers.
        path: File to write.
        output: Which of the model's outputs the graph gives.
        types: Whether it reads segment ids.
    """
    import torch

    class Output(torch.nn.Module):
        """The model without its dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            """Return the one output."""
            return self.model(**dict(zip(names, inputs, strict=True)))[output]

    ids = torch.full((2, 12), 5)
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * types
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter warns about itself
        torch.onnx.export(
            Output().eval(),
            (ids, torch.ones_like(ids), torch.zeros_like(ids))[: len(names)],
            str(path),
            input_names=names,
            output_names=[output],
            dynamic_axes={
                **{name: {0: "pairs", 1: "tokens"} for name in names},
                output: {0: "pairs"},
            },
            opset_version=17,
            dynamo=False,
        )


def _make(make_model: Any, make_config: Any, shape: Shape, **options: Any) -> Any:
    import torch

    torch.manual_seed(0)
    return make_model(
        make_config(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.inner,
            **options,
        )
    ).eval()


def _tokenizer(longest: int, inputs: list[str], **options: Any) -> Any:
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=embedded_tokenizer(),
        model_max_length=longest,
        model_input_names=inputs,
        **_SPECIAL,
        **options,
    )


def _spread(head: Any, logits: Callable[[list[str]], Any]) -> None:
    """Scale the last layer, so that logits spread like a trained model's."""
    found = logits(cut_texts([60] * 64, seed=1))
    scale = _SPREAD / float(found.std())
    head.weight *= scale
    head.bias += -scale * float(found.mean())
