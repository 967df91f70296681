"""Jobs for a scorer, the collection of their scores, and the layout for the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from rerank_core._checks import check_query, check_texts, describe, is_blank
from rerank_core._errors import MalformedResponseError
from rerank_core._types import STOPPED, Scoring, Span
from rerank_core._usage import Usage

__all__ = ["Job", "Plan", "Tally", "encodable"]

T = TypeVar("T")


class Job(NamedTuple):
    """One query and the distinct, non-blank texts to score for it."""

    query: str
    texts: tuple[str, ...]


class Plan:
    """The job of one call, and the layout of its scores for the texts as they came."""

    def __init__(
        self,
        query: str,
        texts: Sequence[str],
        query_name: str = "query",
        texts_name: str = "texts",
    ) -> None:
        clean_query = encodable(check_query(query, query_name))
        positions: dict[str, int] = {}
        # For each text its position among the distinct ones; None for a blank text.
        self._slots = [
            None if is_blank(text) else positions.setdefault(text, len(positions))
            for text in map(encodable, check_texts(texts, texts_name))
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
            spans=scoring.spans and tuple(spans or () for spans in self._lay_out(scoring.spans)),
            secondary=scoring.secondary and self._lay_out(scoring.secondary),
        )

    def _lay_out(self, values: Sequence[T | None]) -> tuple[T | None, ...]:
        return tuple(None if slot is None else values[slot] for slot in self._slots)


class Tally:
    """Collects the scores of one job as they come in, in any order, and what they cost.

    Args:
        total: How many texts the job has.

    Attributes:
        usage: What it cost so far.
        done: How many texts have a score.
    """

    def __init__(self, total: int) -> None:
        self._scores: list[float | None] = [None] * total
        self._spans: list[tuple[Span, ...]] | None = None
        self.usage = Usage()
        self.done = 0

    def add(
        self,
        positions: Sequence[int],
        scores: Sequence[float],
        usage: Usage,
        spans: Sequence[tuple[Span, ...]] | None = None,
    ) -> None:
        """Add the scores of some texts.

        Args:
            positions: The texts' positions in the job.
            scores: One for each.
            usage: What they cost together.
            spans: The relevant passages of each, where known.
        """
        for position, score in zip(positions, scores, strict=True):
            self._scores[position] = score
        if spans is not None:
            self._spans = self._spans or [()] * len(self._scores)
            for position, passages in zip(positions, spans, strict=True):
                self._spans[position] = passages
        self.usage += usage
        self.done += len(positions)

    def scoring(self) -> Scoring:
        """Return what there is; where texts are missing, the scoring was stopped early."""
        total = len(self._scores)
        whole = self.done == total
        return Scoring(
            tuple(self._scores),
            self.usage,
            None if whole else f"stopped early: {self.done} of {total} texts scored",
            None if self._spans is None else tuple(self._spans),
            causes=() if whole else (STOPPED,),
        )


def encodable(text: str) -> str:
    """Replace lone surrogates, which no tokenizer and no JSON body can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # U+FFFD for each lone one; a split pair is joined again. Offsets may shift only there.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
