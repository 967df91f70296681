"""Pairs of a query and texts: tokenised, cut to length and grouped into batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from rerank_core._errors import ConfigurationError
from rerank_core._local.failures import tokenizing
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import numpy.typing as npt
    from tokenizers import Encoding, Tokenizer

__all__ = [
    "CHARACTERS_PER_TOKEN",
    "CHUNK",
    "ROUND",
    "EncodedPairs",
    "Ends",
    "Head",
    "PairEncoder",
    "batch_usage",
    "cut_middle",
    "plan_batches",
    "read_ends",
    "round_up",
    "rounds",
]

T = TypeVar("T")

ROUND = 256
"""Number of texts tokenised and batched at a time; a long list gives its first scores early."""

# Encodings hold far more than ids, so this bounds the memory they take, and the time until the next
# chance to stop.
CHUNK = 64
"""Number of texts tokenised at a time."""

CHARACTERS_PER_TOKEN = 16
"""Of a text with more characters than this per token of room, only the beginning is tokenised."""

_MARGIN = 64  # tokens near the end of a part may differ from those of the whole, others do not


class Ends(NamedTuple):
    """A tokenised text, or the beginning and the end of a very long one.

    Attributes:
        text: The part of the text that was read.
        ids: Its token ids.
        offsets: For each token its first character and the one after its last.
        whole: Whether it is all of the text.
    """

    text: str
    ids: list[int]
    offsets: list[tuple[int, int]]
    whole: bool


class Head(NamedTuple):
    """The beginning of a pair: special tokens and the query.

    Attributes:
        query: The query as it was tokenised, without its middle if it was cut.
        ids: Token ids.
        types: Segment ids.
    """

    query: str
    ids: npt.NDArray[np.int64]
    types: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedPairs:
    """One query with several texts as token ids, one row per text.

    Attributes:
        heads: Beginning of each row; the same object for all rows whose query was not cut.
        texts: Token ids of each text, perhaps cut.
        tail: Token ids after a text.
        tail_types: Segment ids of the tail.
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
        """Return the number of tokens of a pair, special tokens included."""
        return len(self.heads[row].ids) + len(self.texts[row]) + len(self.tail)


class PairEncoder:
    """Encodes a query and its texts as pairs of token ids, in the tokenizer's layout of pairs.

    Query and texts are tokenised separately, the query only once, and joined as the tokenizer's
    own post-processor does it. A pair that fits is never cut. In one that does not, the text is
    cut at its end, but to no less than half of `max_length`; then the query is cut in its middle,
    since a request is usually at the beginning or at the end.

    Args:
        tokenizer: A tokenizer that nothing else uses: its truncation and padding are switched off.
        max_length: Maximum number of tokens of a pair, special tokens included.
        template: Number of tokens of a template around query and text, which takes the place of
            the tokenizer's layout; its tokens are not known. Default: the tokenizer's layout.

    Raises:
        ConfigurationError: If the tokenizer has no layout of pairs, or it leaves no room for a
            query and a text.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, template: int | None = None) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        pair = tokenizer.encode("a", "b")
        ids, types, sides = pair.ids, pair.type_ids, pair.sequence_ids
        if template is not None:
            ids = types = [0] * (template + 2)
            sides = [None] * template + [0, 1]
        if 0 not in sides or 1 not in sides or sides.index(0) > sides.index(1):
            raise ConfigurationError("the tokenizer has no layout for (query, text) pairs")
        query_start, text_start = sides.index(0), sides.index(1)
        query_end = query_start + sides.count(0)
        text_end = text_start + sides.count(1)
        self._before = (ids[:query_start], types[:query_start])
        self._between = (ids[query_end:text_start], types[query_end:text_start])
        self._after = (_array(ids[text_end:]), _array(types[text_end:]))
        self._query_type: int = types[query_start]
        self._text_type: int = types[text_start]
        special = len(ids) - sides.count(0) - sides.count(1)
        if max_length < special + 2:
            raise ConfigurationError(
                f"max_length {max_length} leaves no room for a query and a text beside the "
                f"{special} {'special tokens' if template is None else 'tokens of the template'}; "
                f"it must be at least {special + 2}"
            )
        self._room = max_length - special  # for a query and a text together
        self._half = min((max_length - (template or 0)) // 2, self._room - 1)

    def encode(
        self, query: str, texts: Sequence[str], report: Callable[[], None] | None = None
    ) -> EncodedPairs:
        """Tokenise the query and each text once, and cut the pairs that are too long.

        Args:
            query: The query.
            texts: The texts.
            report: Called between chunks of texts; an exception that it raises stops the work.

        Returns:
            The encoded pairs, one row per text.
        """
        read = read_ends(self._tokenizer, query, self._room)
        head = self._head(read.text, read.ids)
        text_room = max(self._room - len(read.ids), self._half)

        @cache
        def shortened(length: int) -> Head:
            return self._head(*cut_middle(self._tokenizer, read, length))

        heads: list[Head] = []
        arrays: list[npt.NDArray[np.int32]] = []
        cut_texts: list[int] = []
        cut_queries: list[int] = []
        for start in range(0, len(texts), CHUNK):
            if start and report is not None:
                report()
            for text_ids in self._encode_chunk(texts[start : start + CHUNK], text_room):
                row, length = len(arrays), min(len(text_ids), text_room)
                if len(text_ids) > text_room:
                    cut_texts.append(row)
                fits = len(read.ids) + length <= self._room
                if not (fits and read.whole):
                    cut_queries.append(row)
                heads.append(head if fits else shortened(self._room - length))
                arrays.append(text_ids[:text_room])
        return EncodedPairs(
            heads,
            arrays,
            *self._after,
            text_type=self._text_type,
            truncated=frozenset(cut_texts),
            truncated_queries=frozenset(cut_queries),
        )

    def cut(self, text: str, length: int) -> str:
        """Return the part of a text that its first `length` tokens cover."""
        enough = length + _MARGIN
        encoding = _encode(self._tokenizer, text[: enough * CHARACTERS_PER_TOKEN])
        if len(encoding.ids) < enough:
            encoding = _encode(self._tokenizer, text)
        return text[: encoding.offsets[length - 1][1]]

    def _head(self, query: str, ids: list[int]) -> Head:
        types = [*self._before[1], *[self._query_type] * len(ids), *self._between[1]]
        return Head(query, _array([*self._before[0], *ids, *self._between[0]]), _array(types))

    @tokenizing()
    def _encode_chunk(self, texts: Sequence[str], room: int) -> list[npt.NDArray[np.int32]]:
        """Return the token ids of each text: of one that does not fit, the first `room` + 1."""
        enough = room + _MARGIN
        limit = enough * CHARACTERS_PER_TOKEN
        encoded = self._ids([text[:limit] for text in texts])
        short = [i for i, ids in enumerate(encoded) if len(texts[i]) > limit and len(ids) < enough]
        for i, ids in zip(short, self._ids([texts[i] for i in short]), strict=True):
            encoded[i] = ids
        return [np.array(ids[: room + 1], dtype=np.int32) for ids in encoded]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        encodings: list[Any] = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def read_ends(tokenizer: Tokenizer, text: str, length: int) -> Ends:
    """Tokenise a text of which no more than so many tokens will be kept, from both its ends.

    Args:
        tokenizer: Tokenizer without truncation.
        text: The text; of a very long one, only the beginning and the end are read.
        length: Maximum number of tokens that will be kept.
    """
    limit = (length + _MARGIN) * CHARACTERS_PER_TOKEN
    read, whole = text, True
    if len(text) > 2 * limit:
        read, whole = _ends_of(text, limit)
    encoding = _encode(tokenizer, read)
    while not whole and len(encoding.ids) < length:  # an endless word, say, is one token
        limit *= 4
        read, whole = _ends_of(text, limit)
        encoding = _encode(tokenizer, read)
    return Ends(read, encoding.ids, encoding.offsets, whole)


def _ends_of(text: str, limit: int) -> tuple[str, bool]:
    """Return so many characters of either end, or all, with each run of white space as a space.

    Long runs hold few tokens. No more of the text is looked at than is needed, since nothing else
    in the process runs meanwhile.
    """
    before, after = (" " if end.isspace() else "" for end in (text[0], text[-1]))
    first = text.split(maxsplit=limit)
    start = before + " ".join(first[:limit])
    if len(first) > limit:  # words, so more characters than are needed
        end = " ".join(text.rsplit(maxsplit=limit)[1:]) + after
    else:
        start = end = start + after
        if len(start) <= 2 * limit:
            return start, True
    return f"{start[:limit]} {end[-limit:]}", False


@tokenizing()
def _encode(tokenizer: Tokenizer, text: str) -> Encoding:
    """Tokenise one text without special tokens, while other threads go on."""
    encodings: list[Encoding] = tokenizer.encode_batch([text], add_special_tokens=False)
    return encodings[0]


def cut_middle(tokenizer: Tokenizer, read: Ends, length: int) -> tuple[str, list[int]]:
    """Cut a text in its middle.

    Args:
        tokenizer: Tokenizer without truncation.
        read: A text of more than `length` tokens.
        length: Maximum number of tokens that remain, at least 1.

    Returns:
        The beginning and the end of the text, joined by a space, and their ids. Words that are
        cut in two can take more tokens than before, so there may be a few less than `length`.
    """
    text, offsets = read.text, read.offsets
    for kept in range(length, 0, -1):
        end = kept // 2
        ends = text[: offsets[kept - end - 1][1]]
        if end:
            ends = f"{ends} {text[offsets[-end][0] :]}"
        ids: list[int] = _encode(tokenizer, ends).ids
        if len(ids) <= length:
            return ends, ids
    return ends, ids[:length]


def _array(values: list[int]) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def rounds(items: Sequence[T]) -> Iterator[tuple[int, Sequence[T]]]:
    """Split a list into rounds, each with the position of its first item."""
    for start in range(0, len(items), ROUND):
        yield start, items[start : start + ROUND]


def round_up(length: int, multiple: int) -> int:
    """Round a length up to a multiple."""
    return -(-length // multiple) * multiple


def plan_batches(lengths: Sequence[int], budget: int, multiple: int = 1) -> list[list[int]]:
    """Group pairs into batches, longest first.

    Args:
        lengths: True token length of each pair.
        budget: Maximum number of tokens of a batch, padding included; a longer pair is a batch of
            its own.
        multiple: Length of which a multiple is the padded length of a batch.

    Returns:
        Batches of positions in `lengths`, the longest pair of each batch first.
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
    """Return the usage of a batch of `plan_batches` that is padded to its longest pair.

    Args:
        batch: Positions in `lengths`.
        lengths: True token length of each pair.
        cut: Positions of pairs whose text was cut.
        cut_queries: Positions of pairs whose query was cut.
    """
    tokens = sum(lengths[position] for position in batch)
    return Usage(
        pairs=len(batch),
        tokens=tokens,
        padding=lengths[batch[0]] * len(batch) - tokens,
        truncated=sum(position in cut for position in batch),
        truncated_queries=sum(position in cut_queries for position in batch),
    )
