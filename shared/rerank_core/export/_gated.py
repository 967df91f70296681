"""The architecture of the embedded model: a cross-encoder that starts from two other models.

A model is a folder with three files:

* ``config.json``: a BERT configuration with ``architectures`` set to ``["GatedCrossEncoder"]``,
  ``open_layers``, ``first_content_token``, the first id of the vocabulary that is not a special
  token, ``expanded``, the number of words by which a query is expanded, and ``sparse``, the BERT
  configuration of the sparse encoder.
* ``model.safetensors``: the weights.
* ``tokenizer.json``: a tokenizer that lays out pairs as ``[CLS] query [SEP] [CLS] passage [SEP]``
  with segment ids 0 and 1.

Positions start again at 0 in the passage. In the lower layers a token attends only to its own text.
In the upper `open_layers` it attends to both texts, and each head adds a learnt gate to the
attention logits between the texts. The model's logit is the sum of four terms: a weighted cosine of
the two mean vectors, a late interaction (https://arxiv.org/abs/2004.12832), a linear term, and the
score of the sparse encoder times a weight that is linear in the query's states.

The sparse encoder (SPLADE, https://arxiv.org/abs/2109.10086) reads each text by itself and gives it
a weight for each word. Its score is the dot product of the weights of the query's own words and of
those that it gives the highest weights to among the commonest ones in expansions of queries. To
compute the weights of the whole vocabulary would take as long as a tenth of the encoder.
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
            self.sparse_weight = nn.Linear(hidden, 1)
            self.expanded = int(self.config.expanded)
            self.expansions: Tensor
            self.register_buffer("expansions", torch.zeros_like(weights["expansions"]))
            sparse = BertConfig(**self.config.sparse)
            self.sparse, self.sparse_heads = _SparseEncoder(sparse), sparse.num_attention_heads
            self.load_state_dict(weights)
        layers: Any = self.layers
        self.joined = _join(layers)
        self.sparse_joined = _join(self.sparse.layers)
        # For each layer and head, the number to add to the attention logits from query to passage,
        # from passage to query, and from any token to padding.
        closed = torch.full((self.closed, 2, heads), _MASKED)
        gates = torch.cat([closed, self.gates.detach()])
        padding = torch.full((len(self.layers), 1, heads), _MASKED)
        self.bias = torch.cat([gates, padding], dim=1).transpose(1, 2)[:, None, :, None]
        rows = self.sparse.embeddings.word_embeddings.weight[self.expansions]
        self.expand = nn.Linear(rows.shape[1], rows.shape[0])
        self.expand.weight.data, self.expand.bias.data = rows, self.sparse.bias[self.expansions]
        self.positions = _positions(self.embeddings)
        self.sparse_positions = _positions(self.sparse.embeddings)
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return logits of shape (pairs, 1)."""
        passage = token_type_ids.float()
        real = attention_mask.float()
        query_mask, passage_mask = (1 - passage) * real, passage * real
        batch, length = input_ids.shape
        position = torch.arange(length, device=input_ids.device)[None]
        start = query_mask.sum(1, keepdim=True).long()  # of the passage
        position_ids = position - token_type_ids * start
        first = (position == start).float()
        # Gates and masks are added by three more columns in the product of queries and keys, which
        # costs less than adding a matrix to it.
        query_columns = torch.stack([1 - passage, passage, torch.ones_like(real)], dim=-1)[:, None]
        query_columns = query_columns.expand(batch, self.heads, length, 3)
        key_columns = torch.stack([passage, 1 - passage, 1 - real], dim=-1)[:, None]

        # The queries end here; later tokens need not be compared as tokens of a query.
        width = start.max()

        states = self.embeddings.word_embeddings(input_ids)
        states = states + nn.functional.embedding(position_ids, self.positions)
        states = self.embeddings.LayerNorm(states)
        for number, layer in enumerate(self.layers):
            if number == self.closed:
                weight = self.sparse_weight((_mean_weights(query_mask)[:, None] @ states)[:, 0])
                states = states + self._shared_tokens(input_ids, query_mask, passage_mask, width)
            keys = key_columns * self.bias[number]
            states = _run(layer, self.joined[number], states, query_columns, keys, input_ids.shape)
        dense = self._score(states, query_mask, passage_mask, first, width)

        words = self.sparse.embeddings.word_embeddings(input_ids)
        states = words + nn.functional.embedding(position_ids, self.sparse_positions)
        states = self.sparse.embeddings.LayerNorm(states)
        keys = key_columns * torch.full((1, self.sparse_heads, 1, 1), _MASKED)
        sparse_columns = query_columns[:, : self.sparse_heads]
        for layer, joined in zip(self.sparse.layers, self.sparse_joined, strict=True):
            states = _run(layer, joined, states, sparse_columns, keys, input_ids.shape)
        states = self.sparse.transform(states)
        of_query = states[:, :width]
        ids, in_query = input_ids[:, :width], query_mask[:, :width, None]
        best, places = (self.expand(of_query).relu() * in_query).amax(1).topk(self.expanded)
        more = nn.functional.embedding(places, self.expansions[:, None])[..., 0]
        same = (more[:, :, None] == ids[:, None, :]).float() @ in_query
        best = best * (1 - same.clamp(max=1)[..., 0])
        rows = torch.cat([words[:, :width], self.sparse.embeddings.word_embeddings(more)], dim=1)
        logits = states @ rows.transpose(1, 2)
        logits = (logits + self.sparse.bias[torch.cat([ids, more], dim=1)][:, None, :]).relu()
        own = (logits[:, :width, :width] * in_query).amax(1) * in_query[..., 0]
        weights = torch.cat([own, best], dim=1).log1p()
        products = weights * (logits * passage_mask[..., None]).amax(1).log1p()
        sparse: Tensor = weight * products.sum(1, keepdim=True)
        return dense + sparse

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
        """Return the terms of the logits that the states of the last layer give."""
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


class _SparseEncoder(nn.Module):
    """The parts of a BERT masked language model, with the embeddings as its output matrix."""

    def __init__(self, config: Any) -> None:
        from transformers import BertForMaskedLM

        super().__init__()
        model: Any = BertForMaskedLM(config)
        self.embeddings: Any = model.bert.embeddings
        self.layers: Any = model.bert.encoder.layer
        self.transform: Any = model.cls.predictions.transform
        self.bias = nn.Parameter(model.cls.predictions.bias.detach())


def _run(
    layer: Any,
    joined: nn.Module,
    states: Tensor,
    query_columns: Tensor,
    key_columns: Tensor,
    shape: torch.Size,
) -> Tensor:
    """Run a layer; the product of the columns is added to its attention logits.

    The shape is that of the token ids: to read it once makes a smaller graph.
    """
    heads = layer.attention.self.num_attention_heads
    split = joined(states).view(*shape, 3 * heads, -1)
    q, k, v = split.transpose(1, 2).split(heads, dim=1)
    k = torch.cat([k, key_columns], dim=-1)
    q = torch.cat([q, query_columns], dim=-1)
    context = ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).reshape(*shape, -1)
    attention = layer.attention.output
    states = attention.LayerNorm(attention.dense(context) + states)
    inner = nn.functional.gelu(layer.intermediate.dense(states))
    run: Tensor = layer.output.LayerNorm(layer.output.dense(inner) + states)
    return run


def _positions(embeddings: Any) -> Tensor:
    """Return the vectors of the positions, with that of the only segment added."""
    of_type = embeddings.token_type_embeddings.weight[0]
    positions: Tensor = (embeddings.position_embeddings.weight + of_type).detach()
    return positions


def _mean_weights(part: Tensor) -> Tensor:
    """Return the weights of a mean over the tokens of a mask."""
    return part / part.sum(1, keepdim=True).clamp(min=1)


def _unit(states: Tensor) -> Tensor:
    """Scale vectors to length 1."""
    return states / states.square().sum(-1, keepdim=True).add(_EPSILON).sqrt()


def _join(layers: Any) -> nn.ModuleList:
    """Join the matrices for queries, keys and values of each layer, to quantise their input once.

    Queries are scaled as attention needs it.
    """
    return nn.ModuleList(_join_one(layer.attention.self) for layer in layers)


def _join_one(attention: Any) -> nn.Linear:
    parts = (attention.query, attention.key, attention.value)
    factor = (attention.attention_head_size**-0.5, 1.0, 1.0)
    joined = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts))
    for target, name in ((joined.weight, "weight"), (joined.bias, "bias")):
        scaled = [getattr(p, name).detach() * f for p, f in zip(parts, factor, strict=True)]
        target.data = torch.cat(scaled)
    return joined
