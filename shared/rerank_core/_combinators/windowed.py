"""`Windowed`: long texts are read whole, in overlapping windows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from rerank_core._checks import check_choice, check_whole, optional
from rerank_core._combinators.base import Wrapper
from rerank_core._concurrency import score_in_thread
from rerank_core._errors import ConfigurationError
from rerank_core._local.files import embedded_tokenizer
from rerank_core._local.pairs import read_ends
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scoring, Span

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Aggregate", "Windowed"]

# Characters tokenised at a time, without a chance to stop; a character's encoding takes 50 bytes.
_CHUNK_CHARACTERS = 100_000

_SPECIAL_TOKENS = 4  # of a pair; models have three or four
_MAX_SPANS = 5  # windows of a text that are reported as its passages

# The embedded model's tokenizer takes a word of another script, or of more than 100 characters, as
# one unknown token. Models that know it make a token of two to four characters: here it is two.
_CHARACTERS_PER_TOKEN = 2
_JOINER, _SKIN_TONES = "\u200d", "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # of emoji
_MAX_MARKS = 14  # characters that are kept together with the one before them

Aggregate = Literal["max", "mean", "top3"]


class Windowed(Wrapper):
    """Splits long texts into overlapping windows, and aggregates the windows' scores.

    A text of at most `tokens` tokens is scored as it is. A word that the tokenizer does not know,
    as those of Thai are, counts as one token for every two characters. All texts are split before
    the first one is scored, so a `Deadline` around it should not get thousands. Passage
    aggregation: Dai and Callan, "Deeper Text Understanding for IR with Contextual Neural Language
    Modeling", SIGIR 2019 (``"max"`` is their MaxP). ``scoring.spans`` holds up to five windows of
    each text with their scores, best first and without overlap.

    Args:
        scorer: The scorer of the windows.
        tokens: Length of a window in tokens of the embedded model's tokenizer; reduced if a query
            needs the room, but not below half of the scorer's `max_length`. Default: 192.
        stride: Tokens from the beginning of a window to that of the next. Default: half of
            `tokens`.
        aggregate: A text's score: its windows' ``"max"``, their ``"mean"``, or ``"top3"``, the
            mean of the best three. Where the scorer left windows unscored, ``"max"`` and ``"top3"``
            are those of the others, and the text has no ``"mean"``. Default: ``"max"``.

    Raises:
        ConfigurationError: If an option is invalid, or `stride` is greater than `tokens`.

    Example:
        ```python
        from rerank_core import OnnxCrossEncoder, Windowed

        text = "Bees make honey. " * 100 + "Cats purr. " + "Ants dig tunnels. " * 100
        scoring = Windowed(OnnxCrossEncoder("nano")).score("What do cats do?", [text])
        best = scoring.spans[0][0]
        assert "Cats purr." in text[best.start : best.end]
        ```
    """

    _text_by_text = True

    def __init__(
        self,
        scorer: Scorer,
        tokens: int = 192,
        stride: int | None = None,
        aggregate: Aggregate = "max",
    ) -> None:
        super().__init__(scorer)
        self._tokens = check_whole(tokens, "tokens")
        self._stride = optional(check_whole, stride, "stride") or max(1, self._tokens // 2)
        self._aggregate = check_choice(aggregate, "aggregate", get_args(Aggregate))
        if self._stride > self._tokens:
            raise ConfigurationError(
                f"stride {self._stride} is more than tokens {self._tokens}: text would be left out"
            )

    @property
    def name(self) -> str:
        """The scorer's name, as in ``"windowed(nano)"``."""
        return f"windowed({self._scorer.name})"

    @property
    def fingerprint(self) -> str:
        """The scorer's fingerprint, with the options."""
        windows = f"{self._tokens}/{self._stride}/{self._aggregate}/{_CHARACTERS_PER_TOKEN}"
        return f"windowed:{windows}:{self._scorer.fingerprint}"

    def to_config(self) -> dict[str, Any]:
        """Return the scorer's configuration and the options, with ``"type": "windowed"``."""
        return {
            "type": "windowed",
            "scorer": dict(self._scorer.to_config()),
            "tokens": self._tokens,
            "stride": self._stride,
            "aggregate": self._aggregate,
        }

    def sentence_scorer(self, elapsed: float) -> Scorer | None:
        """Return the inner scorer's, which a sentence is not too long for."""
        return self._scorer.sentence_scorer(elapsed)

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        spans, windows = self._split(query, texts, progress)
        scaled = _count_texts(progress, len(texts))
        return self._merge(spans, self._scorer.score(query, windows, progress=scaled))

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        spans, windows = await score_in_thread(partial(self._split, query, texts), progress, self)
        scaled = _count_texts(progress, len(texts))
        return self._merge(spans, await self._scorer.ascore(query, windows, progress=scaled))

    def _split(
        self, query: str, texts: Sequence[str], progress: Progress
    ) -> tuple[list[list[Span]], list[str]]:
        """Return each text's windows, and the text of all windows in one list."""
        tokens = self._window_tokens(query)
        spans: list[list[Span]] = []
        for chunk in _chunks(texts):
            if spans:
                progress(0, len(texts))
            spans += self._windows_of(chunk, tokens)
        windows = [
            text[span.start : span.end]
            for text, of_text in zip(texts, spans, strict=True)
            for span in of_text
        ]
        return spans, windows

    def _window_tokens(self, query: str) -> int:
        """Return the length of a window that fits into a pair with the query.

        It is never less than half of a pair: beyond that the scorer cuts the query, not the text.
        """
        max_length = self._scorer.max_length
        if max_length is None:
            return self._tokens
        tokenizer = embedded_tokenizer()
        read = read_ends(tokenizer, query, max_length)
        length = len(_pieces(tokenizer, read.text, read.ids, read.offsets))
        return min(self._tokens, max(max_length - length - _SPECIAL_TOKENS, max_length // 2))

    def _windows_of(self, texts: Sequence[str], tokens: int) -> Iterator[list[Span]]:
        stride = min(self._stride, tokens)
        tokenizer = embedded_tokenizer()
        encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            offsets = _pieces(tokenizer, text, encoding.ids, encoding.offsets)
            last = len(offsets) - tokens
            if last <= 0:
                yield [Span(0, len(text))]
            else:
                starts = [*range(0, last, stride), last]
                yield [
                    Span(offsets[i][0], _cluster_end(text, offsets[i + tokens - 1][1]))
                    for i in starts
                ]

    def _merge(self, spans: Sequence[Sequence[Span]], scoring: Scoring) -> Scoring:
        """Return the scoring of the texts, given their windows and the windows' scoring."""
        scores: list[float | None] = []
        passages: list[tuple[Span, ...]] = []
        secondary: list[float | None] = []
        count = len(scoring.scores)
        windows = zip(
            scoring.scores,
            scoring.spans or ((),) * count,
            scoring.secondary or (None,) * count,
            strict=True,
        )
        for of_text in spans:
            found = list(islice(windows, len(of_text)))
            scored = [
                _Window(score, span._replace(score=score), inner)
                for span, (score, inner, _) in zip(of_text, found, strict=True)
                if score is not None
            ]
            scored.sort(key=lambda window: -window.score)
            scores.append(self._aggregated([window.score for window in scored], len(of_text)))
            passages.append(tuple(_best_passages(scored)))
            secondary.append(
                max((second for *_, second in found if second is not None), default=None)
            )
        # Secondary scores also tell that not everything was read, so that no cache keeps a score.
        unread = scoring.secondary or None in scoring.scores
        return replace(
            scoring,
            scores=tuple(scores),
            spans=tuple(passages),
            secondary=tuple(secondary) if unread else None,
        )

    def _aggregated(self, best: Sequence[float], windows: int) -> float | None:
        """Return the score of a text, given those of its scored windows, best first."""
        if not best or (self._aggregate == "mean" and len(best) < windows):
            return None
        best = best[: {"max": 1, "top3": 3, "mean": windows}[self._aggregate]]
        return sum(best) / len(best)

    def __repr__(self) -> str:
        return f"Windowed({self._scorer!r}, tokens={self._tokens}, stride={self._stride})"


class _Window(NamedTuple):
    """A scored window, and the passages that the scorer itself reported within it."""

    score: float
    span: Span
    passages: tuple[Span, ...]


def _best_passages(windows: Iterable[_Window]) -> Iterator[Span]:
    """Select a text's best windows without overlap; a window's own passages replace it.

    Args:
        windows: The text's windows, best first.
    """
    selected: list[Span] = []
    for _, span, passages in windows:
        if len(selected) == _MAX_SPANS:
            return
        if any(span.start < other.end and other.start < span.end for other in selected):
            continue
        selected.append(span)
        if not passages:
            yield span
        for start, end, score in passages:
            yield Span(span.start + start, span.start + end, score)


def _pieces(
    tokenizer: Tokenizer, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]
) -> Sequence[tuple[int, int]]:
    """Return the offsets of a text's tokens, but of a long unknown one those of short pieces."""
    unknown = tokenizer.token_to_id("[UNK]")
    if unknown not in ids:
        return offsets
    pieces: list[tuple[int, int]] = []
    for token, (start, end) in zip(ids, offsets, strict=True):
        if token == unknown:
            pieces += _cut_word(text, start, end)
        else:
            pieces.append((start, end))
    return pieces


def _cut_word(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a word into pieces of two characters, without parting a character from its marks."""
    while start < end:
        cut = min(_cluster_end(text, start + _CHARACTERS_PER_TOKEN), end)
        yield start, cut
        start = cut


def _cluster_end(text: str, end: int) -> int:
    """Move the end of a passage behind the marks on its last character."""
    most = min(end + _MAX_MARKS, len(text))
    while end < most and (_joins(text[end]) or text[end - 1] == _JOINER):
        end += 1
    return end


def _joins(character: str) -> bool:
    """Return whether a character belongs to the one before it."""
    is_mark = unicodedata.category(character)[0] == "M"
    return is_mark or character == _JOINER or character in _SKIN_TONES


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Split a list into chunks of limited size; a longer text is a chunk of its own."""
    chunk: list[str] = []
    room = _CHUNK_CHARACTERS
    for text in texts:
        if chunk and len(text) > room:
            yield chunk
            chunk, room = [], _CHUNK_CHARACTERS
        chunk.append(text)
        room -= len(text)
    yield chunk


def _count_texts(progress: Progress, texts: int) -> Progress:
    """Return a callback that reports progress in texts instead of windows."""
    return lambda done, total: progress(done * texts // total, texts)
