"""Scoring the candidates of every query once, and measuring the orders that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeVar

from rerank_core._blend import Blend
from rerank_core._checks import check_whole, describe, is_blank
from rerank_core._combinators.base import Wrapper
from rerank_core._errors import ConfigurationError
from rerank_core._reranking import rerank_passages
from rerank_core._scorer import Scorer
from rerank_core._trimming import Passage
from rerank_core._types import Progress, Ranking, Scale, Scoring
from rerank_core._usage import Usage
from rerank_core.evaluation._collection import Collection
from rerank_core.evaluation._first_stage import FirstStage
from rerank_core.evaluation._journal import Journal
from rerank_core.evaluation._metrics import Orders, Values, measure

__all__ = [
    "WARM_UP",
    "EvalProgress",
    "Evaluator",
    "Journaled",
    "Replay",
    "Scored",
    "Task",
    "watched",
]

T = TypeVar("T")

EvalProgress = Callable[[str, int, int], None]
"""Called with (label of the work, steps done, steps in all)."""

WARM_UP = 4
"""Texts that are scored first, without counting the time; enough to load the model."""


@dataclass(frozen=True, slots=True)
class Task:
    """A collection, its candidates, and how many of them to rerank.

    Attributes:
        collection: The collection.
        first_stage: Candidates of its queries.
        depths: Numbers of candidates to rerank, each evaluated on its own. Candidates beyond a
            depth follow in first-stage order.
        queries: Ids of the queries to use. Default: all that can be evaluated.

    Raises:
        ConfigurationError: If `depths` are not different integers of at least 1, or a query has
            no relevant document.

    Example:
        ```python
        from rerank_core.evaluation import Collection, Task, first_stage

        pets = Collection("pets", {"1": "Cats purr."}, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        task = Task(pets, first_stage("bm25", pets, 50), depths=(50, 20))
        print(task.used, task.texts("q", 20))
        ```

        ```text
        ('q',) ['Cats purr.']
        ```
    """

    collection: Collection
    first_stage: FirstStage
    depths: tuple[int, ...] = (50,)
    queries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for depth in self.depths:
            check_whole(depth, "depth")
        if not self.depths or len(set(self.depths)) < len(self.depths):
            raise ConfigurationError(
                f"depths must be different integers, at least one, not {describe(self.depths)}"
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
        """Return the texts of a query's first candidates."""
        found = self.first_stage.candidates.get(query, ())[:depth]
        return [self.collection.documents[candidate.id] for candidate in found]

    def passages(self, query: str, depth: int) -> list[Passage]:
        """Return the parts of these texts."""
        headers = self.collection.headers
        names = [found.id for found in self.first_stage.candidates.get(query, ())[:depth]]
        return [
            Passage(self.collection.own_text(name), header, start=len(header))
            for name, header in ((name, headers.get(name, "")) for name in names)
        ]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scorings of each query's first candidates.

    Attributes:
        depth: How many candidates were scored at most.
        scorings: The scoring of each query that has candidates.
        replays: For each of them a scorer that repeats it.
    """

    depth: int
    scorings: Mapping[str, Scoring]
    replays: Mapping[str, Replay]

    @property
    def usage(self) -> Usage:
        """Total cost of the scorings."""
        return sum((scoring.usage for scoring in self.scorings.values()), Usage())


class Replay(Scorer):
    """Scorer that repeats a scoring, so that `rerank` itself orders what was scored.

    Args:
        scorer: The scorer it stands for.
        texts: The texts that were scored.
        scoring: Their scoring.
        journal: Known scorings of sentences; new ones are added.
    """

    def __init__(
        self, scorer: Scorer, texts: Sequence[str], scoring: Scoring, journal: Journal
    ) -> None:
        self._scorer = scorer
        self._scoring = scoring
        self._journal = journal
        self._positions = {text: position for position, text in enumerate(texts)}

    @property
    def name(self) -> str:
        """The scorer's name."""
        return self._scorer.name

    @property
    def scale(self) -> Scale:
        """The scoring's scale."""
        return self._scoring.scale or self._scorer.scale

    @property
    def fingerprint(self) -> str:
        """Identity of this replay alone."""
        return f"replay:{id(self)}"

    def sentence_scorer(self, elapsed: float) -> Scorer | None:
        """Return the scorer's own, which has the time that scoring left it."""
        scorer = self._scorer.sentence_scorer(elapsed + self._scoring.usage.seconds)
        return scorer and Journaled(scorer, self._journal)

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        del query, progress  # a replay belongs to one query, and takes no time
        positions = [self._positions[text] for text in texts]
        found = self._scoring
        return replace(
            found,
            scores=tuple(found.scores[position] for position in positions),
            secondary=found.secondary and tuple(found.secondary[at] for at in positions),
            spans=found.spans and tuple(found.spans[position] for position in positions),
            usage=Usage(),
        )


class Journaled(Wrapper):
    """Scorer whose scorings a journal keeps, so that what it knows is not scored again.

    Args:
        scorer: The scorer.
        journal: Known scorings; new ones are added.
    """

    def __init__(self, scorer: Scorer, journal: Journal) -> None:
        super().__init__(scorer)
        self._journal = journal

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        scoring = self._journal.find(self._scorer, query, texts)
        if scoring is None:
            scoring = self._scorer.score(query, texts, progress=progress)
            self._journal.keep(self._scorer, query, texts, scoring)
        return scoring


class Evaluator:
    """Scores, orders and measures one task.

    Args:
        task: The task.
        metrics: Names of metrics, as `check_metrics` returns them.
        journal: Known scorings; new ones are added.
        progress: Called with (label of the work, queries done, queries in all).
    """

    def __init__(
        self,
        task: Task,
        metrics: Sequence[str],
        journal: Journal,
        progress: EvalProgress | None,
    ) -> None:
        self.task = task
        self._metrics = metrics
        self._journal = journal
        self._progress = progress
        self._scored: dict[tuple[int, int], Scored] = {}

    def score(self, scorer: Scorer, depth: int) -> Scored:
        """Score every query's first candidates, one call per query, unless they are known.

        A few texts are scored before the first call that is timed, so that latencies do not
        include loading the model.

        Args:
            scorer: The scorer.
            depth: Maximum number of candidates per query.
        """
        if known := self._scored.get((id(scorer), depth)):
            return known
        task = self.task
        label = f"{task.collection.name}: {scorer.name} @{depth}"
        scorings, replays = {}, {}
        warm = False
        for query in watched(task.used, label, self._progress):
            if not (texts := task.texts(query, depth)):
                continue
            asked = task.collection.queries[query]
            scoring = self._journal.find(scorer, asked, texts)
            if scoring is None:
                if not warm:
                    scorer.score(asked, texts[:WARM_UP])
                    warm = True
                scoring = scorer.score(asked, texts)
                self._journal.keep(scorer, asked, texts, scoring)
            scorings[query] = scoring
            replays[query] = Replay(scorer, texts, scoring, self._journal)
        return self._scored.setdefault((id(scorer), depth), Scored(depth, scorings, replays))

    def score_for(self, scorer: Scorer, depth: int) -> Scored:
        """Return scorings that hold at a depth.

        These are the scorings at the task's greatest depth, unless they left texts unscored, or
        depend on the list: the scorer might score others, or otherwise, at a smaller depth, and is
        run there.
        """
        scored = self.score(scorer, max(self.task.depths))
        if self.is_complete(scored) and not scorer.listwise:
            return scored
        return self.score(scorer, depth)

    def is_complete(self, scored: Scored) -> bool:
        """Return whether every non-blank text has a score."""
        return all(
            scoring.degraded is None
            and all(
                score is not None or is_blank(text)
                for text, score in zip(
                    self.task.texts(query, scored.depth), scoring.scores, strict=True
                )
            )
            for query, scoring in scored.scorings.items()
        )

    def rerank(
        self, scorers: Mapping[str, Scorer], depth: int, blend: Blend | None = None
    ) -> dict[str, list[str]]:
        """Rerank each query's first candidates with `rerank`; the others follow.

        Args:
            scorers: Scorer of each query that has candidates, such as a `Replay`.
            depth: Number of candidates to rerank.
            blend: Blend with the first stage.

        Returns:
            Ids of all candidates of each query, best first.
        """
        orders: dict[str, list[str]] = {query: [] for query in self.task.used}
        for query, scorer in scorers.items():
            found = self.task.first_stage.candidates[query]
            ranking = self.rank(query, scorer, depth, blend=blend)
            orders[query] = [found[item.index].id for item in ranking]
            orders[query] += [candidate.id for candidate in found[depth:]]
        return orders

    def rank(self, query: str, scorer: Scorer, depth: int, **options: Any) -> Ranking:
        """Rerank a query's first candidates, with options of `rerank`."""
        found = self.task.first_stage.candidates[query][:depth]
        return rerank_passages(
            self.task.collection.queries[query],
            self.task.texts(query, depth),
            self.task.passages(query, depth),
            scorer=scorer,
            prior=[candidate.score for candidate in found],
            **options,
        )

    def measure(self, orders: Orders) -> tuple[dict[str, float], Values]:
        """Return the mean of each metric, and its value for each query."""
        values = measure(self._metrics, self.task.collection.judgements, orders)
        return {metric: fmean(found.values()) for metric, found in values.items()}, values


def watched(steps: Sequence[T], label: str, progress: EvalProgress | None) -> Iterator[T]:
    """Yield each step, and call `progress` before each and at the end."""
    for done, step in enumerate(steps):
        if progress is not None:
            progress(label, done, len(steps))
        yield step
    if progress is not None:
        progress(label, len(steps), len(steps))
