"""A cross-encoder that grew out of a bi-encoder, in the form that can be traced.

Its folder holds ``config.json`` (a BERT configuration with ``architectures`` set to
``["GatedCrossEncoder"]``, ``open_layers``, and ``first_content_token``, the id before which the
vocabulary holds special tokens only), ``model.safetensors`` and ``tokenizer.json``, whose layout
for pairs is ``[CLS] query [SEP] [CLS] passage [SEP]`` with segment ids 0 and 1. Positions begin
anew in the passage. In the lower layers a token attends to its own text. In the `open_layers` upper
ones it attends to both, and each head adds a learnt gate to what a token thinks of the other text
before the softmax. The logit is a weighted cosine of the two means, plus a late interaction
(https://arxiv.org/abs/2004.12832), plus a linear term.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rerank_core.errors import ConfigurationError

__all__ = ["GatedCrossEncoder"]

_MASKED = -1e4
_TINY = 1e-12


class GatedCrossEncoder(nn.Module):
    """Token ids of pairs in, logits out.

    Args:
        folder: The model; see the module.

    Raises:
        ConfigurationError: If the folder lacks a file, or the weights do not fit.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file
        from transformers import BertConfig, BertModel

        super().__init__()
        try:
            self.config = BertConfig.from_json_file(folder / "config.json")
            self.config._attn_implementation = "eager"
            weights = load_file(folder / "model.safetensors")
            bert = BertModel(self.config, add_pooling_layer=False)
            self.embeddings: Any = bert.embeddings
            self.layers: Any = bert.encoder.layer
            open_layers, heads = int(self.config.open_layers), int(self.config.num_attention_heads)
            self.first_content = int(self.config.first_content_token)
            self.closed, self.heads = len(self.layers) - open_layers, heads
            hidden = int(self.config.hidden_size)
            self.gates = nn.Parameter(torch.empty(open_layers, 2, heads))
            self.shared_token = nn.Parameter(torch.empty(2, hidden))
            self.tau, self.late = (nn.Parameter(torch.empty(())) for _ in range(2))
            self.weigh, self.head = nn.Linear(hidden, 1), nn.Linear(3 * hidden, 1)
            self.load_state_dict(weights)
        except (OSError, AttributeError, RuntimeError) as error:
            raise ConfigurationError(
                f"model {folder.name!r} could not be loaded as a {type(self).__name__}: {error}"
            ) from error
        # One product for the three: the activations are quantised once.
        layers: Any = self.layers
        self.joined = nn.ModuleList(_join(layer.attention.self) for layer in layers)
        # For each layer and head, what is added where a query's token meets the passage, the other
        # way round, and where anything meets padding.
        closed = torch.full((self.closed, 2, heads), _MASKED)
        gates = torch.cat([closed, self.gates.detach()])
        padding = torch.full((len(self.layers), 1, heads), _MASKED)
        self.bias = torch.cat([gates, padding], dim=1).transpose(1, 2)[:, None, :, None]
        of_type = self.embeddings.token_type_embeddings.weight[0]
        self.positions = (self.embeddings.position_embeddings.weight + of_type).detach()
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return logits of shape (pairs, 1)."""
        batch, length = input_ids.shape
        passage = token_type_ids.float()
        real = attention_mask.float()
        of_query, of_passage = (1 - passage) * real, passage * real
        place = torch.arange(length, device=input_ids.device)[None]
        first = of_query.sum(1, keepdim=True).long()  # the passage begins behind the query
        states = self.embeddings.word_embeddings(input_ids)
        states = states + nn.functional.embedding(place - token_type_ids * first, self.positions)
        states = self.embeddings.LayerNorm(states)

        # Everything about the query is in the first tokens; what follows them is never read.
        head = first.max()
        # Gates and masks come in as columns beside a head's own: a sum over all pairs of tokens
        # would cost more than these do.
        asks = torch.stack([1 - passage, passage, torch.ones_like(real)], dim=-1)
        asks = asks[:, None].expand(batch, self.heads, length, 3)
        answers = torch.stack([passage, 1 - passage, 1 - real], dim=-1)[:, None]
        for number, layer in enumerate(self.layers):
            if number == self.closed:
                states = states + self._shared(input_ids, of_query, of_passage, head)
            joined = self.joined[number](states).view(batch, length, 3 * self.heads, -1)
            q, k, v = joined.transpose(1, 2).split(self.heads, dim=1)
            k = torch.cat([k, answers * self.bias[number]], dim=-1)
            raw = torch.cat([q, asks], dim=-1) @ k.transpose(-1, -2)
            context = (raw.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)
            attention = layer.attention.output
            states = attention.LayerNorm(attention.dense(context) + states)
            inner = nn.functional.gelu(layer.intermediate.dense(states))
            states = layer.output.LayerNorm(layer.output.dense(inner) + states)
        return self._score(states, of_query, of_passage, (place == first).float(), head)

    def _shared(
        self, input_ids: Tensor, of_query: Tensor, of_passage: Tensor, head: Tensor
    ) -> Tensor:
        """What is added to tokens that stand in the other text too."""
        content = (input_ids >= self.first_content).float()
        same = (input_ids[:, :head, None] == input_ids[:, None, :]).float()
        # Equal ids are both content or both not.
        same = same * (of_query[:, :head, None] * (of_passage * content)[:, None, :])
        in_query = torch.cat([same.amax(2), content[:, head:] * 0], dim=1)
        nothing = torch.zeros_like(self.shared_token[:1])
        which = (in_query + 2 * same.amax(1)).long()
        return nn.functional.embedding(which, torch.cat([nothing, self.shared_token]))

    def _score(
        self, states: Tensor, of_query: Tensor, of_passage: Tensor, first: Tensor, head: Tensor
    ) -> Tensor:
        parts = torch.stack([_share(of_query), _share(of_passage), first], dim=1)
        mean_q, mean_p, first_p = (parts @ states).unbind(1)
        cosine = (_unit(mean_q) * _unit(mean_p)).sum(-1, keepdim=True)
        lengths = states.square().sum(-1).add(_TINY).sqrt()
        cosines = states[:, :head] @ states.transpose(1, 2)
        cosines = cosines / (lengths[:, :head, None] * lengths[:, None, :])
        best = (cosines - (1 - of_passage[:, None, :]) * 4).amax(2)
        weights = (states[:, :head] * self.weigh.weight[0]).sum(-1) + self.weigh.bias
        weights = (weights + (1 - of_query[:, :head]) * _MASKED).softmax(-1)
        late = (weights * best).sum(1, keepdim=True)
        together = torch.cat([states[:, 0], first_p, mean_q * mean_p], dim=-1)
        logits: Tensor = self.tau * cosine + self.late * late + self.head(together)
        return logits


def _share(part: Tensor) -> Tensor:
    return part / part.sum(1, keepdim=True).clamp(min=1)


def _unit(states: Tensor) -> Tensor:
    return states / states.square().sum(-1, keepdim=True).add(_TINY).sqrt()


def _join(attention: Any) -> nn.Linear:
    """Return one layer for queries, keys and values; queries scaled by the heads' size."""
    parts = (attention.query, attention.key, attention.value)
    factor = (attention.attention_head_size**-0.5, 1.0, 1.0)
    joined = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts))
    for target, name in ((joined.weight, "weight"), (joined.bias, "bias")):
        scaled = [getattr(p, name).detach() * f for p, f in zip(parts, factor, strict=True)]
        target.data = torch.cat(scaled)
    return joined
