"""`Calibrated`: scores become probabilities, as measured on labelled data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rerank_core._checks import describe
from rerank_core._combinators.base import Wrapper
from rerank_core._combinators.calibration import Calibration
from rerank_core._concurrency import in_thread
from rerank_core._errors import ConfigurationError
from rerank_core._planning import Job
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring

__all__ = ["Calibrated"]


class Calibrated(Wrapper):
    """Turns scores into the probability that a text is relevant.

    ``rerank calibrate`` measures the calibration on labelled data. A higher score always gets a
    higher probability, so no list changes its order. ``scoring.nothing_probability`` is the
    probability that none of the texts is relevant.

    The calibration belongs to one scorer with its model, precision, maximum length and
    instruction: any other is refused. Scores that a stand-in in a `Fallback` gave stay as they are,
    with their own scale in ``scoring.scale``. A probability may depend on the whole list, so
    `Cached` and `Windowed` belong inside, as in ``Calibrated(Cached(scorer), calibration)``.

    Args:
        scorer: The inner scorer.
        calibration: A `Calibration`, the path of its file, or what `Calibration.to_json` returned.

    Raises:
        ConfigurationError: If an argument is invalid; when it scores, if the calibration belongs
            to another scorer.

    Example:
        ```python
        from rerank_core import Calibrated, Calibration, OnnxCrossEncoder, rerank

        nano = OnnxCrossEncoder("nano")
        weights = {"score": 0.3, "intercept": -4.0}
        calibration = Calibration(nano.name, nano.fingerprint, weights)
        ranking = rerank(
            "How do plants eat?",
            ["Cats purr.", "Plants use light."],
            Calibrated(nano, calibration),
            min_score=0.5,
        )
        print([(item.text, round(item.score, 2)) for item in ranking], ranking.scale)
        ```

        ```text
        [('Plants use light.', 0.82)] probability
        ```
    """

    def __init__(
        self,
        scorer: Scorer,
        calibration: Calibration | Mapping[str, Any] | str | os.PathLike[str],
    ) -> None:
        super().__init__(scorer)
        if isinstance(calibration, str | os.PathLike):
            calibration = Calibration.read(calibration)
        elif isinstance(calibration, Mapping):
            calibration = Calibration.from_json(calibration)
        if not isinstance(calibration, Calibration):
            raise ConfigurationError(
                f"calibration must be a Calibration or the path of one, not {describe(calibration)}"
            )
        self._calibration = calibration
        self._checked = False

    @property
    def scorer(self) -> Scorer:
        """The inner scorer, whose scores are calibrated."""
        return self._scorer

    @property
    def calibration(self) -> Calibration:
        """The calibration, with the figures that were measured."""
        return self._calibration

    @property
    def name(self) -> str:
        """The scorer's name, as in ``"calibrated(nano)"``."""
        return f"calibrated({self._scorer.name})"

    @property
    def scale(self) -> Scale:
        """`PROBABILITY`; the scoring of a stand-in has its own."""
        return Scale.PROBABILITY

    @property
    def fingerprint(self) -> str:
        """The scorer's fingerprint, with a hash of the calibration."""
        return f"calibrated:{self._calibration.digest}:{self._scorer.fingerprint}"

    @property
    def listwise(self) -> bool:
        """True if the calibration reads the whole list."""
        return self._calibration.listwise

    def load(self) -> None:
        """Load the scorer, and check that the calibration belongs to it."""
        super().load()
        self._check()

    def to_config(self) -> dict[str, Any]:
        """Return the scorer's configuration and the calibration, with ``"type": "calibrated"``."""
        return {
            "type": "calibrated",
            "scorer": dict(self._scorer.to_config()),
            "calibration": replace(self._calibration, scorer=None).to_json(),
        }

    @classmethod
    def from_name(cls, name: str, load: Callable[[Any], Scorer]) -> Calibrated:
        """Create an instance from the path of a calibration, with the scorer that it names.

        Raises:
            ConfigurationError: If it cannot be read, or holds no configuration of the scorer.
        """
        calibration = Calibration.read(name)
        if calibration.scorer is None:
            raise ConfigurationError(
                f"{name}: holds no configuration of its scorer, {calibration.name!r}; make the "
                f"scorer in code, and use Calibrated(scorer, {name!r})"
            )
        return cls(load(calibration.scorer), calibration)

    def sentence_scorer(self, elapsed: float) -> Scorer | None:
        """Return the inner scorer's, calibrated by the score alone: a sentence has no list."""
        inner = self._scorer.sentence_scorer(elapsed)
        return inner and Calibrated(inner, self._calibration.for_sentences(inner.fingerprint))

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        self._check()
        return self._apply(texts, self._scorer.score(query, texts, progress=progress))

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        if not self._checked:  # a fingerprint may read the model's files
            await in_thread(self._check, self)
        return self._apply(texts, await self._scorer.ascore(query, texts, progress=progress))

    def _score_jobs(self, jobs: Sequence[Job], progress: Progress) -> list[Scoring]:
        self._check()
        queries, texts = zip(*jobs, strict=True)
        scorings = self._scorer.score_many(queries, texts, progress=progress)
        return list(map(self._apply, texts, scorings))

    def _check(self) -> None:
        """Refuse a scorer that the calibration does not belong to.

        Raises:
            ConfigurationError: If its fingerprint is another one.
        """
        if self._checked:
            return
        measured, found = self._calibration.fingerprint, self._scorer.fingerprint
        if measured != found:
            raise ConfigurationError(
                f"the calibration was measured on {self._calibration.name!r} with the fingerprint "
                f"{measured}, and {self._scorer.name!r} has {found}: the scores of another model, "
                "precision, length or instruction mean something else; measure this one with "
                "'rerank calibrate', or name the file alone, as in 'calibrated:PATH'"
            )
        self._checked = True

    def _apply(self, texts: Sequence[str], scoring: Scoring) -> Scoring:
        """Return the scoring with probabilities, unless the scores are a stand-in's."""
        scores = [score for score in scoring.scores if score is not None]
        if scoring.scale is not None or not scores:
            return scoring
        found = iter(self._calibration.probabilities(scores))
        spans = scoring.spans and tuple(
            tuple(span._replace(score=None) for span in of_text) for of_text in scoring.spans
        )
        nothing = None
        if scoring.degraded is None:  # of what was left unread, nothing is known
            read = [t for t, score in zip(texts, scoring.scores, strict=True) if score is not None]
            nothing = self._calibration.nothing_probability(scores, read)
        return replace(
            scoring,
            scores=tuple(None if score is None else next(found) for score in scoring.scores),
            spans=spans,
            nothing_probability=nothing,
        )

    def __repr__(self) -> str:
        return f"Calibrated({self._scorer!r}, {self._calibration.digest!r})"
