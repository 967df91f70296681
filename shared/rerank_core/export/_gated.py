"""The architecture of the embedded model: a cross-encoder that starts from a bi-encoder.

A model is a folder with three files:

* ``config.json``: a BERT configuration with ``architectures`` set to ``["GatedCrossEncoder"]``,
  ``open_layers``, and ``first_content_token``, the first id of the vocabulary that is not a special
  token.
* ``model.safetensors``: the weights.
* ``tokenizer.json``: a tokenizer that lays out pairs as ``[CLS] query [SEP] [CLS] passage [SEP]``
  with segment ids 0 and 1.

Positions start again at 0 in the passage. In the lower layers a token attends only to its own text.
In the upper `open_layers` it attends to both texts, and each head adds a learnt gate to the
attention logits between the texts. The model's logit is a weighted cosine of the two mean vectors,
plus a late interaction (https://arxiv.org/abs/2004.12832), plus a linear term.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rerank_core._local.failures import loading

__all__ = ["GatedCrossEncoder"]

_MASKED = -1e4  # added to logits before a softmax
_EPSILON = 1e-12  # added to squared lengths before a division


class GatedCrossEncoder(nn.Module):
    """Module that computes logits from the token ids of pairs, in a form that can be traced.

    Args:
        folder: Folder of the model.

    Raises:
        ConfigurationError: If a file is missing, or the weights do not match the configuration.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file
        from transformers import BertConfig, BertModel

        super().__init__()
        name = f"model {folder.name!r}"
        with loading(f"{name} could not be loaded as a {type(self).__name__}"):
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
        # One matrix for queries, keys and values, so that their input is quantised only once.
        layers: Any = self.layers
        self.joined = nn.ModuleList(_join(layer.attention.self) for layer in layers)
        # For each layer and head, the number to add to the attention logits from query to passage,
        # from passage to query, and from any token to padding.
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
        query_mask, passage_mask = (1 - passage) * real, passage * real
        position = torch.arange(length, device=input_ids.device)[None]
        start = query_mask.sum(1, keepdim=True).long()  # of the passage
        states = self.embeddings.word_embeddings(input_ids)
        states = states + nn.functional.embedding(position - token_type_ids * start, self.positions)
        states = self.embeddings.LayerNorm(states)

        # The queries end here; later tokens need not be compared as tokens of a query.
        width = start.max()
        # Gates and masks are added by three more columns in the product of queries and keys, which
        # costs less than adding a matrix to it.
        query_columns = torch.stack([1 - passage, passage, torch.ones_like(real)], dim=-1)
        query_columns = query_columns[:, None].expand(batch, self.heads, length, 3)
        key_columns = torch.stack([passage, 1 - passage, 1 - real], dim=-1)[:, None]
        for number, layer in enumerate(self.layers):
            if number == self.closed:
                states = states + self._shared_tokens(input_ids, query_mask, passage_mask, width)
            joined = self.joined[number](states).view(batch, length, 3 * self.heads, -1)
            q, k, v = joined.transpose(1, 2).split(self.heads, dim=1)
            k = torch.cat([k, key_columns * self.bias[number]], dim=-1)
            raw = torch.cat([q, query_columns], dim=-1) @ k.transpose(-1, -2)
            context = (raw.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)
            attention = layer.attention.output
            states = attention.LayerNorm(attention.dense(context) + states)
            inner = nn.functional.gelu(layer.intermediate.dense(states))
            states = layer.output.LayerNorm(layer.output.dense(inner) + states)
        return self._score(states, query_mask, passage_mask, (position == start).float(), width)

    def _shared_tokens(
        self, input_ids: Tensor, query_mask: Tensor, passage_mask: Tensor, width: Tensor
    ) -> Tensor:
        """Return the vectors to add to tokens that occur in the other text, too."""
        content = (input_ids >= self.first_content).float()
        same = (input_ids[:, :width, None] == input_ids[:, None, :]).float()
        # Both ids are equal, so only one has to be checked for special tokens.
        same = same * (query_mask[:, :width, None] * (passage_mask * content)[:, None, :])
        in_query = torch.cat([same.amax(2), content[:, width:] * 0], dim=1)
        nothing = torch.zeros_like(self.shared_token[:1])
        which = (in_query + 2 * same.amax(1)).long()
        return nn.functional.embedding(which, torch.cat([nothing, self.shared_token]))

    def _score(
        self, states: Tensor, query_mask: Tensor, passage_mask: Tensor, first: Tensor, width: Tensor
    ) -> Tensor:
        """Return the logits, given the states of the last layer."""
        parts = torch.stack([_mean_weights(query_mask), _mean_weights(passage_mask), first], dim=1)
        mean_q, mean_p, first_p = (parts @ states).unbind(1)
        cosine = (_unit(mean_q) * _unit(mean_p)).sum(-1, keepdim=True)
        lengths = states.square().sum(-1).add(_EPSILON).sqrt()
        cosines = states[:, :width] @ states.transpose(1, 2)
        cosines = cosines / (lengths[:, :width, None] * lengths[:, None, :])
        best = (cosines - (1 - passage_mask[:, None, :]) * 4).amax(2)
        weights = (states[:, :width] * self.weigh.weight[0]).sum(-1) + self.weigh.bias
        weights = (weights + (1 - query_mask[:, :width]) * _MASKED).softmax(-1)
        late = (weights * best).sum(1, keepdim=True)
        together = torch.cat([states[:, 0], first_p, mean_q * mean_p], dim=-1)
        logits: Tensor = self.tau * cosine + self.late * late + self.head(together)
        return logits


def _mean_weights(part: Tensor) -> Tensor:
    """Return the weights of a mean over the tokens of a mask."""
    return part / part.sum(1, keepdim=True).clamp(min=1)


def _unit(states: Tensor) -> Tensor:
    """Scale vectors to length 1."""
    return states / states.square().sum(-1, keepdim=True).add(_EPSILON).sqrt()


def _join(attention: Any) -> nn.Linear:
    """Join the layers for queries, keys and values; queries are scaled as attention needs it."""
    parts = (attention.query, attention.key, attention.value)
    factor = (attention.attention_head_size**-0.5, 1.0, 1.0)
    joined = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts))
    for target, name in ((joined.weight, "weight"), (joined.bias, "bias")):
        scaled = [getattr(p, name).detach() * f for p, f in zip(parts, factor, strict=True)]
        target.data = torch.cat(scaled)
    return joined
