"""`Deadline`: scores within a time budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rerank_core._background import calls
from rerank_core._checks import check_number
from rerank_core._combinators.base import Wrapper
from rerank_core._scorer import Scorer
from rerank_core._time_limit import TimeLimit
from rerank_core._types import DEADLINE, STOPPED, Progress, Scoring, StopScoring, unique

__all__ = ["Deadline"]

# Seconds that scorers that wrap others may take to put together what they have, and then those that
# a cancelled scorer may take to close its connection.
_GRACE, _CLOSING = 0.1, 1.0
_LEAST = 0.001  # of a second call, where the first took all


class Deadline(Wrapper):
    """Limits the time of a call: texts that are not scored in time stay unscored.

    Unscored texts follow the scored ones in first-stage order, or in that of a `Cascade` within,
    and `degraded` tells how many were scored. A local model scores the first stage's best texts
    first, and stops between two batches when the next one is expected to end too late: it is
    assumed to take twice the average so far. The budget is exceeded by at most the time of one
    batch. A request to a service is cancelled, and its connection closed; what a `Cascade`, a
    `Cached` or earlier requests have by then is kept. Loading a model counts: call `load` before
    the first query.

    Inside a `Deadline`, a `Fallback` can ask its next scorer only if the first one fails in time.
    Give the first one a timeout and few retries, so that some of the budget is left.

    A synchronous call runs in a background thread, which also calls `progress`.

    Args:
        scorer: The inner scorer.
        seconds: Time budget of one call, above 0.

    Raises:
        ConfigurationError: If an argument is invalid.

    Example:
        ```python
        from rerank_core import Deadline, OnnxCrossEncoder

        scorer = Deadline(OnnxCrossEncoder("nano"), seconds=30)
        scorer.load()  # or loading would take a part of the first call's budget
        scoring = scorer.score("How do plants eat?", ["Plants use light.", "Cats purr."])
        assert scoring.degraded is None  # all texts were scored in time
        ```
    """

    def __init__(self, scorer: Scorer, seconds: float) -> None:
        super().__init__(scorer)
        self._seconds = check_number(seconds, "seconds", above=0)

    def to_config(self) -> dict[str, Any]:
        """Return the scorer's configuration and the budget, with ``"type": "deadline"``."""
        config = dict(self._scorer.to_config())
        return {"type": "deadline", "scorer": config, "seconds": self._seconds}

    def sentence_scorer(self, elapsed: float) -> Scorer | None:
        """Return a deadline around the inner scorer for what is left of the time."""
        inner = self._scorer.sentence_scorer(elapsed)
        return inner and Deadline(inner, max(self._seconds - elapsed, _LEAST))

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        timer = _Timer(self._seconds, progress)
        return timer.check(calls.run(self._score_in_time(query, texts, timer)))

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        timer = _Timer(self._seconds, progress)
        return timer.check(await self._score_in_time(query, texts, timer))

    async def _score_in_time(self, query: str, texts: Sequence[str], timer: _Timer) -> Scoring:
        limit = TimeLimit(timer.end)
        with limit.applied():
            task = asyncio.create_task(self._scorer.ascore(query, texts, progress=timer))
        try:
            await asyncio.wait({task}, timeout=timer.remaining())
            # A local model stops by itself after its current batch; a service never would.
            await asyncio.wait({task}, timeout=timer.batch_allowance())
            if not task.done():
                limit.stop()
                await asyncio.wait({task}, timeout=_GRACE)
            cancelled = not task.done()
        finally:
            if not task.done():
                task.cancel()
                # Its connection should be closed before we return.
                await asyncio.wait({task}, timeout=_CLOSING)
                # asyncio would log an exception that nobody retrieves.
                task.add_done_callback(lambda done: done.cancelled() or done.exception())
        scoring = Scoring((None,) * len(texts)) if cancelled else task.result()
        stopped = cancelled or limit.passed or timer.stopped
        incomplete = None in scoring.scores or STOPPED in scoring.causes
        return self._degrade(scoring) if stopped and incomplete else scoring

    def _degrade(self, scoring: Scoring) -> Scoring:
        """Add the deadline to the reasons why a scoring is degraded."""
        total = len(scoring.scores)
        scored = sum(score is not None for score in scoring.scores)
        reason = f"the deadline of {self._seconds:g} s came: {scored} of {total} texts scored"
        # The timer stopped the scorer, so that is not a cause of its own.
        others = [cause for cause in scoring.causes if cause != STOPPED]
        if others:
            reason = f"{reason}; {scoring.degraded}"
        return replace(scoring, degraded=reason, causes=unique((DEADLINE, *others)))

    def __repr__(self) -> str:
        return f"Deadline({self._scorer!r}, {self._seconds:g})"


class _Timer:
    """Progress callback that measures the time between two calls and stops a scoring in time."""

    def __init__(self, seconds: float, progress: Progress) -> None:
        self.end = time.monotonic() + seconds
        self._progress = progress
        self._times: list[float] = []  # of the calls so far
        self._longest = 0.0  # between two calls
        self.stopped = False
        self._error: BaseException | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        expected = 0.0  # seconds until the next call
        if self._times:
            self._longest = max(self._longest, now - self._times[-1])
            # Batches differ in length: one that takes twice the average still ends in time.
            expected = 2 * (now - self._times[0]) / len(self._times)
        self._times.append(now)
        try:
            self._progress(done, total)
        except StopScoring:
            raise
        except BaseException as error:
            # `check` raises it in the caller's thread: here an interrupt would end the event loop.
            self._error = error
            raise StopScoring from error
        if done < total and now + expected >= self.end:
            self.stopped = True
            raise StopScoring

    def check(self, scoring: Scoring) -> Scoring:
        """Return the scoring, or raise the exception of the caller's own callback."""
        if self._error is not None:
            raise self._error
        return scoring

    def remaining(self) -> float:
        """Return the seconds until the deadline."""
        return max(0.0, self.end - time.monotonic())

    def batch_allowance(self) -> float:
        """Return the seconds to wait for the current batch; 0 if no batch has been reported."""
        return 2 * self._longest + 0.02 if self._times else 0.0
