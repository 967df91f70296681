"""Tokenising one query with many texts, each exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rerank_core.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    import numpy.typing as npt
    from tokenizers import Tokenizer

__all__ = ["EncodedTexts", "PairEncoder"]

# Encodings hold far more than ids; converting them by the chunk bounds the memory they take, and
# the time in which nobody can stop it.
_CHUNK = 64
# A text of more characters than this for each token there is room for is first read in part.
_CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """One query's texts as token ids.

    Attributes:
        head: Ids before a text: special tokens and the query.
        head_types: Their segment ids.
        texts: Ids of each text, cut to the room there is.
        tail: Ids after a text.
        tail_types: Their segment ids.
        text_type: Segment id of a text's tokens.
        truncated: Positions of the texts that were cut.
    """

    head: npt.NDArray[np.int64]
    head_types: npt.NDArray[np.int64]
    texts: list[npt.NDArray[np.int32]]
    tail: npt.NDArray[np.int64]
    tail_types: npt.NDArray[np.int64]
    text_type: int
    truncated: frozenset[int]

    def length(self, position: int) -> int:
        """Tokens of the pair at a position, special tokens included."""
        return len(self.head) + len(self.texts[position]) + len(self.tail)


class PairEncoder:
    """Turns a query and its texts into token ids, in the layout the tokenizer has for pairs.

    Query and texts are tokenised apart, the query once, and put together as the tokenizer's own
    post-processor lays out a pair. Only texts are cut.

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
        self._max_length = max_length
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

    def encode(
        self, query: str, texts: Sequence[str], tick: Callable[[], None] | None = None
    ) -> EncodedTexts:
        """Tokenise the query once and each text once.

        Args:
            query: The query; it is never cut.
            texts: The texts.
            tick: Called now and then; what it raises stops the work.

        Returns:
            Their ids.

        Raises:
            InvalidInputError: If the query alone fills `max_length`.
        """
        query_ids = self._tokenizer.encode(query, add_special_tokens=False).ids
        head = _array([*self._before[0], *query_ids, *self._between[0]])
        types = _array([*self._before[1], *[self._query_type] * len(query_ids), *self._between[1]])
        room = self._max_length - len(head) - len(self._after[0])
        if room < 1:
            raise InvalidInputError(
                f"query is {len(query_ids)} tokens long and leaves no room for a text within "
                f"max_length {self._max_length}; shorten it, or use a model that reads more"
            )
        arrays: list[npt.NDArray[np.int32]] = []
        truncated: list[int] = []
        for start in range(0, len(texts), _CHUNK):
            if start and tick is not None:
                tick()
            for ids in self._encode_chunk(texts[start : start + _CHUNK], room):
                if len(ids) > room:
                    truncated.append(len(arrays))
                arrays.append(np.array(ids[:room], dtype=np.int32))
        return EncodedTexts(
            head,
            types,
            arrays,
            *self._after,
            text_type=self._text_type,
            truncated=frozenset(truncated),
        )

    def cut(self, text: str, length: int) -> str:
        """Return the beginning of a text that its first `length` tokens cover."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return text[: encoding.offsets[length - 1][1]]

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


def _array(values: list[int]) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
