"""`Excerpt`: the sentences that answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rerank_core._checks import check_flag, check_number, check_whole, optional
from rerank_core._errors import ConfigurationError
from rerank_core._trimming.base import (
    ScoredSentences,
    ScoringTrimmer,
    Step,
    TrimContext,
    check_mark,
    earlier_first,
    shorten,
)
from rerank_core._types import RankedItem, Ranking, Scale

__all__ = ["Excerpt"]


@dataclass(frozen=True, slots=True)
class Excerpt(ScoringTrimmer):
    """Keeps the sentences of each text that answer the query.

    The scorer reads every sentence of the candidates that stayed, in one call, each with what it is
    about before it: the header of the document (see ``rank_fields``), or else the first four words
    of the text if its first sentence is long; and the heading above it. A `Cascade` asks its last
    stage, nothing is cached, and a `Deadline` covers both calls. Where a service returned relevant
    passages with the scores, such as `CohereScorer` with ``relevant_spans``, no second call is
    made.

    A list item, the row of a table (with the table's header) and a block of code are kept or left
    out whole. Each text keeps at least its best sentence; one of a single sentence stays whole.

    Args:
        drop: A sentence stays if its score is at most this share of the spread below the best of
            its text, from 0 (the best sentence only) to 1 (all). The spread is that between the
            best and the worst sentence of the text; of two sentences that score alike, the earlier
            one is preferred. Default 0.5: about half of the words.
        probability: Where scores are calibrated probabilities, the least that a sentence needs,
            from 0 to 1, in place of `drop`. Default: None.
        neighbours: Sentences kept before and after each one that answers. Default 0.
        mark: Text between passages that were apart. Default ``" … "``.
        strict: Raise if the sentences cannot be scored; else the texts stay whole, and
            ``degraded`` tells why. Default False.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example:
        ```python
        from rerank_core import Excerpt, rerank

        text = "Cats purr. Plants turn light into sugar. Dogs bark. Fish swim."
        (item,) = rerank("How do plants make food?", [text], trim=[Excerpt(drop=0.2)])
        print(item.excerpt)
        ```

        ```text
        Plants turn light into sugar.
        ```
    """

    kind: ClassVar[str] = "excerpt"
    step: ClassVar[Step] = Step.SHORTEN

    drop: float = 0.5
    probability: float | None = None
    neighbours: int = 0
    mark: str = " … "
    strict: bool = False

    def __post_init__(self) -> None:
        check_number(self.drop, "drop", least=0, most=1)
        optional(check_number, self.probability, "probability", least=0, most=1)
        check_whole(self.neighbours, "neighbours", least=0)
        check_mark(self.mark)
        check_flag(self.strict, "strict")

    def _to_read(self, ranking: Ranking, context: TrimContext) -> Sequence[RankedItem]:  # noqa: ARG002
        if self.probability is not None and ranking.scale is not Scale.PROBABILITY:
            raise ConfigurationError(
                f"probability={self.probability:g} needs calibrated scores, and those of "
                f"{ranking.scorer} are not ({ranking.scale.meaning}); use drop"
            )
        # Without any score the scorer failed, and would fail again.
        return [item for item in ranking if item.score is not None]

    def _cut(self, ranking: Ranking, context: TrimContext) -> Ranking:
        return replace(ranking, items=tuple(self._excerpt(item, context) for item in ranking))

    def _excerpt(self, item: RankedItem, context: TrimContext) -> RankedItem:
        read = context.known(item.index)
        if read is None:
            return item
        chosen = self._chosen(read)
        near = {
            other
            for position in chosen
            for other in range(position - self.neighbours, position + self.neighbours + 1)
            if 0 <= other < len(read.sentences)
        }
        return shorten(item, (read.sentences[position] for position in near), self.mark)

    def _chosen(self, read: ScoredSentences) -> list[int]:
        """Return the positions of the sentences that answer."""
        scores = {
            position: score
            for position, (score, sentence) in enumerate(
                zip(read.scores, read.sentences, strict=True)
            )
            if score is not None and not sentence.is_heading
        }
        if not scores or len(scores) < sum(not s.is_heading for s in read.sentences):
            return [*range(len(read.sentences))]  # not all were scored: none can be left out
        if self.probability is not None:
            least = min(max(scores.values()), self.probability)
            return [position for position, score in scores.items() if score >= least]
        weighed = dict(zip(scores, earlier_first([*scores.values()]), strict=True))
        best, worst = max(weighed.values()), min(weighed.values())
        spread = self.drop * (best - worst)
        return [position for position, score in weighed.items() if best - score <= spread]
