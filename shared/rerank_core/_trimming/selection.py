"""Trimmers that drop or arrange whole candidates: `Distinct`, `Adaptive` and `Arrange`."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil, inf
from statistics import fmean
from typing import ClassVar, Literal, get_args

from rerank_core._checks import check_choice, check_number, check_whole, optional
from rerank_core._errors import InvalidInputError
from rerank_core._trimming.base import Step, TrimContext, Trimmer, degraded
from rerank_core._types import Ranking, Scale

__all__ = ["Adaptive", "Arrange", "Distinct"]

Order = Literal["edges", "first_stage", "by_document"]

_WORD = re.compile(r"[^\W_]+")
# Scripts without spaces between words: each character is a word.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


@dataclass(frozen=True, slots=True)
class Distinct(Trimmer):
    """Drops near-duplicates: overlapping chunks, boilerplate, mirrored pages.

    Of two texts that share most of their shingles (sequences of words: Broder, "On the resemblance
    and containment of documents", 1997), the one with the better score stays. What counts is the
    share of the shorter text's shingles that are in the longer one, so that a text leaves whose
    content another one has.

    Args:
        overlap: Texts that share at least this part of their shingles are near-duplicates, above
            0, at most 1. Default 0.8.
        words: Words in a shingle; fewer if a text is shorter. In scripts without spaces each
            character is a word. Default 4.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example:
        ```python
        from rerank_core import Distinct, rerank

        texts = ["Plants use light.", "plants use light", "Cats purr."]
        ranking = rerank("How do plants eat?", texts, trim=[Distinct()])
        assert len(ranking) == 2
        ```
    """

    kind: ClassVar[str] = "distinct"

    overlap: float = 0.8
    words: int = 4

    def __post_init__(self) -> None:
        check_number(self.overlap, "overlap", above=0, most=1)
        check_whole(self.words, "words")

    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:  # noqa: ARG002
        """Keep the first of each group of near-duplicates."""
        sets = [self._shingles(item.text) for item in ranking]
        frequency = Counter(chain.from_iterable(sets))
        kept: list[int] = []
        holders: dict[int, list[int]] = {}  # shingle -> kept texts that have it
        rare_holders: dict[int, list[int]] = {}  # the same, of their rare shingles
        for position, shingles in enumerate(sets):
            # Of two near-duplicates, the smaller one has a rare shingle in the other one: it
            # cannot miss them all (prefix filtering: Chaudhuri et al., ICDE 2006).
            missing = len(shingles) - ceil(self.overlap * len(shingles))
            rare = sorted(shingles, key=frequency.__getitem__)[: missing + 1]
            similar = {other for shingle in rare for other in holders.get(shingle, ())}
            similar.update(other for shingle in shingles for other in rare_holders.get(shingle, ()))
            if any(self._are_alike(shingles, sets[other]) for other in similar):
                continue
            kept.append(position)
            for shingle in shingles:
                holders.setdefault(shingle, []).append(position)
            for shingle in rare:
                rare_holders.setdefault(shingle, []).append(position)
        return replace(ranking, items=tuple(ranking[position] for position in kept))

    def _are_alike(self, one: set[int], other: set[int]) -> bool:
        return len(one & other) >= self.overlap * min(len(one), len(other))

    def _shingles(self, text: str) -> set[int]:
        spaced = _UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFKC", text).casefold())
        words = _WORD.findall(spaced)
        size = min(self.words, len(words)) or 1
        return {hash(tuple(words[i : i + size])) for i in range(len(words) - size + 1) if words}


@dataclass(frozen=True, slots=True)
class Adaptive(Trimmer):
    """Keeps as many candidates as deserve it, or none.

    A scored candidate stays if its score is not far below the best one. If even the best is below
    `least`, none stays, and ``ranking.nothing_relevant`` tells the evidence, so that an application
    can answer "I do not know". Candidates without a score are not judged: they stay.

    Args:
        drop: A candidate stays if its score is at most this share of the way from the best score
            to the mean of all scores: from 0 (only ties with the best stay) to 1 (those
            that are not below the mean). None: only `least` drops. Default 0.75.
        least: The score that the best candidate needs, and every other one that stays; on the scale
            of the ranking, and best a calibrated probability, which is not applied to the scores of
            a stand-in that are none. Default: None, any.
        nothing: No candidate stays if ``ranking.nothing_probability``, which a `Calibrated` gives,
            is at least this. Default: None, it is not asked.
        at_least: So many of the best stay in any case. Default 0.

    Raises:
        ConfigurationError: If an argument is out of range.

    Example:
        ```python
        from rerank_core import Adaptive, rerank

        texts = ["Cats purr.", "Dogs bark."]
        ranking = rerank("How do plants eat?", texts, trim=[Adaptive(least=20)])
        assert not ranking
        print(ranking.nothing_relevant)
        ```

        ```text
        the best of 2 scores is 8.2, below 20
        ```
    """

    kind: ClassVar[str] = "adaptive"

    drop: float | None = 0.75
    least: float | None = None
    at_least: int = 0
    nothing: float | None = None

    def __post_init__(self) -> None:
        optional(check_number, self.drop, "drop", least=0, most=1)
        optional(check_number, self.least, "least")
        optional(check_number, self.nothing, "nothing", least=0, most=1)
        check_whole(self.at_least, "at_least", least=0)

    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:
        """Drop what is far below the best, or below the least score."""
        scores = [item.score for item in ranking if item.score is not None]
        if not scores:
            return ranking
        best, bar = max(scores), min(scores)
        if self.drop is not None:
            bar = best - self.drop * (best - fmean(scores))
        nothing = None
        least, foreign = self.least, ranking.degraded and ranking.scale is not Scale.PROBABILITY
        if least is not None and foreign and context.scorer.scale is Scale.PROBABILITY:
            ranking = degraded(ranking, f"Adaptive: no {ranking.scale} is compared with {least:g}")
            least = None
        if least is not None:
            bar = max(bar, least)
            if best < least:
                nothing = f"the best of {len(scores)} scores is {best:.3g}, below {least:g}"
        none = ranking.nothing_probability
        if self.nothing is not None and none is not None and none >= self.nothing:
            bar = inf
            nothing = (
                f"the probability that none of the texts is relevant is {none:.3g}, "
                f"at least {self.nothing:g}"
            )
        items = tuple(
            item
            for position, item in enumerate(ranking)
            if position < self.at_least or item.score is None or item.score >= bar
        )
        return replace(ranking, items=items, nothing_relevant=nothing)


@dataclass(frozen=True, slots=True)
class Arrange(Trimmer):
    """Puts the candidates that stay into the order in which an LLM should read them.

    Args:
        order: ``"edges"``: the best first and last, the others between, since LLMs overlook the
            middle of a long context (Liu et al., "Lost in the Middle", TACL 2024);
            ``"first_stage"``: as they came; ``"by_document"``: those of one document together, in
            first-stage order, the document of the best candidate first. The adapters know the
            document: LangChain's metadata ``"source"``, LlamaIndex's ``ref_doc_id``.

    Raises:
        ConfigurationError: If the order is unknown.

    Example:
        ```python
        from rerank_core import Arrange, rerank

        texts = ["Cats purr.", "Plants use light.", "Dogs bark."]
        ranking = rerank("How do plants eat?", texts, trim=[Arrange("first_stage")])
        assert [item.index for item in ranking] == [0, 1, 2]
        ```
    """

    kind: ClassVar[str] = "arrange"
    step: ClassVar[Step] = Step.ARRANGE

    order: Order = "edges"

    def __post_init__(self) -> None:
        check_choice(self.order, "order", get_args(Order))

    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:
        """Put the candidates into order."""
        items = [*ranking]
        if self.order == "edges":
            items = items[::2] + items[1::2][::-1]
        elif self.order == "first_stage":
            items.sort(key=lambda item: item.index)
        else:
            names = {item.index: context.passages[item.index].document for item in items}
            if items and not any(names.values()):
                raise InvalidInputError(
                    "Arrange('by_document') needs to know the documents: use an adapter, and "
                    'documents with metadata "source" (LangChain) or a ref_doc_id (LlamaIndex)'
                )
            places: dict[object, int] = {}
            groups = {
                item.index: places.setdefault(names[item.index] or item.index, place)
                for place, item in enumerate(items)
            }
            items.sort(key=lambda item: (groups[item.index], item.index))
        return replace(ranking, items=tuple(items))
