"""Computing the last layer for the first token only, in models whose head reads no other token.

The scores stay the same. Keys and values are still computed for every token; queries, attention,
feed-forward network and norms of the last layer for the first token only. In a model of 6 layers
this saves about a seventh of the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rerank_core.export._gated import GatedCrossEncoder
from rerank_core.export._graph import PairLogits, random_inputs
from rerank_core.export._source import Source

__all__ = ["first_token_only"]

# Model types whose sequence classification head always reads the first token.
_FIRST_TOKEN_HEADS = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra"})
_TOLERANCE = 1e-5
# Raised by layers whose attributes, arguments or shapes are not the expected ones.
_MISMATCHES = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


@contextmanager
def first_token_only(source: Source, logits: PairLogits) -> Iterator[str | None]:
    """Make a model compute its last layer for the first token only, until the block ends.

    The model is not changed if its head reads other tokens, if its layers are of an unknown kind,
    or if its logits for random pairs change by more than 1e-5 (relative, for logits beyond 1).

    Args:
        source: The model.
        logits: The module that computes the model's logits.

    Yields:
        None if the last layer was replaced, else the reason why it was not.
    """
    reason = _reads_other_tokens(source)
    if reason is not None:
        yield reason
        return
    name = type(logits.model).__name__
    unknown = f"the layers of {name} are not built as known here"
    try:
        layers = _layers(logits.model.base_model)
        last = layers[-1]
        replacement = (_BertLayer if hasattr(last, "intermediate") else _ModernBertLayer)(last)
    except _MISMATCHES:
        yield unknown
        return
    lengths = sorted({min(length, source.max_length) for length in (7, 40)})
    checks = [random_inputs(logits, pairs=5, length=length, seed=length) for length in lengths]
    with torch.no_grad():
        hook = last.register_forward_hook(replacement.watch)
        expected = [logits(*inputs) for inputs in checks]
        hook.remove()
        layers[-1] = replacement
        try:
            try:
                found = [logits(*inputs) for inputs in checks]
                if not all(map(_close, expected, found)):
                    reason = f"{name} gave other logits that way"
            except _MISMATCHES:
                reason = unknown
            if reason is not None:
                layers[-1] = last
            yield reason
        finally:
            layers[-1] = last


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE)


def _reads_other_tokens(source: Source) -> str | None:
    """Return the reason why the head may read other tokens than the first; None if it does not."""
    config = source.model.config
    if isinstance(source.model, GatedCrossEncoder):
        return "the score reads every token"
    if source.modules:
        modes = [
            getattr(module, "pooling_mode", None)
            for module in source.modules
            if type(module).__name__ == "Pooling"
        ]
        return None if modes == ["cls"] else f"the pooling is {', '.join(map(repr, modes))}"
    if config.model_type == "modernbert":
        pooling = config.classifier_pooling
        return None if pooling == "cls" else f"the head's pooling is {pooling!r}"
    if config.model_type in _FIRST_TOKEN_HEADS:
        return None
    return f"what the head of {type(source.model).__name__} reads is not known here"


def _layers(base: Any) -> Any:
    return base.encoder.layer if hasattr(base, "encoder") else base.layers


class _LastLayer(nn.Module):
    """Base class for modules that replace a last layer and use its weights.

    Args:
        layer: The layer to replace.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer
        self.returns_tuple = False

    def watch(self, _module: Any, _inputs: Any, output: Any) -> None:
        """Record if the layer returns a tuple, as in transformers before 5; a forward hook."""
        self.returns_tuple = isinstance(output, tuple)

    def wrap(self, output: Tensor) -> Any:
        """Return an output as the layer would, in a tuple or not."""
        return (output,) if self.returns_tuple else output


class _BertLayer(_LastLayer):
    """Last layer of BERT, RoBERTa, XLM-R and similar models: norms follow their sublayers."""

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any
    ) -> Any:
        attention = self.layer.attention.self
        count, first = attention.num_attention_heads, hidden_states[:, :1]
        context = _attend(
            _heads(attention.query(first), count),
            _heads(attention.key(hidden_states), count),
            _heads(attention.value(hidden_states), count),
            attention_mask,
            attention.attention_head_size**-0.5,
        )
        attended = self.layer.attention.output(context, first)
        return self.wrap(self.layer.output(self.layer.intermediate(attended), attended))


class _ModernBertLayer(_LastLayer):
    """Last layer of ModernBERT: norms come first, positions are rotary, one matrix for Q, K, V."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.attention_type = layer.attention_type
        self.count = layer.attn.Wo.in_features // layer.attn.head_dim
        self.query, self.key, self.value = _thirds(layer.attn.Wqkv)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: Any = None,
        **_: Any,
    ) -> Any:
        normed = self.layer.attn_norm(hidden_states)
        cosine, sine = (table.unsqueeze(1) for table in position_embeddings)
        context = _attend(
            _rotate(
                _heads(self.query(normed[:, :1]), self.count), cosine[:, :, :1], sine[:, :, :1]
            ),
            _rotate(_heads(self.key(normed), self.count), cosine, sine),
            _heads(self.value(normed), self.count),
            attention_mask,
            self.layer.attn.head_dim**-0.5,
        )
        attended = hidden_states[:, :1] + self.layer.attn.Wo(context)
        return self.wrap(attended + self.layer.mlp(self.layer.mlp_norm(attended)))


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Return the context of the first token. The mask is additive; its first row is used."""
    weights = query @ key.transpose(2, 3) * scale
    if mask is not None:
        weights = weights + mask[:, :, :1]
    context: Tensor = (weights.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
    return context


def _heads(states: Tensor, count: int) -> Tensor:
    return states.view(states.shape[0], states.shape[1], count, -1).transpose(1, 2)


def _rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Apply rotary position embeddings: https://arxiv.org/abs/2104.09864, section 3.4.2."""
    left, right = states.chunk(2, dim=-1)
    return states * cosine + torch.cat((-right, left), dim=-1) * sine


def _thirds(joint: nn.Linear) -> Iterator[nn.Linear]:
    """Split a linear layer into three that each give a third of its output."""
    biases = [None] * 3 if joint.bias is None else joint.bias.detach().chunk(3)
    for weight, bias in zip(joint.weight.detach().chunk(3), biases, strict=True):
        third = nn.Linear(joint.in_features, len(weight), bias=bias is not None)
        third.weight = nn.Parameter(weight)
        third.bias = bias if bias is None else nn.Parameter(bias)
        yield third
