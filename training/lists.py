"""Training data: lists of candidates with their target distributions, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        self._seed = settings.seed
        labelled = read_labelled(settings.work)
        mined = Mined(settings.work)
        self._places = mined.places
        tokenizer = read_tokenizer(minilm_folder())
        self._queries = _ids(
            tokenizer,
            [labelled[number].query for number in mined.queries],
            self._options["max_query_tokens"],
        )
        self._passages = _ids(
            tokenizer, read_passages(settings.work), self._options["max_passage_tokens"]
        )
        target = settings.section("target")
        with np.load(settings.work / "scores.npz", allow_pickle=False) as stored:
            scores = {name: _scaled(stored[name]) for name in stored}
        count = len(next(iter(scores.values())))
        of_code = [labelled[number].source == "stdlib" for number in mined.queries[:count]]
        usual, code = (
            sum((target[kind][name] * scores[name] for name in scores), np.zeros(()))
            for kind in ("weights", "code_weights")
        )
        self._targets: NDArray[np.float64] = target["sharpness"] * np.where(
            np.array(of_code)[:, None], code, usual
        )
        self._targets += target["label"] * (mined.labels[:count] == 1)
        self._held_out = settings.section("mining")["held_out"]

    def batches(self, start: int) -> Iterator[Batch]:
        """Yield batches without end, from step `start` on."""
        window, skip = divmod(start, _WINDOW)
        while True:
            yield from self._window(window)[skip:]
            window, skip = window + 1, 0

    def held_out(self, most: int) -> Iterator[Batch]:
        """Yield batches of the first `most` lists that are held out."""
        size = self._options["lists"]
        numbers = range(min(self._held_out, most))
        return (self._batch(numbers[start : start + size]) for start in numbers[::size])

    def _window(self, window: int) -> list[Batch]:
        step = self._options["lists"]
        size = _WINDOW * step
        chosen = [self._list(place) for place in range(window * size, (window + 1) * size)]
        chosen.sort(
            key=lambda item: sum(len(self._passages[place]) for place in self._places[item])
        )
        groups = [chosen[i : i + step] for i in range(0, size, step)]
        order = np.random.default_rng((self._seed, window)).permutation(len(groups))
        return [self._batch(groups[i]) for i in order]

    def _list(self, position: int) -> int:
        """Return the list at a position of the endless order; lists are in a random one already."""
        return self._held_out + position % (len(self._targets) - self._held_out)

    def _batch(self, chosen: Sequence[int]) -> Batch:
        targets = torch.tensor(self._targets[list(chosen)], dtype=torch.float32)
        rows = [self._passages[place] for number in chosen for place in self._places[number]]
        by_length = np.argsort([len(row) for row in rows], kind="stable")
        return Batch(
            pad([self._queries[number] for number in chosen]),
            [
                (pad([rows[i] for i in part]), torch.from_numpy(part // targets.shape[1]))
                for part in np.array_split(by_length, _PARTS)
            ],
            torch.from_numpy(np.argsort(by_length)),
            targets.log_softmax(-1),
        )


def _scaled(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Divide each list's scores by their spread, or by half of the mean one if that is more."""
    spread = scores.std(axis=1, keepdims=True)
    return np.asarray(scores / np.maximum(spread, spread.mean() / 2), np.float64)


def _ids(tokenizer: Tokenizer, texts: list[str], most: int) -> list[list[int]]:
    tokenizer.enable_truncation(most)
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]
