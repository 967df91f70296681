"""Small real scorers for tests whose subject is not the model."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rerank_core import Progress, Scale, Scorer, Scoring, Usage


class OverlapScorer(Scorer):
    """Scores a text by the share of query words it holds; counts its calls.

    Args:
        label: The scorer's name.
    """

    def __init__(self, label: str = "overlap") -> None:
        self.label = label
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    @property
    def name(self) -> str:
        return self.label

    @property
    def scale(self) -> Scale:
        return Scale.UNIT

    @property
    def fingerprint(self) -> str:
        return f"overlap:{self.label}"

    def to_config(self) -> dict[str, str]:
        return {"type": "overlap", "label": self.label}

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        self.calls.append((query, tuple(texts)))
        words = set(query.lower().split())
        scores = tuple(len(words & set(text.lower().split())) / len(words) for text in texts)
        progress(len(texts), len(texts))
        return Scoring(scores, Usage(pairs=len(texts)))


class TableScorer(Scorer):
    """Looks each text's score up; a text that is not in the table is not scored."""

    def __init__(self, scores: dict[str, float], scale: Scale = Scale.LOGIT) -> None:
        self.scores = scores
        self._scale = scale

    name = fingerprint = "table"

    @property
    def scale(self) -> Scale:
        return self._scale

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        return Scoring(tuple(self.scores.get(text) for text in texts), Usage(pairs=len(texts)))


class BlockingScorer(OverlapScorer):
    """Blocks between two batches until told to go on, so that tests need no sleeps."""

    def __init__(self) -> None:
        super().__init__("blocking")
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.finished = threading.Event()
        self.error: BaseException | None = None

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        self.started.set()
        try:
            self.go_on.wait(timeout=30)
            return super()._score(query, texts, progress)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.finished.set()
