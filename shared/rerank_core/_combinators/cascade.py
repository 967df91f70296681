"""`Cascade`: a cheap scorer reads all, a strong one only the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rerank_core._checks import check_whole, describe
from rerank_core._errors import ConfigurationError, RerankError
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring, Span, unique
from rerank_core._usage import Usage

__all__ = ["Cascade"]


class Cascade(Scorer):
    """Scores in stages: each reads only the best of the one before it.

    Only the last stage gives scores: those of earlier stages are on other scales, so texts cut on
    the way have none. They keep the order of the stage that cut them, beneath those that went
    further. Multi-stage ranking: Nogueira et al., "Multi-Stage Document Ranking with BERT", 2019,
    https://arxiv.org/abs/1910.14424.

    Args:
        stages: Pairs of a cheap scorer and how many of its best texts go on, cheapest first; last
            the strong scorer alone, such as ``[(cheap, 30), strong]``.

    Raises:
        ConfigurationError: If there is no such list.
    """

    def __init__(self, stages: Sequence[tuple[Scorer, int] | Scorer]) -> None:
        *cheap, strong = stages if isinstance(stages, Sequence) and len(stages) > 1 else [None]
        if not isinstance(strong, Scorer):
            raise ConfigurationError(
                f"stages must be one or more (scorer, keep) pairs and then a scorer, "
                f"not {describe(stages)}"
            )
        self._cheap: list[tuple[Scorer, int]] = []
        for position, stage in enumerate(cheap):
            if not isinstance(stage, tuple) or len(stage) != 2 or not isinstance(stage[0], Scorer):
                raise ConfigurationError(
                    f"stages[{position}] must be a (scorer, keep) pair, not {describe(stage)}"
                )
            self._cheap.append((stage[0], check_whole(stage[1], f"stages[{position}]: keep")))
        self._strong = strong

    @property
    def name(self) -> str:
        """The stages' names, such as ``"cascade(nano:30, rerank-v3.5)"``."""
        stages = [f"{scorer.name}:{keep}" for scorer, keep in self._cheap]
        return f"cascade({', '.join([*stages, self._strong.name])})"

    @property
    def scale(self) -> Scale:
        """The last stage's scale."""
        return self._strong.scale

    @property
    def fingerprint(self) -> str:
        """The last stage's: a score does not depend on who let the text pass."""
        return self._strong.fingerprint

    @property
    def max_length(self) -> int | None:
        """The shortest of the stages' longest pairs."""
        known = [length for scorer in self._inner() if (length := scorer.max_length)]
        return min(known, default=None)

    def _inner(self) -> Sequence[Scorer]:
        return [*(scorer for scorer, _ in self._cheap), self._strong]

    def to_config(self) -> dict[str, Any]:
        """The stages' configurations, with ``"type": "cascade"``."""
        stages: list[Any] = [[dict(scorer.to_config()), keep] for scorer, keep in self._cheap]
        return {"type": "cascade", "stages": [*stages, dict(self._strong.to_config())]}

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Cascade:
        """Make one from what `to_config` returned, but its ``"type"``."""
        *cheap, strong = options["stages"]
        return cls([*((load(scorer), keep) for scorer, keep in cheap), load(strong)])

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        climb = _Climb(texts)
        try:
            for scorer, keep in self._cheap:
                scoring = scorer.score(query, climb.texts, progress=climb.wait(progress))
                climb.cut(scoring, keep)
            scoring = self._strong.score(query, climb.texts, progress=climb.watch(progress))
        except RerankError as error:
            error.add_usage(climb.usage)
            raise
        return climb.finish(scoring)

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        climb = _Climb(texts)
        try:
            for scorer, keep in self._cheap:
                scoring = await scorer.ascore(query, climb.texts, progress=climb.wait(progress))
                climb.cut(scoring, keep)
            scoring = await self._strong.ascore(query, climb.texts, progress=climb.watch(progress))
        except RerankError as error:
            error.add_usage(climb.usage)
            raise
        return climb.finish(scoring)

    def __repr__(self) -> str:
        return f"Cascade({[*self._cheap, self._strong]!r})"


class _Climb:
    """Who is still in the running, who fell where, and what it cost so far."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._alive = list(range(len(texts)))
        self._fallen: list[int] = []  # best first
        self.usage = Usage()
        self._degraded: list[str] = []
        self._causes: list[str] = []

    @property
    def texts(self) -> list[str]:
        return [self._texts[position] for position in self._alive]

    def cut(self, scoring: Scoring, keep: int) -> None:
        """Let the best go on; what a stage did not score comes behind what it scored."""
        ranked = sorted(
            zip(scoring.scores, self._alive, strict=True),
            key=lambda pair: (pair[0] is None, -(pair[0] or 0.0)),
        )
        order = [position for _, position in ranked]
        self._alive, self._fallen = order[:keep], [*order[keep:], *self._fallen]
        self._note(scoring)

    def wait(self, progress: Progress) -> Progress:
        """Say that no text is done yet, so that what listens can stop the scoring."""
        total, fallen = len(self._texts), len(self._fallen)
        return lambda _done, _total: progress(fallen, total)

    def watch(self, progress: Progress) -> Progress:
        """Count the texts that fell as done."""
        total, fallen = len(self._texts), len(self._fallen)
        return lambda done, _: progress(fallen + done, total)

    def finish(self, scoring: Scoring) -> Scoring:
        """Put the last stage's scores in their places, and the others' order beside them."""
        self._note(scoring)
        count = len(self._texts)
        scores: list[float | None] = [None] * count
        spans: list[tuple[Span, ...]] = [()] * count
        for number, position in enumerate(self._alive):
            scores[position] = scoring.scores[number]
            spans[position] = scoring.spans[number] if scoring.spans else ()
        secondary = [0.0] * count
        for place, position in enumerate([*self._alive, *self._fallen]):
            secondary[position] = -float(place)
        return Scoring(
            tuple(scores),
            self.usage + Usage(saved=len(self._fallen)),
            "; ".join(self._degraded) or None,
            tuple(spans) if scoring.spans else None,
            tuple(secondary),
            scoring.scale,
            unique(self._causes),
        )

    def _note(self, scoring: Scoring) -> None:
        self.usage += scoring.usage
        if scoring.degraded:
            self._degraded.append(scoring.degraded)
            self._causes += scoring.causes
