"""Scorers for tests: one that goes by the words of the texts, and one that follows a script."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from rerank_core._checks import check_choice, describe
from rerank_core._errors import ConfigurationError
from rerank_core._planning import Tally
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring, StopScoring
from rerank_core._usage import Usage

__all__ = ["WORD", "OverlapScorer", "ScriptedScorer", "overlap", "words"]

WORD = re.compile(r"\w+")

Fixed: TypeAlias = Scoring | Mapping[str, float] | Iterable[float | None]
Answer: TypeAlias = Fixed | BaseException | Callable[[str, tuple[str, ...]], Fixed]


def words(text: str) -> set[str]:
    """Return the distinct words of a text, in lower case."""
    return set(WORD.findall(text.lower()))


def overlap(query: str, text: str) -> float:
    """Return the share of the query's words that the text holds, from 0 to 1."""
    wanted = words(query)
    return len(wanted & words(text)) / len(wanted) if wanted else 0.0


class OverlapScorer(Scorer):
    """Scores a text by the share of the query's distinct words that it holds.

    Letter case and punctuation do not count. The scale is `Scale.UNIT`. Texts are scored one
    after the other, with a call of `progress` after each.

    Args:
        name: The scorer's name. Default: ``"overlap"``.

    Attributes:
        calls: The query and the texts of each call so far. A scorer is asked for distinct texts
            that are not blank, and not at all where there are none.

    Example:
        ```python
        from rerank_core.testing import OverlapScorer

        scorer = OverlapScorer()
        scoring = scorer.score("Which river is cold?", ["A cold river.", "The sun", ""])
        assert scoring.scores == (0.5, 0.0, None)
        assert scorer.calls == [("Which river is cold?", ("A cold river.", "The sun"))]
        ```
    """

    def __init__(self, name: str = "overlap") -> None:
        self._name = name
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    @property
    def name(self) -> str:
        """The name that was given."""
        return self._name

    @property
    def scale(self) -> Scale:
        """`Scale.UNIT`."""
        return Scale.UNIT

    @property
    def fingerprint(self) -> str:
        """The name, after ``"overlap:"``."""
        return f"overlap:{self._name}"

    def to_config(self) -> dict[str, str]:
        """The name, with ``"type": "overlap"``, which `load_scorer` does not know."""
        return {"type": "overlap", "name": self._name}

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        self.calls.append((query, tuple(texts)))
        tally = Tally(len(texts))
        try:
            for position, text in enumerate(texts):
                tally.add([position], [overlap(query, text)], Usage(pairs=1))
                progress(tally.done, len(texts))
        except StopScoring:
            pass  # what has been scored is kept
        return tally.scoring()


class ScriptedScorer(Scorer):
    """Gives the answers of a script, one for each call; the last one is given again and again.

    An answer is

    - a list with one score for each text, None for a text left unscored;
    - a mapping from text to score; a text that is not in it is left unscored;
    - a `Scoring`, which can also be degraded and hold usage and spans;
    - an exception, which is raised;
    - a function of the query and the tuple of texts that returns one of the first three, or
      raises. It may block, in `ascore` too, which runs it in a thread.

    A scorer is asked for distinct texts that are not blank: an answer holds no scores for others.
    One that does not fit raises `MalformedResponseError`, and a score that is not finite
    `NonFiniteScoreError`, as an answer of a service would.

    Args:
        *answers: One or more.
        name: The scorer's name. Default: ``"scripted"``.
        scale: What the scores mean. Default: `Scale.LOGIT`.

    Attributes:
        calls: The query and the texts of each call so far.

    Raises:
        ConfigurationError: If there is no answer, or one is none of these.

    Example:
        ```python
        from rerank_core import RateLimitError, rerank
        from rerank_core.testing import ScriptedScorer

        scorer = ScriptedScorer({"tea": 2.5, "soup": -1.0}, RateLimitError("slow down"))
        ranking = rerank("drinks", ["soup", "bread", "tea"], scorer, min_score=0.0)
        assert [(item.text, item.score) for item in ranking] == [("tea", 2.5), ("bread", None)]
        try:
            rerank("drinks", ["soup"], scorer)
        except RateLimitError:
            assert [query for query, _ in scorer.calls] == ["drinks", "drinks"]
        ```
    """

    def __init__(
        self, *answers: Answer, name: str = "scripted", scale: Scale = Scale.LOGIT
    ) -> None:
        if not answers:
            raise ConfigurationError("answers must hold at least one answer")
        self._answers = [_checked(answer) for answer in answers]
        self._coming = deque(self._answers[:-1])
        self._name = name
        self._scale = Scale(check_choice(scale, "scale", [*Scale]))
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    @property
    def name(self) -> str:
        """The name that was given."""
        return self._name

    @property
    def scale(self) -> Scale:
        """The scale that was given."""
        return self._scale

    @property
    def fingerprint(self) -> str:
        """The name and a digest of the script."""
        script = repr((self._scale, self._answers)).encode()
        return f"scripted:{self._name}:{hashlib.sha256(script).hexdigest()[:16]}"

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:  # noqa: ARG002 - answers come whole
        asked = tuple(texts)
        self.calls.append((query, asked))
        try:
            answer = self._coming.popleft()  # atomic, so that threads share the script
        except IndexError:
            answer = self._answers[-1]
        if isinstance(answer, BaseException):
            raise answer
        found = answer(query, asked) if callable(answer) else answer
        if isinstance(found, Scoring):
            return found
        scores = map(found.get, asked) if isinstance(found, Mapping) else found
        return Scoring(tuple(scores), Usage(pairs=len(asked)))


def _checked(answer: Answer) -> Answer:
    if isinstance(answer, Scoring | Mapping | BaseException) or callable(answer):
        return answer
    if isinstance(answer, Iterable) and not isinstance(answer, str | bytes):
        return tuple(answer)
    raise ConfigurationError(
        "an answer must be a list of scores, a mapping from text to score, a Scoring, an "
        f"exception or a function, not {describe(answer)}"
    )
