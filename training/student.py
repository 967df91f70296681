"""The student: a cross-encoder that begins as the bi-encoder all-MiniLM-L6-v2.

Query and passage go in as ``[CLS] query [SEP]`` and ``[CLS] passage [SEP]``, positions beginning
anew in each. In the lower layers a token attends to its own text only. In the upper ones it attends
to the other text as well, but each head adds a bias of its own, its gate, to those weights before
the softmax; the gates start where little passes. The score is ``tau * cos(mean of the
query, mean of the passage)``, plus a weight times the mean over query tokens of the best cosine
with a passage token (the late interaction of ColBERT, https://arxiv.org/abs/2004.12832), plus a
linear term; both added parts start at zero. So at step 0 the student is the bi-encoder but for
what passes the gates, and training can only add.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BertModel

__all__ = ["Student"]

_Parts = tuple[Tensor, Tensor, Tensor]

_GATES = (-3.0, -2.0)  # where the gates of the query and of the passage begin: e**-3, e**-2
_SPARE = 8  # columns beside a head's own, for the gate; a multiple of 8 keeps products fast


class Student(nn.Module):
    """See the module.

    Args:
        encoder: Folder of the BERT encoder to begin with.
        open_layers: How many of the upper layers read both texts together.
        first_content: The id before which the vocabulary holds special tokens only.
    """

    def __init__(self, encoder: Path, open_layers: int = 4, first_content: int = 999) -> None:
        super().__init__()
        self.first_content = first_content
        bert = BertModel.from_pretrained(encoder, add_pooling_layer=False)
        self.embeddings = bert.embeddings
        self.layers = bert.encoder.layer
        self.heads = int(bert.config.num_attention_heads)
        hidden = int(bert.config.hidden_size)
        self.closed = len(self.layers) - open_layers
        # By the text that reads: 0 the query, 1 the passage.
        start = torch.tensor(_GATES)[None, :, None]
        self.gates = nn.Parameter(start.repeat(open_layers, 1, self.heads))
        # Added, where the layers open, to tokens that stand in the other text too.
        self.shared_token = nn.Parameter(torch.zeros(2, hidden))
        self.tau = nn.Parameter(torch.tensor(20.0))
        self.late = nn.Parameter(torch.tensor(0.0))
        self.weigh = nn.Linear(hidden, 1)  # how much a query token counts in the late interaction
        self.head = nn.Linear(3 * hidden, 1)
        for layer in (self.weigh, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def lower(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Run the layers that read one text alone: (texts, tokens) to (texts, tokens, hidden)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        states = self.embeddings(input_ids=tokens, position_ids=positions)
        for layer in self.layers[: self.closed]:
            q, k, v = self._split(layer, states)
            context = nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask[:, None, None, :]
            )
            states = _finish(layer, states, context)
        return states

    def forward(
        self, query: Tensor, query_mask: Tensor, passage: Tensor, passage_mask: Tensor, of: Tensor
    ) -> Tensor:
        """Score passages.

        Args:
            query: Token ids, (queries, tokens).
            query_mask: True where there is a token.
            passage: Token ids, (passages, tokens).
            passage_mask: True where there is a token.
            of: For each passage the row of its query, (passages,).

        Returns:
            Logits, (passages,).
        """
        with torch.no_grad():
            q, p = self.lower(query, query_mask), self.lower(passage, passage_mask)
        q, query, query_mask = q[of], query[of], query_mask[of]
        same = (query[:, :, None] == passage[:, None, :]) & (query >= self.first_content)[..., None]
        q = q + same.any(2)[..., None] * self.shared_token[0]
        p = p + same.any(1)[..., None] * self.shared_token[1]
        for layer, gate in zip(self.layers[self.closed :], self.gates, strict=True):
            of_q, of_p = self._split(layer, q), self._split(layer, p)
            to_q = self._read(of_q, of_p, gate[0], query_mask, passage_mask)
            to_p = self._read(of_p, of_q, gate[1], passage_mask, query_mask)
            q, p = _finish(layer, q, to_q), _finish(layer, p, to_p)
        return self.score(q.float(), query_mask, p.float(), passage_mask)

    def _split(self, layer: nn.Module, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attention = layer.attention.self
        q, k, v = (
            part(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        )
        return q, k, v

    def _read(
        self, own: _Parts, other: _Parts, gate: Tensor, own_mask: Tensor, other_mask: Tensor
    ) -> Tensor:
        """Attend to the own text, and through the gate to the other."""
        (q, k_own, v_own), (_, k_other, v_other) = own, other
        size = q.shape[-1]
        # The gate comes in as one more column, 1 in q; in a mask it would cost the fast kernel.
        bias = (gate * size**0.5)[None, :, None, None].expand(*k_other.shape[:3], 1)
        q = torch.cat([q, torch.ones_like(q[..., :1])], -1)
        k = torch.cat(
            [nn.functional.pad(k_own, (0, 1)), torch.cat([k_other, bias.to(k_other.dtype)], -1)], 2
        )
        v = torch.cat([v_own, v_other], 2)
        q, k, v = (nn.functional.pad(x, (0, size + _SPARE - x.shape[-1])) for x in (q, k, v))
        mask = torch.cat([own_mask, other_mask], 1)[:, None, None, :]
        context = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=size**-0.5
        )
        return context[..., :size]

    def score(self, q: Tensor, query_mask: Tensor, p: Tensor, passage_mask: Tensor) -> Tensor:
        """Turn the last layer's states of both texts into logits."""
        mean_q, mean_p = _mean(q, query_mask), _mean(p, passage_mask)
        cosine = nn.functional.cosine_similarity(mean_q, mean_p)
        cosines = nn.functional.normalize(q, dim=-1) @ nn.functional.normalize(p, dim=-1).transpose(
            1, 2
        )
        best = cosines.masked_fill(~passage_mask[:, None, :], -1).amax(2)
        weights = self.weigh(q)[..., 0].masked_fill(~query_mask, -1e4).softmax(1)
        together = torch.cat([q[:, 0], p[:, 0], mean_q * mean_p], dim=-1)
        return self.tau * cosine + self.late * (weights * best).sum(1) + self.head(together)[:, 0]


def _finish(layer: nn.Module, states: Tensor, context: Tensor) -> Tensor:
    output = layer.attention.output
    states = output.LayerNorm(output.dense(context.transpose(1, 2).flatten(2)) + states)
    inner = nn.functional.gelu(layer.intermediate.dense(states))
    return layer.output.LayerNorm(layer.output.dense(inner) + states)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
