"""What scorers that ask a service over HTTP do alike: split, retry, gather, close, travel."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self, TypeAlias

from rerank_core._checks import check_flag, check_number, check_whole
from rerank_core._errors import RerankError
from rerank_core._planning import Tally
from rerank_core._remote.answers import Answer
from rerank_core._remote.connections import Connections
from rerank_core._remote.prices import Prices, check_prices
from rerank_core._remote.retry import async_attempts, attempts
from rerank_core._remote.split import chunks
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring, StopScoring
from rerank_core._usage import Usage

__all__ = ["DEFAULT_RETRIES", "DEFAULT_TIMEOUT", "AsyncSession", "RemoteScorer", "Session"]

DEFAULT_TIMEOUT = 30.0
DEFAULT_RETRIES = 2
_MAX_CONCURRENT = 4  # requests of one ascore call

Ask: TypeAlias = Callable[[str, Sequence[str]], Answer]
AsyncAsk: TypeAlias = Callable[[str, Sequence[str]], Awaitable[Answer]]


class Session(NamedTuple):
    """How to ask the service for the scores of some texts, and for how many at once."""

    ask: Ask
    limit: int


class AsyncSession(NamedTuple):
    """The same, asynchronously."""

    ask: AsyncAsk
    limit: int


class RemoteScorer(Scorer):
    """A scorer that asks a service; a subclass says how to ask once.

    Args:
        timeout: As in `CohereScorer`, and so are the others.
        max_retries: Attempts after the first.
        raw_scores: Whether scores may be any number.
        prices: What the service charges.
    """

    _connections: Connections[Any, Any] | None

    def __init__(
        self,
        *,
        timeout: float,
        max_retries: int,
        raw_scores: bool,
        prices: Prices | Mapping[str, float] | None,
    ) -> None:
        self._timeout = check_number(timeout, "timeout", above=0)
        self._max_retries = check_whole(max_retries, "max_retries", least=0)
        self._raw_scores = check_flag(raw_scores, "raw_scores")
        self._prices = check_prices(prices)

    @property
    def scale(self) -> Scale:
        """`LOGIT` with `raw_scores`, else `UNIT`."""
        return Scale.LOGIT if self._raw_scores else Scale.UNIT

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones."""
        if self._connections is not None:
            self._connections.close()

    async def aclose(self) -> None:
        """Close this process's connections and the running event loop's.

        Not needed at the end of ``asyncio.run``, which closes them.
        """
        if self._connections is not None:
            await self._connections.aclose()

    @abstractmethod
    def _connect(self) -> Connections[Any, Any] | None:
        """Make what opens connections at first use."""

    @abstractmethod
    def _session(self) -> Session:
        """Return how to ask, once: without retries."""

    @abstractmethod
    async def _asession(self) -> AsyncSession | None:
        """Return how to ask asynchronously, or None if that needs a thread."""

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        ask, limit = self._session()
        tally = Tally(len(texts))
        try:
            for start, chunk in chunks(texts, limit):
                for attempt in attempts(self._max_retries):
                    with attempt:
                        tally.usage += Usage(requests=1)
                        answer = ask(query, chunk)
                self._add(tally, start, answer)
                progress(tally.done, len(texts))
        except StopScoring:
            pass  # what has come is kept
        except RerankError as error:
            error.add_usage(tally.usage)
            raise
        return tally.scoring()

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        session = await self._asession()
        if session is None:
            return await super()._ascore(query, texts, progress)
        tally = Tally(len(texts))
        few = asyncio.Semaphore(_MAX_CONCURRENT)

        async def work(start: int, chunk: Sequence[str]) -> None:
            async with few:
                async for attempt in async_attempts(self._max_retries):
                    with attempt:
                        tally.usage += Usage(requests=1)
                        answer = await session.ask(query, chunk)
            self._add(tally, start, answer)
            progress(tally.done, len(texts))

        tasks = [asyncio.create_task(work(*piece)) for piece in chunks(texts, session.limit)]
        try:
            await asyncio.gather(*tasks)
        except StopScoring:
            pass  # what has come is kept
        except RerankError as error:
            error.add_usage(tally.usage)
            raise
        finally:
            # After a failure or a cancellation no request outlives this call.
            for task in tasks:
                if not task.cancelling():  # twice would cut short how a connection is closed
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return tally.scoring()

    def _add(self, tally: Tally, start: int, answer: Answer) -> None:
        cost = None if self._prices is None else self._prices.cost(answer.usage)
        positions = range(start, start + len(answer.scores))
        tally.add(positions, answer.scores, replace(answer.usage, cost=cost), answer.spans)

    def _chosen(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that are not at their defaults, for `to_config`."""
        defaults = {
            "timeout": DEFAULT_TIMEOUT,
            "max_retries": DEFAULT_RETRIES,
            "raw_scores": False,
            **defaults,
        }
        values = {name: getattr(self, f"_{name}") for name in defaults}
        chosen = {name: value for name, value in values.items() if value != defaults[name]}
        if self._prices is not None:
            chosen["prices"] = self._prices.to_config()
        return chosen

    # A scorer is immutable and thread-safe: a copy is the same one, its key included.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_connections"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connections = self._connect()
