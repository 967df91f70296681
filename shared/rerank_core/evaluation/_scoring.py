"""Scoring the candidates of every query once, and replaying it in other ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import SupportsIndex

from rerank_core.errors import ConfigurationError, InvalidInputError
from rerank_core.evaluation._collection import Collection
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._runs import FirstStage
from rerank_core.ranking import Blend, rerank
from rerank_core.scorer import Progress, Scorer
from rerank_core.types import Scale, Scoring, Usage
from rerank_core.validation import check_positive, describe

__all__ = ["Replay", "Scored", "Task", "check_count", "order_of", "score_queries"]

_WARM_UP = 4  # texts; enough to load the model and to grow its buffers a little


@dataclass(frozen=True, slots=True)
class Task:
    """What to rerank.

    Attributes:
        collection: The test collection.
        first_stage: Its candidates.
        depths: How many of them to rerank, each on its own; those behind follow in first-stage
            order.
        queries: Ids of the queries to use. Default: all that count.

    Raises:
        ConfigurationError: If `depths` are not different numbers of at least 1, or a query has no
            relevant document.
    """

    collection: Collection
    first_stage: FirstStage
    depths: tuple[int, ...] = (50,)
    queries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for depth in self.depths:
            check_count(depth, "depth")
        if not self.depths or len(set(self.depths)) < len(self.depths):
            raise ConfigurationError(
                f"depths must be different numbers, not {describe(self.depths)}"
            )
        if unknown := set(self.queries) - set(self.collection.evaluated):
            raise ConfigurationError(
                f"query {min(unknown)!r} of {self.collection.name} has no relevant document"
            )

    @property
    def used(self) -> tuple[str, ...]:
        """Ids of the queries to use."""
        return self.queries or self.collection.evaluated

    def texts(self, query: str, depth: int) -> list[str]:
        """Texts of a query's first candidates."""
        found = self.first_stage.candidates.get(query, ())[:depth]
        return [self.collection.documents[candidate.id] for candidate in found]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scorer said of each query's candidates.

    Attributes:
        depth: How many candidates were scored at most.
        scorings: For each query with candidates its scoring.
    """

    depth: int
    scorings: Mapping[str, Scoring]

    @property
    def usage(self) -> Usage:
        """What all of it cost."""
        return sum((scoring.usage for scoring in self.scorings.values()), Usage())


def score_queries(
    task: Task,
    scorer: Scorer,
    depth: int,
    journal: Journal,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Score every query's first candidates, one call a query, unless the journal knows them.

    Before the first call that counts, a few texts are scored and forgotten, so that loading the
    model does not count as latency.

    Args:
        task: What to score.
        scorer: What scores.
        depth: At most this many candidates a query.
        journal: What is known already; new scorings are added.
        progress: Called with (queries done, queries in all).
    """
    scorings: dict[str, Scoring] = {}
    warm = False
    for done, query in enumerate(task.used):
        if progress is not None:
            progress(done, len(task.used))
        texts = task.texts(query, depth)
        if not texts:
            continue
        asked = task.collection.queries[query]
        scoring = journal.find(scorer, asked, texts)
        if scoring is None:
            if not warm:
                scorer.score(asked, texts[:_WARM_UP])
                warm = True
            scoring = scorer.score(asked, texts)
            journal.keep(scorer, asked, texts, scoring)
        scorings[query] = scoring
    if progress is not None:
        progress(len(task.used), len(task.used))
    return Scored(depth, scorings)


class Replay(Scorer):
    """Gives the scores of one scoring again, so that the core itself orders what was scored.

    Args:
        scorer: What it stands for.
        texts: The texts that were scored.
        scoring: Their scoring.
    """

    def __init__(self, scorer: Scorer, texts: Sequence[str], scoring: Scoring) -> None:
        self._name = scorer.name
        self._scale = scoring.scale or scorer.scale
        self._degraded = scoring.degraded
        self._scores = dict(zip(texts, scoring.scores, strict=True))
        self._secondary = (
            None if scoring.secondary is None else dict(zip(texts, scoring.secondary, strict=True))
        )

    @property
    def name(self) -> str:
        """The scorer's name."""
        return self._name

    @property
    def scale(self) -> Scale:
        """The scoring's scale."""
        return self._scale

    @property
    def fingerprint(self) -> str:
        """No two replays are alike."""
        return f"replay:{id(self)}"

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        del query, progress  # it stands for one query, and does nothing that takes time
        secondary = self._secondary
        return Scoring(
            tuple(self._scores[text] for text in texts),
            Usage(),
            self._degraded,
            secondary=None if secondary is None else tuple(secondary[text] for text in texts),
        )


def check_count(value: SupportsIndex | None, argument: str) -> int:
    """Return an integer of at least 1.

    Raises:
        ConfigurationError: If it is anything else, a bool included.
    """
    with suppress(InvalidInputError):
        if count := check_positive(value, argument):
            return count
    raise ConfigurationError(
        f"{argument} must be a whole number of at least 1, not {describe(value)}"
    )


def order_of(
    task: Task, query: str, scorer: Scorer, depth: int, blend: Blend | None = None
) -> list[str]:
    """Rerank a query's first candidates, as `rerank` does, and let the others follow.

    Args:
        task: What to rerank.
        query: Id of the query.
        scorer: What scores; a `Replay` costs nothing.
        depth: How many candidates are reranked.
        blend: Mix with the first stage.

    Returns:
        Ids of all the query's candidates, best first.
    """
    found = task.first_stage.candidates.get(query, ())
    head, tail = found[:depth], found[depth:]
    ranking = rerank(
        task.collection.queries[query],
        task.texts(query, depth),
        scorer,
        blend=blend,
        prior=[candidate.score for candidate in head],
    )
    return [head[item.index].id for item in ranking] + [candidate.id for candidate in tail]
