"""The `Scorer` interface, and the decisions that all scorers share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Self

from rerank_core._checks import check_texts, describe
from rerank_core._concurrency import in_thread, score_in_thread
from rerank_core._errors import (
    ConfigurationError,
    InvalidInputError,
    MalformedResponseError,
    ScorerError,
)
from rerank_core._planning import Job, Plan, Tally
from rerank_core._telemetry import log, observe_scoring
from rerank_core._time_limit import stoppable
from rerank_core._types import Progress, Scale, Scoring, StopScoring
from rerank_core._usage import Usage

__all__ = ["Scorer", "leaves"]


class Scorer(ABC):
    """Base class for everything that gives a relevance score to (query, text) pairs.

    The public methods validate their input, score each distinct text once, leave blank texts
    unscored, replace lone surrogates (they have no encoding), and check the scores.

    A subclass implements `name`, `scale`, `fingerprint` and `_score`. `_score` gets clean input
    with at least one text, and may be called from several threads at once. It should score the
    first texts first, since the first stage ranks them highest, call `progress` between batches,
    and return what it has when that raises `StopScoring`. Override `_ascore` to wait without a
    thread, and `_score_jobs` to score several queries together.

    Example:
        ```python
        from rerank_core import Scale, Scorer, Scoring, Usage, rerank


        class LengthScorer(Scorer):
            name = fingerprint = "length"
            scale = Scale.LOGIT

            def _score(self, query, texts, progress):
                return Scoring(tuple(float(len(text)) for text in texts), Usage(pairs=len(texts)))


        ranking = rerank("any question", ["short", "much longer"], LengthScorer())
        assert [item.text for item in ranking] == ["much longer", "short"]
        ```
    """

    # Set by scorers that cut pairs to `max_length` themselves, and so warn about it.
    _cuts_pairs = False
    _warned: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, shown in metadata, events and logs."""

    @property
    @abstractmethod
    def scale(self) -> Scale:
        """The meaning of the scores."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Identity for caches: two scorers with one fingerprint give the same scores."""

    @abstractmethod
    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        """Score distinct, non-blank texts; at least one. `score` measures the seconds."""

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        """Like `_score`, without blocking the event loop; by default in a worker thread."""
        return await score_in_thread(partial(self._score, query, texts), progress, self)

    @property
    def max_length(self) -> int | None:
        """Most tokens of a pair that the model reads; None where that is not known."""
        return None

    @property
    def remote(self) -> bool:
        """True if it asks services, so that calls made at once wait rather than compute."""
        return any(scorer.remote for scorer in self._inner())

    @property
    def listwise(self) -> bool:
        """True if a score, or what else a scoring tells, depends on the other texts of the list."""
        return any(scorer.listwise for scorer in self._inner())

    def sentence_scorer(self, elapsed: float) -> Scorer | None:  # noqa: ARG002
        """Return the scorer of sentences of texts that this one has scored; by default itself.

        Args:
            elapsed: Seconds since the call began.

        Returns:
            The scorer, or None where the spans of its scoring are the sentences that answer.
        """
        return self

    def _inner(self) -> Sequence[Scorer]:
        """Return the scorers that this one is made of, for `load`, `close` and `aclose`."""
        return ()

    def load(self) -> None:
        """Get ready to score, so that the first query does not wait: load models, for instance.

        Raises:
            ConfigurationError: If there is no such model, or it cannot be run.
            MissingExtraError: If a package is not installed.
            ServiceError: If a model must be fetched and the hub cannot be reached.
        """
        for scorer in self._inner():
            scorer.load()

    def close(self) -> None:
        """Release models and connections; a later call loads or opens them again."""
        with ExitStack() as stack:  # closes the others, too, if one fails
            for scorer in self._inner():
                stack.callback(scorer.close)

    async def aclose(self) -> None:
        """Release what `close` does, without blocking the event loop."""
        inner = self._inner()
        if not inner:
            await in_thread(self.close)
        async with AsyncExitStack() as stack:
            for scorer in inner:
                stack.push_async_callback(scorer.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def _score_jobs(self, jobs: Sequence[Job], progress: Progress) -> list[Scoring]:
        """Score several jobs, each with at least one text; by default one after the other."""
        total = sum(len(job.texts) for job in jobs)
        scorings: list[Scoring] = []
        finished = 0
        ended = False

        def counted(done: int, _: int) -> None:
            nonlocal ended
            try:
                progress(finished + done, total)
            except StopScoring:
                ended = True
                raise

        for job in jobs:
            scoring = _nothing(job.texts)
            if not ended:
                with suppress(StopScoring):
                    scoring = self._score(job.query, job.texts, counted)
            scorings.append(scoring)
            finished += len(job.texts)
        return scorings

    def score(
        self, query: str, texts: Sequence[str], *, progress: Progress | None = None
    ) -> Scoring:
        """Score each text for the query.

        Args:
            query: What the user asked; not blank.
            texts: The candidates' texts. Blank ones, which have no character that can be seen,
                stay unscored; duplicates are read once.
            progress: Called between batches with (pairs done, pairs in all).

        Returns:
            One score per text, in the order of `texts`.

        Raises:
            InvalidInputError: If the query is blank or a text is not a string.
            ScorerError: If the model or service fails, or a score is NaN or infinite.
        """
        started = time.perf_counter()
        plan = Plan(query, texts)
        if not plan.job.texts:
            return plan.unscored()
        with self._observed([plan]) as finish:
            try:
                scoring = self._score(*plan.job, _lasting(progress))
            except StopScoring:
                scoring = _nothing(plan.job.texts)
            return finish([scoring], time.perf_counter() - started)[0]

    async def ascore(
        self, query: str, texts: Sequence[str], *, progress: Progress | None = None
    ) -> Scoring:
        """Like `score`, without blocking the event loop.

        A cancelled call stops a local model between two batches and closes a remote request.
        """
        started = time.perf_counter()
        plan = Plan(query, texts)
        if not plan.job.texts:
            return plan.unscored()
        with self._observed([plan]) as finish:
            try:
                async with stoppable():
                    scoring = await self._ascore(*plan.job, _lasting(progress))
            except StopScoring:
                scoring = _nothing(plan.job.texts)
            return finish([scoring], time.perf_counter() - started)[0]

    def score_many(
        self,
        queries: Sequence[str],
        texts: Sequence[Sequence[str]],
        *,
        progress: Progress | None = None,
    ) -> list[Scoring]:
        """Score several queries, each against its own texts; local models pool their batches.

        Args:
            queries: One or more queries.
            texts: For each query its texts.
            progress: Called between batches with (pairs done, pairs in all).

        Returns:
            One scoring per query. The time is shared among them by their number of pairs.

        Raises:
            InvalidInputError: If the lengths differ, or a query or text is wrong.
            ScorerError: If the model or service fails, or a score is NaN or infinite.
        """
        started = time.perf_counter()
        checked = check_texts(queries, "queries")
        if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
            raise InvalidInputError(f"texts must be a list of lists of str, not {describe(texts)}")
        groups = list(texts)
        if len(groups) != len(checked):
            raise InvalidInputError(
                f"texts must hold one list for each of the {len(checked)} queries, "
                f"not {len(groups)}"
            )
        plans = [
            Plan(query, group, query_name=f"queries[{i}]", texts_name=f"texts[{i}]")
            for i, (query, group) in enumerate(zip(checked, groups, strict=True))
        ]
        asked = [plan for plan in plans if plan.job.texts]
        scorings: Iterator[Scoring] = iter(())
        if asked:
            with self._observed(asked) as finish:
                answers = self._score_jobs([plan.job for plan in asked], _lasting(progress))
                scorings = iter(finish(answers, time.perf_counter() - started))
        return [next(scorings) if plan.job.texts else plan.unscored() for plan in plans]

    @contextmanager
    def _observed(
        self, plans: Sequence[Plan]
    ) -> Iterator[Callable[[Sequence[Scoring], float], list[Scoring]]]:
        """Trace a call, and let memory that ran out be a failure that another can stand in for.

        Yields:
            A function from what the scorer answered and the seconds that it took to the scorings
            for the caller.
        """
        total = sum(len(plan.job.texts) for plan in plans)

        def finish(answers: Sequence[Scoring], seconds: float) -> list[Scoring]:
            if len(answers) != len(plans):
                raise MalformedResponseError(
                    f"{len(answers)} scorings came back for {len(plans)} queries",
                    provider=self.name,
                )
            scorings = [
                plan.expand(answer, self.name, seconds * len(plan.job.texts) / total)
                for plan, answer in zip(plans, answers, strict=True)
            ]
            if self._cuts_pairs:
                self._warn_of_cuts(sum((s.usage for s in scorings), Usage()), total)
            tell(scorings)
            return scorings

        with observe_scoring(lambda: self.name, total) as tell:
            try:
                yield finish
            except MemoryError as error:
                raise ScorerError(
                    "memory ran out",
                    provider=self.name,
                    hint="Score fewer or shorter texts at a time",
                ) from error

    def _warn_of_cuts(self, usage: Usage, texts: int) -> None:
        if usage.truncated:
            self._warn_once(
                "texts",
                "%s read only the beginning of %d of %d texts, as a pair holds at most %d tokens; "
                "Windowed(scorer) reads long texts whole (said once for each scorer; "
                "usage.truncated counts them)",
                *(usage.truncated, texts, self.max_length),
                facts={"rerank.usage.truncated": usage.truncated},
            )
        if usage.truncated_queries:
            self._warn_once(
                "queries",
                "%s read a query without its middle in %d of %d pairs, as a pair holds at most %d "
                "tokens (said once for each scorer; usage.truncated_queries counts them)",
                *(usage.truncated_queries, texts, self.max_length),
                facts={"rerank.usage.truncated_queries": usage.truncated_queries},
            )

    def _warn_once(
        self, kind: str, message: str, *arguments: object, facts: Mapping[str, object]
    ) -> None:
        """Log a warning about this scorer, its name first, once for each kind."""
        if kind not in self._warned:
            self._warned |= {kind}
            extra = {"rerank.scorer": self.name, **facts}
            log.warning(message, self.name, *arguments, extra=extra)

    def to_config(self) -> Mapping[str, Any]:
        """Describe this scorer in plain JSON values, so that `load_scorer` can make it again.

        Secrets are left out: a loaded scorer takes its key from the environment.

        Raises:
            ConfigurationError: If this scorer cannot be described.
        """
        raise ConfigurationError(
            f"{type(self).__name__} cannot be written as a configuration; "
            "keep the code that constructs it instead"
        )

    @classmethod
    def from_name(cls, name: str, load: Callable[[Any], Scorer]) -> Scorer:  # noqa: ARG003
        """Make a scorer from what follows the kind in its name, as in ``"cohere:MODEL"``.

        Args:
            name: What follows.
            load: Makes the scorers that this one is made of.

        Raises:
            ConfigurationError: If the name does not fit.
        """
        make: Callable[[str], Scorer] = cls
        return make(name)

    @classmethod
    def from_config(
        cls,
        options: Mapping[str, Any],
        load: Callable[[Any], Scorer],  # noqa: ARG003 - for those made of other scorers
    ) -> Scorer:
        """Make a scorer from what `to_config` returned, but its ``"type"``.

        Args:
            options: The constructor's arguments in plain JSON values.
            load: Makes the scorers that this one is made of.

        Raises:
            ConfigurationError: If an option does not fit.
        """
        return cls(**options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def _nothing(texts: Sequence[str]) -> Scoring:
    """Return the scoring of texts that an early end left unread."""
    return Tally(len(texts)).scoring()


def _lasting(progress: Progress | None) -> Progress:
    """Return a callback that raises `StopScoring` at every call once `progress` has raised it.

    A scorer that wraps others calls it for each of them, and none of those that follow may go on.
    """
    if progress is None:
        return lambda _done, _total: None
    stopped = False

    def report(done: int, total: int) -> None:
        nonlocal stopped
        if stopped:
            raise StopScoring
        try:
            progress(done, total)
        except StopScoring:
            stopped = True
            raise

    return report


def leaves(scorer: Scorer) -> Iterator[Scorer]:
    """Return the scorers that a combinator is made of in the end; any other scorer is its own."""
    inner = scorer._inner()
    if not inner:
        yield scorer
    for each in inner:
        yield from leaves(each)
