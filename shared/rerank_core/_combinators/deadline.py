"""`Deadline`: an answer in time, of what there is by then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rerank_core._checks import check_number
from rerank_core._combinators.base import Wrapper
from rerank_core._concurrency import run_in_background
from rerank_core._scorer import Scorer
from rerank_core._types import DEADLINE, STOPPED, Progress, Scoring, StopScoring, unique

__all__ = ["Deadline"]


class Deadline(Wrapper):
    """Answers within a time budget: what is scored by then is ranked, the rest stays unscored.

    Unscored texts follow in first-stage order, and `degraded` says how many were scored. A local
    model scores the first stage's best first, and stops between two batches once the next would
    come too late, going by twice the average so far; one that takes longer is the most by
    which the budget is exceeded. A request to a service is cut, and its connection closed. Time
    to load a model counts: call `load` before the first query.

    A `Fallback` within it has its turn only if the first scorer fails in time: give that one a
    timeout, and few retries, that leave the others some of the budget.

    A synchronous call waits for work in a background thread; `progress` is called from there.

    Args:
        scorer: What scores.
        seconds: The budget of one call, above 0.

    Raises:
        ConfigurationError: If an argument is wrong.
    """

    def __init__(self, scorer: Scorer, seconds: float) -> None:
        super().__init__(scorer)
        self._seconds = check_number(seconds, "seconds", above=0)

    def to_config(self) -> dict[str, Any]:
        """The scorer's configuration and the budget, with ``"type": "deadline"``."""
        config = dict(self._scorer.to_config())
        return {"type": "deadline", "scorer": config, "seconds": self._seconds}

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Deadline:
        """Make one from what `to_config` returned, but its ``"type"``."""
        return cls(**{**options, "scorer": load(options["scorer"])})

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        watch = _Watch(self._seconds, progress)
        return watch.result(run_in_background(self._race(query, texts, watch)))

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        watch = _Watch(self._seconds, progress)
        return watch.result(await self._race(query, texts, watch))

    async def _race(self, query: str, texts: Sequence[str], watch: _Watch) -> Scoring:
        task = asyncio.create_task(self._scorer.ascore(query, texts, progress=watch))
        try:
            await asyncio.wait({task}, timeout=watch.left())
            # A local model stops by itself after the batch it is at; a service never would.
            await asyncio.wait({task}, timeout=watch.grace())
            cut = not task.done()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})  # so that its connection is closed before we answer
                _ = task.cancelled() or task.exception()  # or asyncio would complain in the log
        scoring = Scoring((None,) * len(texts)) if cut else task.result()
        return self._explain(scoring) if cut or watch.stopped else scoring

    def _explain(self, scoring: Scoring) -> Scoring:
        total = len(scoring.scores)
        scored = sum(score is not None for score in scoring.scores)
        why = f"the deadline of {self._seconds:g} s came: {scored} of {total} texts scored"
        # That the watch stopped the scorer is no cause of its own.
        others = [cause for cause in scoring.causes if cause != STOPPED]
        if others:
            why = f"{why}; {scoring.degraded}"
        return replace(scoring, degraded=why, causes=unique((DEADLINE, *others)))

    def __repr__(self) -> str:
        return f"Deadline({self._scorer!r}, {self._seconds:g})"


class _Watch:
    """A progress callback that ends the scoring in time, and learns how long a batch takes."""

    def __init__(self, seconds: float, progress: Progress) -> None:
        self._end = time.monotonic() + seconds
        self._progress = progress
        self._first: float | None = None
        self._last = 0.0
        self._gaps = 0
        self._longest = 0.0
        self.stopped = False
        self.error: BaseException | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        expected = 0.0  # until the next call
        if self._first is None:
            self._first = now
        else:
            self._gaps += 1
            self._longest = max(self._longest, now - self._last)
            # Lengths differ, and so do batches: one of twice the average still comes in time.
            expected = 2 * (now - self._first) / self._gaps
        self._last = now
        try:
            self._progress(done, total)
        except BaseException as error:
            # Not in this thread: an interrupt would end the event loop instead of the call.
            self.error = error
            raise StopScoring from error
        if done < total and now + expected >= self._end:
            self.stopped = True
            raise StopScoring

    def result(self, scoring: Scoring) -> Scoring:
        """Return the scoring, or raise what the caller's own callback raised."""
        if self.error is not None:
            raise self.error
        return scoring

    def left(self) -> float:
        """Seconds to the deadline."""
        return max(0.0, self._end - time.monotonic())

    def grace(self) -> float:
        """Seconds to wait for a batch that was begun in time; none where there are no batches."""
        return 0.0 if self._first is None else 2 * self._longest + 0.02
