"""Training data: lists of candidates with their target distributions, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from training.mining import Mined
from training.prepare import read_labelled, read_passages
from training.settings import Settings
from training.teachers import minilm_folder, pad, read_tokenizer

__all__ = ["Batch", "Lists"]

_WINDOW = 16  # batches that are built together
_PARTS = 4  # parts that a batch's passages are sorted into by length, to save padding


@dataclass(frozen=True)
class Batch:
    """Lists of one training step, in the shapes that `Student.forward` takes.

    Attributes:
        query: Token ids of the queries, one row per list.
        passages: Passages in parts of similar length: their token ids and the rows of their
            queries.
        order: Index of each passage, list by list, in the concatenated parts.
        targets: Logarithms of the target distributions, (lists, passages per list).
    """

    query: Tensor
    passages: list[tuple[Tensor, Tensor]]
    order: Tensor
    targets: Tensor


class Lists:
    """Batches in an order that depends only on the seed, so that training can resume at any step.

    Args:
        settings: Settings of the recipe.
    """

    def __init__(self, settings: Settings) -> None:
        self._options = settings.section("train")
        self._target = settings.section("target")
        self._seed = settings.seed
        labelled = read_labelled(settings.work)
        tokenizer = read_tokenizer(minilm_folder())
        self._queries = _ids(
            tokenizer, [item.query for item in labelled], self._options["max_query_tokens"]
        )
        self._passages = _ids(
            tokenizer, read_passages(settings.work), self._options["max_passage_tokens"]
        )
        self._mined = Mined(settings.work)
        self._labelled = labelled
        self._spread = np.array([row.std(axis=1) for row in self._mined.scores])
        self._spread = np.maximum(self._spread, self._spread.mean(axis=0) / 2)
        self._orders: dict[int, list[int]] = {}
        self._usable = [
            number
            for number, labels in enumerate(self._mined.labels)
            if (labels != 1).sum() >= self._options["candidates"] and (labels == 1).any()
        ]

    def batches(self, start: int) -> Iterator[Batch]:
        """Yield batches without end, from step `start` on."""
        window, skip = divmod(start, _WINDOW)
        while True:
            yield from self._window(window)[skip:]
            window, skip = window + 1, 0

    def _window(self, window: int) -> list[Batch]:
        rng = np.random.default_rng((self._seed, window))
        size = _WINDOW * self._options["lists"]
        first = window * size
        chosen = [self._choose(self._query(place), rng) for place in range(first, first + size)]
        chosen.sort(key=lambda item: sum(len(self._passages[place]) for place in item[1]))
        step = self._options["lists"]
        groups = [chosen[i : i + step] for i in range(0, size, step)]
        return [self._batch(groups[i]) for i in rng.permutation(len(groups))]

    def _query(self, position: int) -> int:
        """Return the query at a position of the endless order, which is permuted every epoch."""
        epoch, offset = divmod(position, len(self._usable))
        if epoch not in self._orders:
            order = np.random.default_rng((self._seed, 1, epoch)).permutation(self._usable)
            self._orders[epoch] = order.tolist()
        return self._orders[epoch][offset]

    def _choose(
        self, number: int, rng: np.random.Generator
    ) -> tuple[int, list[int], NDArray[np.float64]]:
        """Choose one of the query's own passages, high-ranked other ones, and lower-ranked ones."""
        places, labels = self._mined.places[number], self._mined.labels[number]
        strength = self._strength(number)
        own = rng.choice(np.flatnonzero(labels == 1))
        others = np.flatnonzero((labels == 0) | (labels == -1))
        others = others[np.argsort(-strength[others], kind="stable")]
        count = self._options["candidates"] - 2
        near = min(count * 2 // 3, len(others))
        hard = rng.choice(others[: 2 * near], near, replace=False)
        rest = np.setdiff1d(np.flatnonzero(labels != 1), hard)
        lower = rng.choice(rest, self._options["candidates"] - 1 - near, replace=False)
        taken = np.concatenate([[own], hard, lower]).astype(int)
        target = self._target["sharpness"] * strength[taken]
        target += self._target["label"] * (labels[taken] == 1)
        return number, places[taken].tolist(), target

    def _strength(self, number: int) -> NDArray[np.float64]:
        """Return the weighted sum of the teachers' scores, each divided by its spread."""
        of_code = self._labelled[number].source == "stdlib"
        weights = self._target["code_weights" if of_code else "weights"]
        scaled = self._mined.scores[number] / self._spread[number][:, None]
        return np.asarray(np.array(weights) @ scaled)

    def _batch(self, chosen: list[tuple[int, list[int], NDArray[np.float64]]]) -> Batch:
        targets = torch.tensor(np.stack([target for _, _, target in chosen]), dtype=torch.float32)
        rows = [self._passages[place] for _, places, _ in chosen for place in places]
        by_length = np.argsort([len(row) for row in rows], kind="stable")
        return Batch(
            pad([self._queries[number] for number, _, _ in chosen]),
            [
                (pad([rows[i] for i in part]), torch.from_numpy(part // targets.shape[1]))
                for part in np.array_split(by_length, _PARTS)
            ],
            torch.from_numpy(np.argsort(by_length)),
            targets.log_softmax(-1),
        )


def _ids(tokenizer: Tokenizer, texts: list[str], most: int) -> list[list[int]]:
    tokenizer.enable_truncation(most)
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]
