"""The models of a server, and scoring within its limits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

from fastapi import Request
from starlette.requests import ClientDisconnect

from rerank_core._checks import check_name, check_whole
from rerank_core._combinators.deadline import Deadline
from rerank_core._concurrency import in_thread
from rerank_core._errors import ConfigurationError
from rerank_core._loading import ScorerLike, load_scorer
from rerank_core._reranking import arerank
from rerank_core._scorer import Scorer
from rerank_core._types import DEADLINE, RankedItem, Ranking, Scale
from rerank_core.serving._door import log, seen
from rerank_core.serving._failures import Refused
from rerank_core.serving._metrics import Metrics
from rerank_core.serving._pool import Pool, unless_gone

__all__ = ["Service"]

_LEAST = 0.001  # seconds of a deadline that waiting has used up


class Service:
    """Models by name, and what a request may ask of them.

    Args:
        models: The scorers, the default one first.
        places: Requests that are scored at once.
        queue: Requests that wait for that.
        max_documents: Most texts of a request.
        max_characters: Most characters of its query and texts.

    Attributes:
        models: The scorers by name.
        metrics: What has been served.
        ready: Whether all models are loaded.

    Raises:
        ConfigurationError: If there is no model, one cannot be made, or a limit is out of range.
    """

    def __init__(
        self,
        models: Mapping[str, ScorerLike],
        *,
        places: int,
        queue: int,
        max_documents: int,
        max_characters: int,
    ) -> None:
        if not models:
            raise ConfigurationError("models is empty; name one, such as {'fast': 'nano'}")
        self.models = {check_name(n, "models", "fast"): load_scorer(s) for n, s in models.items()}
        # A scorer that was handed over stays with who made it.
        self._own = [
            scorer
            for scorer, given in zip(self.models.values(), models.values(), strict=True)
            if scorer is not given
        ]
        self.max_documents = check_whole(max_documents, "max_documents")
        self._max_characters = check_whole(max_characters, "max_characters")
        self._pool = Pool(check_whole(places, "concurrency"), check_whole(queue, "queue", least=0))
        self.metrics = Metrics(self._pool)
        self.ready = False

    async def load(self) -> None:
        """Load all models.

        Raises:
            RerankError: If one cannot be loaded.
        """
        for name, scorer in self.models.items():
            try:
                await in_thread(scorer.load)
            except Exception as error:
                log.error("model %s cannot be loaded: %s", name, type(error).__name__)
                raise
        self.ready = True

    async def close(self) -> None:
        """Release the models that were made here."""
        self.ready = False
        async with AsyncExitStack() as stack:
            for scorer in self._own:
                stack.push_async_callback(scorer.aclose)

    async def rank(
        self,
        request: Request,
        model: str | None,
        query: str,
        texts: list[str],
        seconds: float | None,
    ) -> Ranking:
        """Rank texts, unless the client goes away.

        Args:
            request: The request.
            model: Name of the model; None for the default.
            query: The query.
            texts: The texts.
            seconds: The client's deadline, which counts the time in the queue; None for no limit.

        Returns:
            The ranking of all texts.

        Raises:
            Refused: If there is no such model, or a limit is exceeded.
            Busy: If the queue is full.
            ClientDisconnect: If the client is gone.
            RerankError: If the query is blank, or the scorer fails.
        """
        started = time.monotonic()
        name = next(iter(self.models)) if model is None else model
        scorer = self.models.get(name)
        if scorer is None:
            known = ", ".join(self.models)
            raise Refused(404, "NotFound", f"there is no such model; there are: {known}")
        facts = seen(request)
        facts.model, facts.texts = name, len(texts)
        self._check(query, texts)

        async def work() -> Ranking:
            async with self._pool.place(seconds) as in_time:
                if not in_time:
                    return _unscored(scorer, texts)
                left = None if seconds is None else started + seconds - time.monotonic()
                limited = scorer if left is None else Deadline(scorer, max(left, _LEAST))
                return await arerank(query, texts, limited)

        ranking = await unless_gone(work(), _hung_up(request))
        if ranking is None:
            raise ClientDisconnect
        facts.causes = ranking.causes
        self.metrics.count_ranking(name, ranking)
        return ranking

    def _check(self, query: str, texts: list[str]) -> None:
        if len(texts) > self.max_documents:
            raise Refused(
                413,
                "Validation",
                f"{len(texts)} documents are more than the {self.max_documents} that a request "
                "may hold; split them over several",
            )
        characters = len(query) + sum(map(len, texts))
        if characters > self._max_characters:
            raise Refused(
                413,
                "Validation",
                f"{characters} characters are more than the {self._max_characters} that a request "
                "may hold; split it, or cut the texts",
            )


async def _hung_up(request: Request) -> None:
    """Return once the client of a request, whose body has been read, is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _unscored(scorer: Scorer, texts: list[str]) -> Ranking:
    """Return a ranking in first-stage order, for a request whose time ran out in the queue."""
    items = [RankedItem(index, None, None, (), text) for index, text in enumerate(texts)]
    reason = f"the deadline came in the queue: 0 of {len(texts)} texts scored"
    return Ranking(tuple(items), scorer.name, Scale.LOGIT, degraded=reason, causes=(DEADLINE,))
