"""`Trimmer`, and the context that it gets."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import IntEnum
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

from rerank_core._checks import describe
from rerank_core._concurrency import in_thread
from rerank_core._errors import ConfigurationError, RerankError
from rerank_core._scorer import Scorer
from rerank_core._trimming.sentences import Sentence, split
from rerank_core._trimming.tokens import CounterLike, make_counter
from rerank_core._types import RankedItem, Ranking, Scoring, Span, unique

__all__ = [
    "Passage",
    "ScoredSentences",
    "ScoringTrimmer",
    "Step",
    "TrimContext",
    "Trimmer",
    "check_mark",
    "degraded",
    "earlier_first",
    "failure",
    "shorten",
]

_LEAD_WORDS = 4
# By how much of their spread the first sentence of a text is preferred to the last.
_EARLIER = 0.25


class Step(IntEnum):
    """The order in which trimmers work, in whatever order they are given."""

    DROP = 0
    CUT = 1  # to `top_n`
    SHORTEN = 2
    FILL = 3
    ARRANGE = 4


class Passage(NamedTuple):
    """The parts of a candidate.

    Attributes:
        text: A document's own text, which is what a trimmer may cut.
        header: The text that the scorer reads before it, such as a title.
        metadata: The document's metadata.
        document: Name of what the text is a part of.
        start: Where the own text begins in the text that was scored; None if it is not in there.
    """

    text: str
    header: str = ""
    metadata: Mapping[str, Any] | None = None
    document: str | None = None
    start: int | None = 0


@dataclass(frozen=True, slots=True)
class TrimContext:
    """The query, the scorer and the documents of a ranking.

    Attributes:
        query: The user's question.
        scorer: The scorer of the candidates.
        passages: The parts of each candidate, by `RankedItem.index`: its ``text``, the ``header``
            that is read before it, ``metadata``, and the ``document`` that it belongs to.
        started: When the call began, by `time.monotonic`.

    Example:
        ```python
        from dataclasses import dataclass, replace

        from rerank_core import Trimmer, rerank


        @dataclass(frozen=True)
        class NotTheQuery(Trimmer):
            \"\"\"Drops texts that only repeat the question.\"\"\"

            def trim(self, ranking, context):
                items = [item for item in ranking if item.text != context.query]
                return replace(ranking, items=tuple(items))


        texts = ["How do plants eat?", "Plants use light."]
        ranking = rerank("How do plants eat?", texts, trim=[NotTheQuery()])
        assert [item.index for item in ranking] == [1]
        ```
    """

    query: str
    scorer: Scorer
    passages: Sequence[Passage]
    started: float = field(default_factory=time.monotonic)
    _read: dict[int, ScoredSentences] = field(default_factory=dict, repr=False, compare=False)
    _counters: dict[str | int, Callable[[str], int]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def counter(self, counter: CounterLike) -> Callable[[str], int]:
        """Return a function that counts the tokens of a text, each text once in this call."""
        key = counter if isinstance(counter, str) else id(counter)
        if key not in self._counters:
            self._counters[key] = cache(make_counter(counter))
        return self._counters[key]

    def known(self, index: int) -> ScoredSentences | None:
        """Return the sentences of a candidate that were scored in this call, if they were."""
        return self._read.get(index)

    def keep(self, sentences: ScoredSentences, index: int) -> None:
        """Keep a candidate's scored sentences for another trimmer of this call."""
        self._read[index] = sentences


class ScoredSentences(NamedTuple):
    """The sentences of a candidate, with a score each where they have one."""

    sentences: Sequence[Sentence]
    scores: Sequence[float | None]


class Trimmer(ABC):
    """Base class for what drops, shortens or arranges the candidates of a ranking.

    A trimmer changes no score and rewrites no text. Subclasses are frozen dataclasses; one of your
    own implements `trim`, and works before `top_n` unless it sets `step`. If it raises, the
    ranking stays as it was, with the reason in ``degraded``, unless `strict` is true.

    Example:
        ```python
        from dataclasses import dataclass, replace

        from rerank_core import Trimmer, rerank


        @dataclass(frozen=True)
        class Mentions(Trimmer):
            \"\"\"Keeps the texts that hold a word.\"\"\"

            word: str

            def trim(self, ranking, context):
                items = [item for item in ranking if self.word in item.text]
                return replace(ranking, items=tuple(items))


        texts = ["Cats purr.", "Plants use light."]
        ranking = rerank("How do plants eat?", texts, trim=[Mentions("Plants")])
        assert [item.index for item in ranking] == [1]
        ```
    """

    kind: ClassVar[str | None] = None  # its name in configurations
    step: ClassVar[Step] = Step.DROP
    strict: bool = False

    @abstractmethod
    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:
        """Return the ranking without what is not needed.

        Args:
            ranking: The candidates in their new order.
            context: The query, the scorer and the documents' metadata.
        """

    async def atrim(self, ranking: Ranking, context: TrimContext) -> Ranking:
        """Like `trim`, without blocking the event loop; by default in a worker thread."""
        return await in_thread(partial(self.trim, ranking, context), self)

    def to_config(self) -> dict[str, Any]:
        """Return the arguments in plain JSON values, with the kind as ``"type"``.

        Raises:
            ConfigurationError: If it is of your own making, or an argument cannot be written.
        """
        if self.kind is None or not is_dataclass(self):
            raise ConfigurationError(
                f"{type(self).__name__} cannot be written as a configuration; leave it out, and "
                "set it again after loading"
            )
        return {
            "type": self.kind,
            **{entry.name: getattr(self, entry.name) for entry in fields(self)},
        }


class ScoringTrimmer(Trimmer):
    """Base class for trimmers that ask the scorer about sentences.

    A subclass tells what it needs in `_to_read`, and what it does with it in `_cut`.
    """

    @abstractmethod
    def _to_read(self, ranking: Ranking, context: TrimContext) -> Sequence[RankedItem]:
        """Return the candidates whose sentences are needed."""

    @abstractmethod
    def _cut(self, ranking: Ranking, context: TrimContext) -> Ranking:
        """Return the trimmed ranking; the context knows the sentences, unless scoring failed."""

    def trim(self, ranking: Ranking, context: TrimContext) -> Ranking:
        """Score the sentences and trim."""
        reading = _Reading(self._to_read(ranking, context), context)
        if reading.scorer and reading.texts:
            try:
                scoring = reading.scorer.score(context.query, reading.texts)
                ranking = reading.finish(ranking, scoring)
            except RerankError as error:
                ranking = self._unread(ranking, error)
        return self._cut(ranking, context)

    async def atrim(self, ranking: Ranking, context: TrimContext) -> Ranking:
        """Like `trim`, without blocking the event loop."""
        reading = await in_thread(lambda: _Reading(self._to_read(ranking, context), context), self)
        if reading.scorer and reading.texts:
            try:
                scoring = await reading.scorer.ascore(context.query, reading.texts)
                ranking = reading.finish(ranking, scoring)
            except RerankError as error:
                ranking = self._unread(ranking, error)
        return await in_thread(lambda: self._cut(ranking, context), self)

    def _unread(self, ranking: Ranking, error: RerankError) -> Ranking:
        if self.strict:
            raise error
        return failure(ranking, self, error)


class _Reading:
    """The sentences of some candidates as the scorer reads them."""

    def __init__(self, items: Iterable[RankedItem], context: TrimContext) -> None:
        self.scorer = context.scorer.sentence_scorer(time.monotonic() - context.started)
        self.texts: list[str] = []
        self._context = context
        self._split: dict[int, list[Sentence]] = {}
        for item in items:
            if context.known(item.index) is not None:
                continue
            passage = context.passages[item.index]
            sentences = split(passage.text)
            scores: list[float | None] = [None] * len(sentences)
            if self.scorer is None and passage.start is not None:
                scores = _by_spans(sentences, item.spans, passage.start)
            elif sum(not sentence.is_heading for sentence in sentences) > 1:
                before = passage.header.strip() or _lead(passage.text, sentences[0])
                own = (s for s in sentences if not s.is_heading)
                self.texts += (_as_read(passage.text, before, s) for s in own)
                self._split[item.index] = sentences
                continue
            context.keep(ScoredSentences(sentences, scores), item.index)

    def finish(self, ranking: Ranking, scoring: Scoring) -> Ranking:
        """Tell the context the scores, and add what they cost to the ranking."""
        scores = iter(scoring.scores)
        for index, sentences in self._split.items():
            own = [None if s.is_heading else next(scores) for s in sentences]
            self._context.keep(ScoredSentences(sentences, own), index)
        ranking = replace(ranking, usage=ranking.usage + scoring.usage)
        if scoring.degraded is None:
            return ranking
        return degraded(ranking, f"reading sentences: {scoring.degraded}", *scoring.causes)


def degraded(ranking: Ranking, reason: str, *causes: str) -> Ranking:
    """Return a ranking with another reason why it is less than was asked for."""
    return replace(
        ranking,
        degraded="; ".join(filter(None, (ranking.degraded, reason))),
        causes=unique((*ranking.causes, *causes)),
    )


def failure(ranking: Ranking, trimmer: Trimmer, error: Exception) -> Ranking:
    """Return a ranking as it was, with the reason why a trimmer failed."""
    kind = type(error).__name__
    # The words of a foreign error may hold a text or a key.
    reason = str(error) if isinstance(error, RerankError) else kind
    return degraded(ranking, f"{type(trimmer).__name__} failed: {reason}", kind)


def earlier_first(scores: Sequence[float]) -> list[float]:
    """Return the scores of a text's sentences with a small preference for earlier ones.

    Most texts tell first what matters most.
    """
    step = _EARLIER * (max(scores) - min(scores)) / max(1, len(scores) - 1) if scores else 0.0
    return [score - step * position for position, score in enumerate(scores)]


def check_mark(value: object) -> str:
    """Return the mark between passages.

    Raises:
        ConfigurationError: If it is no string.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"mark must be a string such as ' … ', not {describe(value)}")
    return value


def _by_spans(
    sentences: Sequence[Sentence], spans: Sequence[Span], start: int
) -> list[float | None]:
    """Return 1 for sentences that hold a part of a passage that the scorer found, and 0 else."""
    if not spans:
        return [None] * len(sentences)
    return [
        float(any(s.start < span.end - start and span.start - start < s.end for span in spans))
        for s in sentences
    ]


def _lead(text: str, first: Sentence) -> str:
    """Return the first words of a text, which often name what it is about.

    Of a short sentence they would be the most part, and repeat what it says.
    """
    words = text[first.start : first.end].split()
    if first.is_heading or len(words) < 2 * _LEAD_WORDS:
        return ""
    return " ".join(words[:_LEAD_WORDS])


def _as_read(text: str, before: str, sentence: Sentence) -> str:
    """Return a sentence with what it is about before it: a header, headings, the first words."""
    above = "" if sentence.heading is None else text[slice(*sentence.heading)].strip("# \n=-")
    return "\n".join(filter(None, (before, above, text[sentence.start : sentence.end])))


def shorten(item: RankedItem, sentences: Iterable[Sentence], mark: str) -> RankedItem:
    """Return a candidate with some of its sentences, and their headings, as what is kept of it."""
    borders = set()
    for sentence in sentences:
        borders.add((sentence.start, sentence.end))
        if sentence.heading is not None:
            borders.add(sentence.heading)
    kept: list[Span] = []
    for start, end in sorted(borders):
        if kept and not item.text[kept[-1].end : start].strip():
            kept[-1] = Span(kept[-1].start, end)
        else:
            kept.append(Span(start, end))
    if len(kept) == 1 and not (item.text[: kept[0].start] + item.text[kept[0].end :]).strip():
        return item
    return replace(item, kept=tuple(kept), mark=mark)
