"""What a call asks of a scorer, and how the answer is laid out for the caller again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from rerank_core.errors import MalformedResponseError
from rerank_core.types import Scoring
from rerank_core.validation import check_query, check_texts, describe

__all__ = ["Job", "Plan"]

T = TypeVar("T")


class Job(NamedTuple):
    """One query and the distinct, non-blank texts to score for it."""

    query: str
    texts: tuple[str, ...]


class Plan:
    """What to ask a scorer for one call, and how to lay its answer out again."""

    def __init__(
        self,
        query: str,
        texts: Sequence[str],
        query_name: str = "query",
        texts_name: str = "texts",
    ) -> None:
        clean_query = _encodable(check_query(query, query_name))
        positions: dict[str, int] = {}
        # For each text its position among the distinct ones; None for a blank text.
        self._slots = [
            positions.setdefault(text, len(positions)) if text.strip() else None
            for text in map(_encodable, check_texts(texts, texts_name))
        ]
        self.job = Job(clean_query, tuple(positions))

    def unscored(self) -> Scoring:
        """Return the scoring where no text could be scored."""
        return Scoring((None,) * len(self._slots))

    def expand(self, scoring: Scoring, name: str, seconds: float) -> Scoring:
        """Check what the scorer of that name answered, and lay it out for the texts as they came.

        Raises:
            MalformedResponseError: If it does not fit the job.
        """
        if not isinstance(scoring, Scoring):
            raise MalformedResponseError(f"{describe(scoring)} is no Scoring", provider=name)
        if len(scoring.scores) != len(self.job.texts):
            raise MalformedResponseError(
                f"{len(scoring.scores)} scores came back for {len(self.job.texts)} texts",
                provider=name,
            )
        return replace(
            scoring,
            scores=self._lay_out(scoring.scores),
            usage=replace(scoring.usage, seconds=seconds),
            spans=scoring.spans and self._lay_out(scoring.spans),
            secondary=scoring.secondary and self._lay_out(scoring.secondary),
        )

    def _lay_out(self, values: Sequence[T | None]) -> tuple[T | None, ...]:
        return tuple(None if slot is None else values[slot] for slot in self._slots)


def _encodable(text: str) -> str:
    """Replace lone surrogates, which no tokenizer and no JSON body can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # U+FFFD for each lone one; a split pair is joined again. Offsets may shift only there.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
