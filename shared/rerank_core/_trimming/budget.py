"""`Budget`: at most so many tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rerank_core._checks import check_flag, check_whole
from rerank_core._errors import ConfigurationError
from rerank_core._trimming.base import ScoringTrimmer, Step, TrimContext, shorten
from rerank_core._trimming.excerpt import check_mark
from rerank_core._trimming.sentences import Sentence
from rerank_core._trimming.tokens import CounterLike, make_counter
from rerank_core._types import BUDGET, RankedItem, Ranking, Span, unique

__all__ = ["Budget"]


@dataclass(frozen=True, slots=True)
class Budget(ScoringTrimmer):
    """Fills a number of tokens with the best texts, and cuts the one that no longer fits.

    Candidates stay in their order as long as they fit; the first that does not is shortened to its
    best sentences (see `Excerpt`), and what follows it leaves. If not even the best sentence of the
    best text fits, its beginning stays, and ``degraded`` tells so.

    Args:
        tokens: At most this many tokens of text stay, at least 1. What a prompt puts between the
            texts is not counted.
        counter: What counts them: ``"nano"``, the embedded model's tokenizer, which gives about
            the numbers of an LLM's; an encoding of tiktoken such as ``"o200k_base"``; a tokenizer
            of tiktoken, tokenizers or transformers; an object with ``get_num_tokens``, such as
            LangChain's models; LlamaIndex's ``Settings.tokenizer``; or a function from a text to
            its tokens or their number. Default ``"nano"``.
        mark: What joins passages that were apart. Default ``" … "``.
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

    def _to_read(self, ranking: Ranking) -> Sequence[RankedItem]:
        fitting, _ = self._fitting(ranking, make_counter(self.counter))
        # Without a score the scorer failed, and would fail again.
        return [item for item in ranking[fitting : fitting + 1] if item.score is not None]

    def _cut(self, ranking: Ranking, context: TrimContext) -> Ranking:
        count = make_counter(self.counter)
        fitting, room = self._fitting(ranking, count)
        items = [*ranking[:fitting]]
        if fitting == len(ranking):
            return ranking
        item = ranking[fitting]
        if (cut := self._shortened(item, context, room, count)) is not None:
            items.append(cut)
        elif not items:
            reason = f"the budget of {self.tokens} tokens is less than the best sentence takes"
            return replace(
                ranking,
                items=_beginning(item, room, count),
                degraded="; ".join(filter(None, (ranking.degraded, reason))),
                causes=unique((*ranking.causes, BUDGET)),
            )
        return replace(ranking, items=tuple(items))

    def _fitting(self, ranking: Ranking, count: Callable[[str], int]) -> tuple[int, int]:
        """Return how many candidates fit whole, and the tokens that are left."""
        room = self.tokens
        for fitting, item in enumerate(ranking):
            taken = count(item.excerpt)
            if taken > room:
                return fitting, room
            room -= taken
        return len(ranking), room

    def _shortened(
        self, item: RankedItem, context: TrimContext, room: int, count: Callable[[str], int]
    ) -> RankedItem | None:
        """Return a candidate with as many of its best sentences as fit, or None."""
        read = context.known(item.index)
        if read is None:
            return None
        ranked = sorted(
            (
                (score is None, -(score or 0.0), sentence)
                for score, sentence in zip(read.scores, read.sentences, strict=True)
                if _is_kept(sentence, item) and not sentence.is_heading
            ),
            key=lambda entry: entry[:2],
        )
        chosen: list[Sentence] = []
        shortened = None
        for *_, sentence in ranked:
            candidate = shorten(item, [*chosen, sentence], self.mark)
            if count(candidate.excerpt) <= room:
                chosen.append(sentence)
                shortened = candidate
        return shortened


def _is_kept(sentence: Sentence, item: RankedItem) -> bool:
    """Return whether a sentence is part of what another trimmer has left."""
    kept = item.kept or (Span(0, len(item.text)),)
    return any(span.start <= sentence.start and sentence.end <= span.end for span in kept)


def _beginning(item: RankedItem, room: int, count: Callable[[str], int]) -> tuple[RankedItem, ...]:
    """Return a candidate's longest beginning, up to a space, that fits; nothing if none does."""
    start = item.kept[0].start if item.kept else len(item.text) - len(item.text.lstrip())
    low, high = start, len(item.text)
    while low < high:
        middle = (low + high + 1) // 2
        if count(item.text[start:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    border = item.text.rfind(" ", start, low + 1)
    end = border if border > start else low
    return (replace(item, kept=(Span(start, end),)),) if end > start else ()
