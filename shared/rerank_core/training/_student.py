"""The embedded model in the form that is trained: a cross-encoder made of two retrievers.

The first is the bi-encoder all-MiniLM-L6-v2. The inputs are ``[CLS] query [SEP]`` and ``[CLS]
passage [SEP]``, each with positions from 0. In the lower layers a token attends only to its own
text. In the upper ones it attends to both texts, and each head adds a bias (its gate) to the
attention logits between the texts. The gates start at low values. The score is the sum of four
terms: ``tau`` times the cosine of the two mean vectors; a weight times the mean over the query's
tokens of their highest cosine with a token of the passage (the late interaction of ColBERT,
https://arxiv.org/abs/2004.12832); a linear term; and the score of the second retriever, a small
SPLADE model (https://arxiv.org/abs/2109.10086), times a weight that is linear in the query's states
after the lower layers. The second and third term start at zero, and that weight starts as a
constant, so before training the student is a weighted sum of the two retrievers, apart from
slightly open gates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertForMaskedLM, BertModel

__all__ = ["EXPANDED", "SparseEncoder", "Student"]

EXPANDED = 16
"""Number of words by which a query is expanded."""

_Parts = tuple[Tensor, Tensor, Tensor]

_GATES = (-3.0, -2.0)  # initial gates from query to passage and from passage to query
_SPARSE_WEIGHT = 0.3  # initial weight of the sparse score


class Student(nn.Module):
    """Cross-encoder in the form that is trained; `GatedCrossEncoder` reads its weights to trace it.

    Args:
        bert: The BERT encoder to start from, without a pooling layer.
        sparse: The SPLADE model to start from; it has the same vocabulary.
        open_layers: Number of upper layers that attend to both texts.
        first_content: First id of the vocabulary that is not a special token.
        expansions: Number of words by which queries can be expanded; see `sparse_score`.
    """

    def __init__(
        self,
        bert: BertModel,
        sparse: BertForMaskedLM,
        open_layers: int = 4,
        first_content: int = 999,
        expansions: int = 1000,
    ) -> None:
        super().__init__()
        self.first_content = first_content
        self.embeddings: Any = bert.embeddings
        self.layers: Any = bert.encoder.layer
        self.heads = int(bert.config.num_attention_heads)
        hidden = int(bert.config.hidden_size)
        self.closed = len(self.layers) - open_layers
        # Gates from the query (0) and from the passage (1) to the other text.
        start = torch.tensor(_GATES)[None, :, None]
        self.gates = nn.Parameter(start.repeat(open_layers, 1, self.heads))
        # Added before the first open layer to tokens that occur in both texts.
        self.shared_token = nn.Parameter(torch.zeros(2, hidden))
        self.tau = nn.Parameter(torch.tensor(20.0))
        self.late = nn.Parameter(torch.tensor(0.0))
        self.weigh = nn.Linear(hidden, 1)  # weight of a query token in the late interaction
        self.head = nn.Linear(3 * hidden, 1)
        self.sparse_weight = nn.Linear(hidden, 1)
        for layer in (self.weigh, self.head, self.sparse_weight):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.sparse_weight.bias, _SPARSE_WEIGHT)
        self.sparse = SparseEncoder(sparse)
        self.expansions: Tensor
        self.register_buffer("expansions", torch.arange(expansions))

    def lower(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Run the lower layers on single texts: (texts, tokens) to (texts, tokens, hidden)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        states: Tensor = self.embeddings(input_ids=tokens, position_ids=positions)
        for layer in self.layers[: self.closed]:
            states = _run(layer, states, mask)
        return states

    def forward(
        self, query: Tensor, query_mask: Tensor, passage: Tensor, passage_mask: Tensor, of: Tensor
    ) -> Tensor:
        """Return the logits of passages.

        Args:
            query: Token ids, (queries, tokens).
            query_mask: True for tokens, False for padding.
            passage: Token ids, (passages, tokens).
            passage_mask: True for tokens, False for padding.
            of: Row of each passage's query, (passages,).

        Returns:
            Logits, (passages,).
        """
        with torch.no_grad():
            q, p = self.lower(query, query_mask), self.lower(passage, passage_mask)
            sparse = self.sparse_score(query, query_mask, passage, passage_mask, of)
        weight = self.sparse_weight(_mean(q.float(), query_mask))[of, 0]
        q, query, query_mask = q[of], query[of], query_mask[of]
        same = (query[:, :, None] == passage[:, None, :]) & (query >= self.first_content)[..., None]
        q = q + same.any(2)[..., None] * self.shared_token[0]
        p = p + same.any(1)[..., None] * self.shared_token[1]
        for layer, gate in zip(self.layers[self.closed :], self.gates, strict=True):
            of_q, of_p = _split(layer, q), _split(layer, p)
            to_q = self._read(of_q, of_p, gate[0], query_mask, passage_mask)
            to_p = self._read(of_p, of_q, gate[1], passage_mask, query_mask)
            q, p = _finish(layer, q, to_q), _finish(layer, p, to_p)
        dense = self.score(q.float(), query_mask, p.float(), passage_mask)
        logits: Tensor = dense + weight * sparse
        return logits

    def sparse_score(
        self, query: Tensor, query_mask: Tensor, passage: Tensor, passage_mask: Tensor, of: Tensor
    ) -> Tensor:
        """Return the dot products of sparse vectors.

        Words are those of the query, each as often as it occurs, and those of `expansions` that
        the query gives the highest weights.
        """
        states = self.sparse(query, query_mask)
        every = self.expansions.expand(len(query), -1)
        weights, places = self.sparse.weights(states, query_mask, every).topk(EXPANDED)
        more = self.expansions[places]
        same = (more[:, :, None] == query[:, None, :]) & query_mask[:, None, :]
        weights = weights * ~same.any(2)
        own = self.sparse.weights(states, query_mask, query) * query_mask
        of_query = torch.cat([own, weights], 1)
        words = torch.cat([query, more], 1)
        states = self.sparse(passage, passage_mask)
        of_passage = self.sparse.weights(states, passage_mask, words[of])
        return (of_query[of] * of_passage).sum(1)

    def _read(
        self, own: _Parts, other: _Parts, gate: Tensor, own_mask: Tensor, other_mask: Tensor
    ) -> Tensor:
        """Return the context of a text that attends to itself and, with a gate, to the other."""
        (q, k_own, v_own), (_, k_other, v_other) = own, other
        k, v = torch.cat([k_own, k_other], 2), torch.cat([v_own, v_other], 2)
        bias = nn.functional.pad(
            gate[None, :, None, None].expand(1, -1, 1, k_other.shape[2]), (k_own.shape[2], 0)
        )
        mask = torch.cat([own_mask, other_mask], 1)[:, None, None, :]
        bias = bias.masked_fill(~mask, -1e4)
        # The fused kernel's gradient takes five times as long on a CPU.
        logits = bias + q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        context: Tensor = logits.softmax(-1).to(v.dtype) @ v
        return context

    def score(self, q: Tensor, query_mask: Tensor, p: Tensor, passage_mask: Tensor) -> Tensor:
        """Return the logits, given the states of the last layer."""
        mean_q, mean_p = _mean(q, query_mask), _mean(p, passage_mask)
        cosine = nn.functional.cosine_similarity(mean_q, mean_p)
        cosines = nn.functional.normalize(q, dim=-1) @ nn.functional.normalize(p, dim=-1).transpose(
            1, 2
        )
        best = cosines.masked_fill(~passage_mask[:, None, :], -1).amax(2)
        weights = self.weigh(q)[..., 0].masked_fill(~query_mask, -1e4).softmax(1)
        together = torch.cat([q[:, 0], p[:, 0], mean_q * mean_p], dim=-1)
        late = self.late * (weights * best).sum(1)
        logits: Tensor = self.tau * cosine + late + self.head(together)[:, 0]
        return logits


class SparseEncoder(nn.Module):
    """A SPLADE model: weights of words are maxima of ``log(1 + relu(logit))`` over a text's tokens.

    Args:
        model: A BERT masked language model.
    """

    def __init__(self, model: BertForMaskedLM) -> None:
        super().__init__()
        parts: Any = model
        self.embeddings: Any = parts.bert.embeddings
        self.layers: Any = parts.bert.encoder.layer
        self.transform: Any = parts.cls.predictions.transform
        self.bias = nn.Parameter(parts.cls.predictions.bias.detach())

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return states before the output layer: (texts, tokens) to (texts, tokens, width)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        states: Tensor = self.embeddings(input_ids=tokens, position_ids=positions)
        for layer in self.layers:
            states = _run(layer, states, mask)
        transformed: Tensor = self.transform(states)
        return transformed

    def weights(self, states: Tensor, mask: Tensor, words: Tensor) -> Tensor:
        """Return the weights of a list of words for each text: (texts, words)."""
        rows = self.embeddings.word_embeddings(words)
        logits = (states @ rows.transpose(1, 2)).float() + self.bias[words][:, None, :]
        weights: Tensor = logits.masked_fill(~mask[..., None], 0).amax(1).relu().log1p()
        return weights


def _run(layer: Any, states: Tensor, mask: Tensor) -> Tensor:
    """Run a layer on single texts."""
    q, k, v = _split(layer, states)
    context = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
    return _finish(layer, states, context)


def _split(layer: Any, states: Tensor) -> _Parts:
    attention = layer.attention.self
    q, k, v = (
        part(states).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
        for part in (attention.query, attention.key, attention.value)
    )
    return q, k, v


def _finish(layer: Any, states: Tensor, context: Tensor) -> Tensor:
    output = layer.attention.output
    states = output.LayerNorm(output.dense(context.transpose(1, 2).flatten(2)) + states)
    inner = nn.functional.gelu(layer.intermediate.dense(states))
    finished: Tensor = layer.output.LayerNorm(layer.output.dense(inner) + states)
    return finished


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
