"""`Budget`: at most so many tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import attrgetter
from typing import Any, ClassVar

from rerank_core._checks import check_flag, check_whole
from rerank_core._errors import ConfigurationError
from rerank_core._trimming.base import (
    ScoringTrimmer,
    Step,
    TrimContext,
    check_mark,
    degraded,
    earlier_first,
    shorten,
)
from rerank_core._trimming.sentences import Sentence, split
from rerank_core._trimming.tokens import CounterLike, make_counter
from rerank_core._types import BUDGET, RankedItem, Ranking, Span

__all__ = ["Budget"]

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Budget(ScoringTrimmer):
    """Fills a number of tokens with the best texts, and cuts the one that no longer fits.

    Candidates stay in their order as long as they fit; the first that does not is shortened to its
    best sentences that fit (see `Excerpt`), and what follows it leaves. One none of whose sentences
    fits is passed over. If none of the best text fits, the beginning of its best sentence stays,
    and ``degraded`` tells so.

    Args:
        tokens: At most this many tokens of text stay, at least 1. What a prompt puts between the
            texts is not counted.
        counter: Counter of these tokens: ``"nano"``, the embedded model's tokenizer, which gives
            about the numbers of an LLM's; an encoding of tiktoken such as ``"o200k_base"``; a
            tokenizer of tiktoken, tokenizers or transformers; an object with ``get_num_tokens``,
            such as LangChain's models; LlamaIndex's ``Settings.tokenizer``; or a function from a
            text to its tokens or their number. Default ``"nano"``.
        mark: Text between passages that were apart. Default ``" … "``.
        strict: Raise if the sentences of a text that must be cut cannot be scored; else its first
            sentences stay. Default False.

    Raises:
        ConfigurationError: If an argument is invalid.

    Example:
        ```python
        from rerank_core import Budget, rerank

        texts = ["Plants turn light into sugar. They need water.", "Cats purr.", "Dogs bark."]
        ranking = rerank("How do plants make food?", texts, trim=[Budget(tokens=7)])
        print([item.excerpt for item in ranking], ranking.tokens_after)
        ```

        ```text
        ['Plants turn light into sugar.'] 6
        ```
    """

    kind: ClassVar[str] = "budget"
    step: ClassVar[Step] = Step.FILL

    tokens: int
    counter: CounterLike = "nano"
    mark: str = " … "
    strict: bool = False

    def __post_init__(self) -> None:
        check_whole(self.tokens, "tokens")
        make_counter(self.counter)
        check_mark(self.mark)
        check_flag(self.strict, "strict")

    def to_config(self) -> dict[str, Any]:
        """Return the arguments in plain JSON values, with ``"type": "budget"``.

        Raises:
            ConfigurationError: If the counter is no name.
        """
        if not isinstance(self.counter, str):
            raise ConfigurationError(
                "a Budget whose counter is no name cannot be written; use 'nano' or an encoding "
                "such as 'o200k_base', or set it again after loading"
            )
        return ScoringTrimmer.to_config(self)

    def _to_read(self, ranking: Ranking, context: TrimContext) -> Sequence[RankedItem]:
        _, item, _ = self._filled(ranking, context)
        # Without a score the scorer failed, and would fail again.
        return [] if item is None or item.score is None else [item]

    def _cut(self, ranking: Ranking, context: TrimContext) -> Ranking:
        count = context.counter(self.counter)
        kept, item, room = self._filled(ranking, context)
        if item is None:
            return replace(ranking, items=tuple(kept))
        sentences = _best_first(item, context)
        if chosen := self._chosen(item, sentences, room, count):
            return replace(ranking, items=(*kept, shorten(item, chosen, self.mark)))
        reason = f"the budget of {self.tokens} tokens is less than the best sentence takes"
        ranking = replace(ranking, items=_beginning(item, sentences, room, count))
        return degraded(ranking, reason, BUDGET)

    def _filled(
        self, ranking: Ranking, context: TrimContext
    ) -> tuple[list[RankedItem], RankedItem | None, int]:
        """Return the candidates that fit whole, the one to cut, and the tokens left for it.

        It is the first that does not fit but for some of its sentences; or else the best one, if
        it is too long itself, so that something stays.
        """
        count = context.counter(self.counter)
        kept: list[RankedItem] = []
        room = self.tokens
        for item in ranking:
            taken = count(item.excerpt)
            if taken <= room:
                kept.append(item)
                room -= taken
            elif not kept or any(self._fitting(item, _best_first(item, context), room, count)):
                return kept, item, room
        return kept, None, room

    def _fitting(
        self,
        item: RankedItem,
        sentences: Iterable[Sentence],
        room: int,
        count: Callable[[str], int],
    ) -> Iterator[Sentence]:
        """Yield the sentences that fit alone, with their headings."""
        return (s for s in sentences if count(shorten(item, [s], self.mark).excerpt) <= room)

    def _chosen(
        self,
        item: RankedItem,
        sentences: Sequence[Sentence],
        room: int,
        count: Callable[[str], int],
    ) -> Sequence[Sentence]:
        """Return as many of the sentences, the best first, as fit together."""
        chosen: list[Sentence] = []
        left = room
        counted: dict[int, int] = {}  # of headings, which may begin alike: start -> end
        for sentence in self._fitting(item, sentences, room, count):
            start, end = sentence.heading or (0, 0)
            done = counted.get(start, start)
            taken = count(item.text[sentence.start : sentence.end]) + count(item.text[done:end])
            if taken <= left:
                chosen.append(sentence)
                counted[start] = max(done, end)
                left -= taken

        def taken_by(number: int) -> int:
            # Marks count, too, and tokens may join or part at the borders.
            return count(shorten(item, chosen[:number], self.mark).excerpt)

        return chosen[: _most(len(chosen), room, taken_by)]


def _best_first(item: RankedItem, context: TrimContext) -> list[Sentence]:
    """Return the sentences that are left of a candidate, the best or else the first ones first."""
    read = context.known(item.index)
    sentences = split(item.text) if read is None else read.sentences
    scores = [None] * len(sentences) if read is None else read.scores
    weighed = iter(earlier_first([score for score in scores if score is not None]))
    scores = [None if score is None else next(weighed) for score in scores]
    kept = sorted(item.kept or [Span(0, len(item.text))], key=attrgetter("start"))
    only_headings = all(sentence.is_heading for sentence in sentences)
    starts = [span.start for span in kept]
    ends = [*accumulate((span.end for span in kept), max)]  # spans may overlap

    def stays(sentence: Sentence) -> bool:
        before = bisect_right(starts, sentence.start)
        return before > 0 and sentence.end <= ends[before - 1]

    left = [
        (score is None, -(score or 0.0), sentence)
        for score, sentence in zip(scores, sentences, strict=True)
        if (only_headings or not sentence.is_heading) and stays(sentence)
    ]
    return [sentence for *_, sentence in sorted(left, key=lambda entry: entry[:2])]


def _beginning(
    item: RankedItem, sentences: Sequence[Sentence], room: int, count: Callable[[str], int]
) -> tuple[RankedItem, ...]:
    """Return the longest beginning of the best sentence that fits; nothing if none does."""
    if not sentences:
        return ()
    start, end, *_ = sentences[0]

    def fitting(ends: Sequence[int]) -> int:
        number = _most(len(ends), room, lambda k: count(item.text[start : ends[k - 1]]))
        return ends[number - 1] if number else start

    words = [word.end() for word in _WORD.finditer(item.text, start, end)]
    cut = fitting(words)
    if cut == start:  # not even a word fits, or there are no spaces
        cut = fitting(range(start + 1, end + 1))
    return (replace(item, kept=(Span(start, cut),)),) if cut > start else ()


def _most(length: int, room: int, taken: Callable[[int], int]) -> int:
    """Return the greatest number up to `length` that takes at most `room`; 0 takes nothing."""
    return bisect_right(range(1, length + 1), room, key=taken)
