"""A scorer that waits for its test."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from rerank_core import Progress, Scoring
from rerank_core.testing import OverlapScorer

__all__ = ["BlockingScorer", "OverlapScorer"]


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
