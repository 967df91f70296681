"""Pairs of a query and texts: tokenised once each, cut to length, grouped into batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rerank_core._errors import ConfigurationError
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import numpy.typing as npt
    from tokenizers import Tokenizer

__all__ = [
    "ROUND",
    "EncodedPairs",
    "Head",
    "PairEncoder",
    "batch_usage",
    "cut_middle",
    "plan_batches",
    "read_ends",
    "round_up",
    "rounds",
]

# Encodings hold far more than ids; converting them by the chunk bounds the memory they take, and
# the time in which nobody can stop it.
_CHUNK = 64
# A text of more characters than this for each token there is room for is first read in part.
_CHARACTERS_PER_TOKEN = 16


class Head(NamedTuple):
    """The beginning of a pair: special tokens and the query.

    Attributes:
        query: The query as it was tokenised, perhaps without its middle.
        ids: The token ids.
        types: Their segment ids.
    """

    query: str
    ids: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """One query with several texts as token ids, a row for each text.

    Attributes:
        heads: The ids before each text; the same object wherever the query was not cut.
        texts: Ids of each text, cut to the room there is.
        tail: Ids after a text.
        tail_types: Their segment ids.
        text_type: Segment id of a text's tokens.
        truncated: Rows whose text was cut.
        truncated_queries: Rows whose query was cut.
    """

    heads: list[Head]
    texts: list[npt.NDArray[np.int32]]
    tail: npt.NDArray[np.int64]
    tail_types: npt.NDArray[np.int64]
    text_type: int
    truncated: frozenset[int]
    truncated_queries: frozenset[int]

    def length(self, row: int) -> int:
        """Return the tokens of a pair, special tokens included."""
        return len(self.heads[row].ids) + len(self.texts[row]) + len(self.tail)


class PairEncoder:
    """Turns a query and its texts into token ids, in the layout the tokenizer has for pairs.

    Query and texts are tokenised apart, the query once, and put together as the tokenizer's own
    post-processor lays out a pair. A pair that fits is never cut. Of one that does not, the text
    is cut at its end, but to no less than half of `max_length`; then the query is cut in its
    middle, since a request usually stands at the beginning or at the end.

    Args:
        tokenizer: A tokenizer of its own: truncation and padding saved with it are switched off.
        max_length: Most tokens of a pair, special tokens included.

    Raises:
        ConfigurationError: If the pair layout leaves no room for a text.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        pair = tokenizer.encode("a", "b")
        sides = pair.sequence_ids
        if 0 not in sides or 1 not in sides or sides.index(0) > sides.index(1):
            raise ConfigurationError("the tokenizer has no layout for (query, text) pairs")
        query_from, text_from = sides.index(0), sides.index(1)
        query_to = query_from + sides.count(0)
        text_to = text_from + sides.count(1)
        ids, types = pair.ids, pair.type_ids
        self._before = (ids[:query_from], types[:query_from])
        self._between = (ids[query_to:text_from], types[query_to:text_from])
        self._after = (_array(ids[text_to:]), _array(types[text_to:]))
        self._query_type: int = types[query_from]
        self._text_type: int = types[text_from]
        special = len(ids) - sides.count(0) - sides.count(1)
        if max_length < special + 2:
            raise ConfigurationError(
                f"max_length {max_length} leaves no room for a query and a text beside the "
                f"{special} special tokens; it must be at least {special + 2}"
            )
        self._room = max_length - special  # for a query and a text together
        self._half = min(max_length // 2, self._room - 1)

    def encode(
        self, query: str, texts: Sequence[str], tick: Callable[[], None] | None = None
    ) -> EncodedPairs:
        """Tokenise the query once and each text once.

        Args:
            query: The query.
            texts: The texts.
            tick: Called now and then; what it raises stops the work.

        Returns:
            Their ids.
        """
        query, ids, whole = read_ends(self._tokenizer, query, self._room)
        head = self._head(query, ids)
        text_room = max(self._room - len(ids), self._half)

        @cache
        def shorter(length: int) -> Head:
            return self._head(*cut_middle(self._tokenizer, query, length))

        heads: list[Head] = []
        arrays: list[npt.NDArray[np.int32]] = []
        cut_texts: list[int] = []
        cut_queries: list[int] = []
        for start in range(0, len(texts), _CHUNK):
            if start and tick is not None:
                tick()
            for text_ids in self._encode_chunk(texts[start : start + _CHUNK], text_room):
                row, length = len(arrays), min(len(text_ids), text_room)
                if len(text_ids) > text_room:
                    cut_texts.append(row)
                fits = len(ids) + length <= self._room
                if not (fits and whole):
                    cut_queries.append(row)
                heads.append(head if fits else shorter(self._room - length))
                arrays.append(np.array(text_ids[:text_room], dtype=np.int32))
        return EncodedPairs(
            heads,
            arrays,
            *self._after,
            text_type=self._text_type,
            truncated=frozenset(cut_texts),
            truncated_queries=frozenset(cut_queries),
        )

    def cut(self, text: str, length: int) -> str:
        """Return the beginning of a text that its first `length` tokens cover."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return text[: encoding.offsets[length - 1][1]]

    def _head(self, query: str, ids: list[int]) -> Head:
        types = [*self._before[1], *[self._query_type] * len(ids), *self._between[1]]
        return Head(query, _array([*self._before[0], *ids, *self._between[0]]), _array(types))

    def _encode_chunk(self, texts: Sequence[str], room: int) -> list[list[int]]:
        """Token ids of each text; of a very long text at least more than there is room for."""
        spare = room + 64  # tokens near a cut may differ, those far before it do not
        limit = spare * _CHARACTERS_PER_TOKEN
        found = self._ids([text[:limit] for text in texts])
        short = [i for i, ids in enumerate(found) if len(texts[i]) > limit and len(ids) < spare]
        for i, ids in zip(short, self._ids([texts[i] for i in short]), strict=True):
            found[i] = ids
        return found

    def _ids(self, texts: list[str]) -> list[list[int]]:
        encodings: list[Any] = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def read_ends(tokenizer: Tokenizer, text: str, length: int) -> tuple[str, list[int], bool]:
    """Tokenise a text of which no more than so many tokens will be kept, from both its ends.

    Args:
        tokenizer: Without truncation.
        text: The text; of a very long one, only the beginning and the end are read.
        length: The most tokens that will be kept.

    Returns:
        The text that was read, its ids, and whether that was all of it.
    """
    limit = (length + 64) * _CHARACTERS_PER_TOKEN
    if len(text) > 2 * limit:
        ends = f"{text[:limit]} {text[-limit:]}"
        ids: list[int] = tokenizer.encode(ends, add_special_tokens=False).ids
        if len(ids) >= length:
            return ends, ids, False
    return text, tokenizer.encode(text, add_special_tokens=False).ids, True


def cut_middle(tokenizer: Tokenizer, text: str, length: int) -> tuple[str, list[int]]:
    """Cut a text in its middle.

    Args:
        tokenizer: Without truncation.
        text: A text of more than `length` tokens.
        length: Most tokens that may remain, at least 1.

    Returns:
        The beginning and the end of the text, joined by a space, and its ids. Words that were cut
        in two can take more tokens than before, so it may be a little shorter than it has to be.
    """
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    for kept in range(length, 0, -1):
        end = kept // 2
        ends = text[: offsets[kept - end - 1][1]]
        if end:
            ends = f"{ends} {text[offsets[-end][0] :]}"
        ids: list[int] = tokenizer.encode(ends, add_special_tokens=False).ids
        if len(ids) <= length:
            return ends, ids
    return ends, ids[:length]


def _array(values: list[int]) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


ROUND = 256
"""Texts tokenised, batched and scored before the next: a long list must not wait for its last."""


def rounds(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Cut a list into rounds, each with the position of its first text."""
    for first in range(0, len(texts), ROUND):
        yield first, texts[first : first + ROUND]


def round_up(length: int, multiple: int) -> int:
    """Round a length up to a multiple."""
    return -(-length // multiple) * multiple


def plan_batches(lengths: Sequence[int], budget: int, multiple: int = 1) -> list[list[int]]:
    """Group pairs into batches, longest first.

    Args:
        lengths: True token length of each pair.
        budget: At most this many tokens in a batch, padding included; a longer pair goes alone.
        multiple: Batches are padded to a multiple of this length.

    Returns:
        Positions in `lengths`, each exactly once. The first of a batch is its longest.
    """
    batches: list[list[int]] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or (len(batches[-1]) + 1) * width > budget:
            batches.append([])
            width = round_up(lengths[position], multiple)
        batches[-1].append(position)
    return batches


def batch_usage(
    batch: Sequence[int],
    lengths: Sequence[int],
    cut: Collection[int],
    cut_queries: Collection[int] = (),
) -> Usage:
    """Return what a batch of `plan_batches` cost, padded to its longest.

    Args:
        batch: Positions in `lengths`.
        lengths: True token length of each pair.
        cut: Positions of those whose text was cut.
        cut_queries: Positions of those whose query was cut.
    """
    tokens = sum(lengths[position] for position in batch)
    return Usage(
        pairs=len(batch),
        tokens=tokens,
        padding=lengths[batch[0]] * len(batch) - tokens,
        truncated=sum(position in cut for position in batch),
        truncated_queries=sum(position in cut_queries for position in batch),
    )
