"""`Cascade`: a cheap scorer reads all texts, a strong one only the best of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rerank_core._checks import check_whole, describe
from rerank_core._errors import ConfigurationError, RerankError
from rerank_core._planning import Tally
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring, Span, StopScoring, unique
from rerank_core._usage import Usage

__all__ = ["Cascade"]


class Cascade(Scorer):
    """Scores in stages: each stage reads only the best texts of the stage before it.

    Only the last stage assigns scores, because the scores of earlier stages are on other scales.
    Texts that an earlier stage eliminates stay unscored: they rank below those that went further,
    in the order of the stage that eliminated them, at any depth of cascades within cascades. A
    `min_score` of `rerank` drops them, too, unless the scoring is degraded. If time is up before
    the last stage has scored, all texts keep the order known so far. Multi-stage ranking: Nogueira
    et al., "Multi-Stage Document Ranking with BERT", 2019, https://arxiv.org/abs/1910.14424.

    Args:
        stages: Pairs of a scorer and the number of its best texts to keep, cheapest first; then
            the strong scorer alone, as in ``[(cheap, 30), strong]``.

    Raises:
        ConfigurationError: If `stages` is not such a list.

    Example:
        ```python
        from rerank_core import Cascade, OnnxCrossEncoder

        cheap, strong = OnnxCrossEncoder("nano", max_length=32), OnnxCrossEncoder("nano")
        cascade = Cascade([(cheap, 1), strong])
        scoring = cascade.score("How do plants eat?", ["Cats purr.", "Plants use light."])
        assert scoring.scores[0] is None  # the cheap scorer eliminated it
        assert scoring.usage.saved == 1
        ```
    """

    def __init__(self, stages: Sequence[tuple[Scorer, int] | Scorer]) -> None:
        *cheap, strong = stages if isinstance(stages, Sequence) and len(stages) > 1 else [None]
        if not isinstance(strong, Scorer):
            raise ConfigurationError(
                f"stages must be one or more (scorer, keep) pairs and then a scorer, "
                f"not {describe(stages)}"
            )
        self._cheap: list[tuple[Scorer, int]] = []
        for index, stage in enumerate(cheap):
            if not isinstance(stage, tuple) or len(stage) != 2 or not isinstance(stage[0], Scorer):
                raise ConfigurationError(
                    f"stages[{index}] must be a (scorer, keep) pair, not {describe(stage)}"
                )
            self._cheap.append((stage[0], check_whole(stage[1], f"stages[{index}]: keep")))
        self._strong = strong

    @property
    def name(self) -> str:
        """The stages' names, such as ``"cascade(nano:30, rerank-v5.0-fast)"``."""
        stages = [f"{scorer.name}:{keep}" for scorer, keep in self._cheap]
        return f"cascade({', '.join([*stages, self._strong.name])})"

    @property
    def scale(self) -> Scale:
        """The last stage's scale."""
        return self._strong.scale

    @property
    def fingerprint(self) -> str:
        """The fingerprints of all stages: the earlier ones decide on what gets a score at all."""
        cheap = [(scorer.fingerprint, keep) for scorer, keep in self._cheap]
        return f"cascade:{cheap}:{self._strong.fingerprint}"

    @property
    def max_length(self) -> int | None:
        """The smallest maximum length of the stages; None if none is known."""
        known = [length for scorer in self._inner() if (length := scorer.max_length)]
        return min(known, default=None)

    def to_config(self) -> dict[str, Any]:
        """Return the stages' configurations, with ``"type": "cascade"``."""
        stages: list[Any] = [[dict(scorer.to_config()), keep] for scorer, keep in self._cheap]
        return {"type": "cascade", "stages": [*stages, dict(self._strong.to_config())]}

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Cascade:
        """Create a cascade from the output of `to_config`, without its ``"type"``."""

        def make(stages: Sequence[Any]) -> Cascade:
            *cheap, strong = stages
            return cls([*((load(scorer), keep) for scorer, keep in cheap), load(strong)])

        return make(**options)

    def _inner(self) -> Sequence[Scorer]:
        return [*(scorer for scorer, _ in self._cheap), self._strong]

    def sentence_scorer(self, elapsed: float) -> Scorer | None:
        """Return that of the last stage."""
        return self._strong.sentence_scorer(elapsed)

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        call = _Call(texts, progress)
        with call.running():
            for scorer, keep in self._cheap:
                call.eliminate(scorer.score(query, call.texts, progress=call.cheap_progress), keep)
            call.finish(self._strong.score(query, call.texts, progress=call.strong_progress))
        return call.result()

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        call = _Call(texts, progress)
        with call.running():
            for scorer, keep in self._cheap:
                scoring = await scorer.ascore(query, call.texts, progress=call.cheap_progress)
                call.eliminate(scoring, keep)
            call.finish(await self._strong.ascore(query, call.texts, progress=call.strong_progress))
        return call.result()

    def __repr__(self) -> str:
        return f"Cascade({[*self._cheap, self._strong]!r})"


class _Call:
    """State of one call: the remaining and the eliminated texts, and the usage so far."""

    def __init__(self, texts: Sequence[str], progress: Progress) -> None:
        self._texts = texts
        self._progress = progress
        self._remaining = list(range(len(texts)))
        self._eliminated: list[int] = []  # best first
        self._final: Scoring | None = None  # the last stage's
        self._degraded: list[str] = []
        self._causes: list[str] = []
        self._usage = Usage()

    @contextmanager
    def running(self) -> Iterator[None]:
        """End quietly if `StopScoring` is raised, and add what was spent to an error."""
        try:
            yield
        except StopScoring:
            pass
        except RerankError as error:
            error.add_usage(self._usage)
            raise

    @property
    def texts(self) -> list[str]:
        """The remaining texts."""
        return [self._texts[position] for position in self._remaining]

    def cheap_progress(self, _done: int, _total: int) -> None:
        """Report the eliminated texts as done, so that the caller can stop a cheap stage."""
        self._progress(len(self._eliminated), len(self._texts))

    def strong_progress(self, done: int, _total: int) -> None:
        """Report the last stage's progress, counting the eliminated texts as done."""
        self._progress(len(self._eliminated) + done, len(self._texts))

    def eliminate(self, scoring: Scoring, keep: int) -> None:
        """Keep a stage's best texts.

        Raises:
            StopScoring: If the caller wants no further stage.
        """
        order = _ranked(self._remaining, scoring)
        self._remaining, self._eliminated = order[:keep], [*order[keep:], *self._eliminated]
        self._record(scoring)
        self._progress(len(self._eliminated), len(self._texts))

    def finish(self, scoring: Scoring) -> None:
        """Take the last stage's scoring of the remaining texts."""
        self._final = scoring
        self._record(scoring)

    def result(self) -> Scoring:
        """Return the last stage's scores for all texts; the others are ordered by `secondary`."""
        final = self._final
        if final is None:  # stopped before the last stage
            final = Tally(len(self._remaining)).scoring()
            self._record(final)
        count = len(self._texts)
        scores: list[float | None] = [None] * count
        spans: list[tuple[Span, ...]] = [()] * count
        secondary = [0.0] * count
        for index, position in enumerate(self._remaining):
            scores[position] = final.scores[index]
            spans[position] = final.spans[index] if final.spans else ()
        for rank, position in enumerate([*_ranked(self._remaining, final), *self._eliminated]):
            secondary[position] = -float(rank)
        return Scoring(
            tuple(scores),
            self._usage + Usage(saved=len(self._eliminated)),
            "; ".join(self._degraded) or None,
            tuple(spans) if final.spans else None,
            # Of a scoring without secondary scores, everything was read.
            tuple(secondary) if None in scores or final.secondary else None,
            final.scale,
            unique(self._causes),
            final.nothing_probability,
        )

    def _record(self, scoring: Scoring) -> None:
        self._usage += scoring.usage
        if scoring.degraded:
            self._degraded.append(scoring.degraded)
            self._causes += scoring.causes


def _ranked(positions: Sequence[int], scoring: Scoring) -> list[int]:
    """Order texts by a stage's scores, then those without one by its secondary scores.

    Args:
        positions: The texts' positions in the order of the stage before it, which breaks ties.
        scoring: The stage's scoring of these texts.
    """
    unread = scoring.secondary or (None,) * len(positions)

    def place(index: int) -> tuple[bool, bool, float]:
        score, second = scoring.scores[index], unread[index]
        value = second if score is None else score
        return score is None, value is None, -(value or 0.0)

    return [positions[index] for index in sorted(range(len(positions)), key=place)]
