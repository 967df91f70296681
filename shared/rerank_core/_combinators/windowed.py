"""`Windowed`: long texts are read whole, window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

from rerank_core._checks import check_choice, check_whole, optional
from rerank_core._combinators.base import Wrapper
from rerank_core._concurrency import in_thread
from rerank_core._errors import ConfigurationError
from rerank_core._local.files import embedded_tokenizer
from rerank_core._local.pairs import read_ends
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scoring, Span

__all__ = ["Aggregate", "Windowed"]

# Tokenised at a time, which nobody can stop; what comes of a character takes some 50 bytes.
_CHUNK_CHARACTERS = 100_000

_SPECIAL_TOKENS = 4  # of a pair; models have three or four
_MOST_SPANS = 5  # windows of a text that are reported as its passages

Aggregate = Literal["max", "mean", "top3"]


class Windowed(Wrapper):
    """Cuts long texts into overlapping windows, scores those, and aggregates their scores.

    A text of at most `tokens` tokens is scored as it is. All texts are cut before the first is
    scored, so within a `Deadline` there should not be thousands. Passage aggregation: Dai and
    Callan, "Deeper Text Understanding for IR with Contextual Neural Language Modeling", SIGIR
    2019 (``"max"`` is their MaxP). ``scoring.spans`` holds up to five of each text's windows with
    their scores, best first, none of which overlap.

    Args:
        scorer: What scores the windows.
        tokens: Tokens of a window, by the embedded model's tokenizer; fewer where a query needs
            the room, but no less than half of the scorer's `max_length`. Default: 192.
        stride: Tokens from one window's beginning to the next one's. Default: half of `tokens`.
        aggregate: A text's score: its windows' ``"max"``, ``"mean"``, or the mean of the best
            three, ``"top3"``. Default: ``"max"``.

    Raises:
        ConfigurationError: If an option is wrong, or `stride` is more than `tokens`.
    """

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
        """The scorer's name, such as ``"windowed(nano)"``."""
        return f"windowed({self._scorer.name})"

    @property
    def fingerprint(self) -> str:
        """The scorer's fingerprint and the windows."""
        windows = f"{self._tokens}/{self._stride}/{self._aggregate}"
        return f"windowed:{windows}:{self._scorer.fingerprint}"

    def to_config(self) -> dict[str, Any]:
        """The scorer's configuration and the options, with ``"type": "windowed"``."""
        return {
            "type": "windowed",
            "scorer": dict(self._scorer.to_config()),
            "tokens": self._tokens,
            "stride": self._stride,
            "aggregate": self._aggregate,
        }

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Windowed:
        """Make one from what `to_config` returned, but its ``"type"``."""
        return cls(**{**options, "scorer": load(options["scorer"])})

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        windows, cut = self._cut(query, texts, progress)
        watched = _watch(progress, len(texts))
        return self._gather(windows, self._scorer.score(query, cut, progress=watched))

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        windows, cut = await in_thread(partial(self._cut, query, texts), progress)
        watched = _watch(progress, len(texts))
        return self._gather(windows, await self._scorer.ascore(query, cut, progress=watched))

    def _cut(
        self, query: str, texts: Sequence[str], progress: Progress
    ) -> tuple[list[list[Span]], list[str]]:
        tokens = self._window(query)
        windows: list[list[Span]] = []
        for chunk in _chunks(texts):
            if windows:
                progress(0, len(texts))
            windows += self._windows_of(chunk, tokens)
        cut = [
            text[span.start : span.end]
            for text, spans in zip(texts, windows, strict=True)
            for span in spans
        ]
        return windows, cut

    def _window(self, query: str) -> int:
        """Return the tokens of a window that fits into a pair with the query.

        Never less than half of a pair: beyond that the scorer cuts the query, not the text.
        """
        longest = self._scorer.max_length
        if longest is None:
            return self._tokens
        _, ids, _ = read_ends(embedded_tokenizer(), query, longest)
        return min(self._tokens, max(longest - len(ids) - _SPECIAL_TOKENS, longest // 2))

    def _windows_of(self, texts: Sequence[str], tokens: int) -> Iterator[list[Span]]:
        stride = min(self._stride, tokens)
        read = embedded_tokenizer().encode_batch(texts, add_special_tokens=False)
        for text, offsets in zip(texts, (encoding.offsets for encoding in read), strict=True):
            last = len(offsets) - tokens
            starts = [*range(0, last, stride), last]
            yield (
                [Span(0, len(text))]
                if last <= 0
                else [Span(offsets[first][0], offsets[first + tokens - 1][1]) for first in starts]
            )

    def _gather(self, windows: Sequence[Sequence[Span]], scoring: Scoring) -> Scoring:
        scores: list[float | None] = []
        spans: list[tuple[Span, ...]] = []
        number = 0
        for of_text in windows:
            scored: list[tuple[float, Span, tuple[Span, ...]]] = []
            for window in of_text:
                score = scoring.scores[number]
                passages = scoring.spans[number] if scoring.spans else ()
                number += 1
                if score is not None:
                    scored.append((score, window._replace(score=score), passages))
            scored.sort(key=lambda entry: -entry[0])
            take = {"max": 1, "top3": 3, "mean": len(scored)}[self._aggregate]
            best_scores = [score for score, _, _ in scored[:take]]
            scores.append(sum(best_scores) / len(best_scores) if best_scores else None)
            spans.append(tuple(_passages(scored)))
        return replace(scoring, scores=tuple(scores), spans=tuple(spans), secondary=None)

    def __repr__(self) -> str:
        return f"Windowed({self._scorer!r}, tokens={self._tokens}, stride={self._stride})"


def _passages(scored: Iterable[tuple[float, Span, tuple[Span, ...]]]) -> Iterator[Span]:
    """Pick a text's best windows, best first, but none that overlaps one picked before.

    Args:
        scored: Score, window, and the passages that the scorer itself found within the window:
            these stand for it where there are any.
    """
    picked: list[Span] = []
    for _, window, passages in scored:
        if len(picked) == _MOST_SPANS:
            return
        if any(window.start < other.end and other.start < window.end for other in picked):
            continue
        picked.append(window)
        yield from (
            (
                Span(window.start + start, window.start + end, score)
                for start, end, score in passages
            )
            if passages
            else [window]
        )


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Cut a list into chunks of some characters; a text of more stands alone."""
    chunk: list[str] = []
    room = _CHUNK_CHARACTERS
    for text in texts:
        if chunk and len(text) > room:
            yield chunk
            chunk, room = [], _CHUNK_CHARACTERS
        chunk.append(text)
        room -= len(text)
    yield chunk


def _watch(progress: Progress, texts: int) -> Progress:
    """Tell progress in texts, not in windows."""
    return lambda done, total: progress(done * texts // total, texts)
