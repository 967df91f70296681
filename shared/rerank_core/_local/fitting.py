"""Pairs as texts, cut to length for a library that tokenises them itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rerank_core._local.pairs import CHARACTERS_PER_TOKEN, CHUNK, PairEncoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FittedPair", "Measure", "PairFitter"]

Measure = Callable[[list[tuple[str, str]]], list[int]]
"""Returns the number of tokens of each pair, as the model reads it."""


class FittedPair(NamedTuple):
    """A pair that is no longer than the model reads.

    Attributes:
        query: The query, perhaps without its middle.
        text: The text, perhaps without its end.
        length: Number of tokens, special tokens included.
        text_cut: Whether the text was cut.
        query_cut: Whether the query was cut.
    """

    query: str
    text: str
    length: int
    text_cut: bool
    query_cut: bool


class PairFitter:
    """Cuts pairs as `PairEncoder` does, and returns them as texts.

    The library would cut a pair that is too long at its end, where a causal model needs the end of
    its chat template.

    Args:
        tokenizer: A tokenizer that nothing else uses: its truncation and padding are switched off.
        max_length: Maximum number of tokens of a pair, special tokens included.
        prompt: Text before each query. Default: none.
        measure: For models that read a pair in a template: with it no token but those of query and
            text is cut. Default: the pair is read in the tokenizer's layout of pairs.

    Raises:
        ConfigurationError: If no room is left for a query and a text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        prompt: str = "",
        measure: Measure | None = None,
    ) -> None:
        self._max_length = max_length
        self._prompt = prompt
        self._measure = measure
        template = None
        if measure is not None:
            own = len(tokenizer.encode("a", add_special_tokens=False).ids)
            template = max(0, measure([("a", "a")])[0] - 2 * own)
        self._encoder = PairEncoder(tokenizer, max_length, template)

    def fit(
        self, query: str, texts: Sequence[str], report: Callable[[], None] | None = None
    ) -> list[FittedPair]:
        """Cut the pairs that are too long.

        Args:
            query: The query.
            texts: The texts.
            report: Called between chunks of texts; an exception that it raises stops the work.

        Returns:
            The pairs, in the order of the texts.
        """
        query = self._prompt + query
        if self._measure is None:
            encoded = self._encoder.encode(query, texts, report)
            fitted = []
            for row, text in enumerate(texts):
                is_cut = row in encoded.truncated
                kept = self._encoder.cut(text, len(encoded.texts[row])) if is_cut else text
                head, query_cut = encoded.heads[row].query, row in encoded.truncated_queries
                fitted.append(FittedPair(head, kept, encoded.length(row), is_cut, query_cut))
            return fitted
        fitted = []
        for start in range(0, len(texts), CHUNK):
            if start and report is not None:
                report()
            fitted += self._fit_into_template(query, texts[start : start + CHUNK], self._measure)
        return fitted

    def _fit_into_template(
        self, query: str, texts: Sequence[str], measure: Measure
    ) -> list[FittedPair]:
        # Where a template and a text meet, tokens are others than those of the two alone, so that
        # only what is measured is certain.
        limit = self._max_length * CHARACTERS_PER_TOKEN  # more is measured once it is cut
        rows = [row for row, text in enumerate(texts) if len(query) + len(text) <= limit]
        lengths = measure([(query, texts[row]) for row in rows])
        whole = {
            row: FittedPair(query, texts[row], length, text_cut=False, query_cut=False)
            for row, length in zip(rows, lengths, strict=True)
            if length <= self._max_length
        }
        long = [row for row in range(len(texts)) if row not in whole]
        encoded = self._encoder.encode(query, [texts[row] for row in long])
        cut = {}
        for position, row in enumerate(long):
            head, kept = encoded.heads[position].query, len(encoded.texts[position])
            text = texts[row]
            if position in encoded.truncated:
                text = self._encoder.cut(text, kept)
            (length,) = measure([(head, text)])
            while length > self._max_length and kept > 1:
                kept = max(1, kept - (length - self._max_length))
                text = self._encoder.cut(texts[row], kept)
                (length,) = measure([(head, text)])
            query_cut = position in encoded.truncated_queries
            cut[row] = FittedPair(head, text, length, len(text) < len(texts[row]), query_cut)
        return [whole.get(row) or cut[row] for row in range(len(texts))]
