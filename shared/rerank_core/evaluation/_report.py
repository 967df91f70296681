"""Results of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from rerank_core._usage import Usage

__all__ = [
    "FIRST_STAGE",
    "MEAN",
    "CollectionReport",
    "Comparison",
    "Latency",
    "Moved",
    "QueryChange",
    "Report",
    "SystemReport",
    "Trimming",
    "Verdict",
]

FIRST_STAGE = "first stage"
"""Name of the first stage in comparisons and means."""

MEAN = "mean"
"""Name of the mean over all collections in comparisons."""

Verdict: TypeAlias = Literal[
    "helps", "no gain", "hurts", "better", "no difference", "worse", "cannot tell"
]
"""Outcome of a comparison: the first three against the first stage, the next three between two
systems, and ``"cannot tell"`` in either case."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Time that a scorer's calls took, one call per query, in milliseconds.

    Attributes:
        p50: Median.
        p95: 95th percentile.
        pairs_per_second: Pairs that the model read per second; None if it read none.
        estimated: Whether the times were derived from a deeper scoring, in proportion to the
            number of candidates, rather than measured.

    Example:
        ```python
        from rerank_core.evaluation import Latency

        latency = Latency(p50=12.0, p95=31.0, pairs_per_second=900.0, estimated=False)
        print(f"{latency.p50:.0f} ms")
        ```

        ```text
        12 ms
        ```
    """

    p50: float
    p95: float
    pairs_per_second: float | None
    estimated: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """A passage that reranking moved.

    Attributes:
        id: Document id.
        text: The first 400 characters.
        grade: Grade of the judgement; None if the document was not judged.
        before: Position in the first stage, from 1.
        after: Position after reranking.

    Example:
        ```python
        from rerank_core.evaluation import Moved

        moved = Moved("d7", "json.dumps writes JSON.", grade=1, before=9, after=1)
        print(f"{moved.id}: {moved.before} to {moved.after}")
        ```

        ```text
        d7: 9 to 1
        ```
    """

    id: str
    text: str
    grade: int | None
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class QueryChange:
    """Effect of reranking on one query.

    Attributes:
        query: Query id.
        text: Text of the query.
        before: Value of the first metric in the first stage.
        after: Value after reranking.
        up: The passage that rose furthest within or into the top ten. Relevant passages are
            preferred if the query was won, others if it was lost.
        down: The relevant passage in the top ten that fell furthest.

    Example:
        ```python
        from rerank_core.evaluation import Moved, QueryChange

        up = Moved("d7", "json.dumps writes JSON.", grade=1, before=9, after=1)
        change = QueryChange("q1", "How do I write JSON?", before=0.3, after=1.0, up=up, down=None)
        print(f"{change.text} {change.before} to {change.after}")
        ```

        ```text
        How do I write JSON? 0.3 to 1.0
        ```
    """

    query: str
    text: str
    before: float
    after: float
    up: Moved | None
    down: Moved | None


@dataclass(frozen=True, slots=True)
class Trimming:
    """Texts, tokens and answers that trimming leaves of the candidates that a system reranked.

    Everything is per query, over the queries that have candidates, and compared with the same
    ranking without trimmers, cut to the same `top_n`. An answer is kept if all of it is in one
    passage that is left (see `Collection.answers`).

    Attributes:
        candidates_before: Mean number of candidates without trimmers.
        candidates_after: Mean number of candidates that are left.
        tokens_before: Mean number of tokens of their texts without trimmers, by the counter of the
            `Budget`, or of ``"nano"``; None if the counter failed.
        tokens_after: Mean number of tokens that are left.
        saved: Share of the tokens that is saved.
        empty: Number of queries of which nothing is left.
        relevant_kept: Share of the relevant candidates that are left, whole or in part: a mean
            over the queries that have some; None if none has.
        answered_before: Share of the queries with known answers of which one is among the
            candidates without trimmers; None if the collection has no answers.
        answered_after: Share of them of which one is left.
        answers_kept: Share of the queries that were answered without trimmers and still are; None
            if there are none.
        low: Lower end of its 95 % bootstrap interval; None with fewer than two such queries.
        high: Upper end of the interval.
        answered: Whether an answer is left, for each query with known answers.
        usage: Cost of scoring sentences; the seconds are those of this run.
        degraded: Causes of rankings that trimming degraded, as in `Ranking.causes`, and their
            number of queries; None if none was.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Collection, System, Task, evaluate, first_stage

        text = "Cats purr. They purr when they are content. Some cats are black."
        answers = {"q": {"1": [(11, 43)]}}  # "They purr when they are content."
        queries, judgements = {"q": "When do cats purr?"}, {"q": {"1": 1}}
        pets = Collection("pets", {"1": text}, queries, judgements, answers=answers)
        task = Task(pets, first_stage("bm25", pets, 10), depths=(10,))
        report = evaluate([task], [System(load_scorer("nano"))], trim=["excerpt"])
        trimming = report.collections[0].systems[0].trimming
        print(f"{trimming.saved:.0%} of the tokens saved, {trimming.answers_kept:.0%} answered")
        ```

        ```text
        29% of the tokens saved, 100% answered
        ```
    """

    candidates_before: float
    candidates_after: float
    tokens_before: float | None
    tokens_after: float | None
    saved: float | None
    empty: int
    relevant_kept: float | None
    answered_before: float | None
    answered_after: float | None
    answers_kept: float | None
    low: float | None
    high: float | None
    answered: Mapping[str, bool]
    usage: Usage
    degraded: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class SystemReport:
    """Results of one system, or of the first stage, on one collection.

    Attributes:
        name: Scorer, blend and depths, such as ``"nano + rrf:0.3 @50"``.
        depth: Number of candidates that were reranked.
        values: Mean of each metric.
        per_query: Value of the first metric for each query.
        latency: Time per query; None for the first stage.
        usage: Cost of all scorings; None for the first stage. A system whose latency is estimated
            shares the scorings of a greater depth.
        counts: Number of queries that were ``"better"``, ``"alike"`` and ``"worse"`` than in the
            first stage.
        wins: The queries that gained most.
        losses: The queries that lost most.
        degraded: Causes of degraded scorings, as in `Scoring.causes`, and their number of
            queries; None if none was degraded.
        trimming: What trimming leaves; None without trimmers, or if no query has candidates.

    Example:
        ```python
        from rerank_core.evaluation import SystemReport

        system = SystemReport("nano @50", 50, {"nDCG@10": 0.41}, {"q1": 0.32, "q2": 0.5})
        print(f"{system.name}: {system.values['nDCG@10']}")
        ```

        ```text
        nano @50: 0.41
        ```
    """

    name: str
    depth: int
    values: Mapping[str, float]
    per_query: Mapping[str, float]
    latency: Latency | None = None
    usage: Usage | None = None
    counts: Mapping[str, int] | None = None
    wins: Sequence[QueryChange] = ()
    losses: Sequence[QueryChange] = ()
    degraded: Mapping[str, int] | None = None
    trimming: Trimming | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of a system with the first stage, or with another system, by the first metric.

    Attributes:
        collection: Name of the collection, or `MEAN` for the mean over all collections.
        system: Name of the system.
        baseline: Name of the other system, or `FIRST_STAGE`.
        difference: Mean of the system minus mean of the baseline.
        low: Lower end of the 95 % bootstrap interval; None with fewer than two queries.
        high: Upper end of the interval.
        p: Two-sided p value of the randomisation test.
        p_corrected: The p value after Holm's correction for all comparisons of the report.
        verdict: Code of the outcome. If `p_corrected` is below 0.05: ``"helps"`` or ``"hurts"``,
            between systems ``"better"`` or ``"worse"``. Otherwise, if the interval lies within
            0.01 of zero and there are at least 25 queries: ``"no gain"``, between systems
            ``"no difference"``. Otherwise ``"cannot tell"``: there are too few queries.
        queries_needed: With ``"cannot tell"``, a rough estimate of how many queries would show
            the difference, or one of 0.01 if it is smaller, with a probability of 80 %. None with
            other verdicts, and if a collection has a single query, which gives no estimate.
        sentence: The verdict in words, for people.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Collection, System, Task, evaluate, first_stage

        queries = {"q1": "Do cats purr?", "q2": "Do dogs bark?"}
        judgements = {"q1": {"1": 1}, "q2": {"2": 1}}
        pets = Collection("pets", {"1": "Cats purr.", "2": "Dogs bark."}, queries, judgements)
        task = Task(pets, first_stage("bm25", pets, 10), depths=(10,))
        (found,) = evaluate([task], [System(load_scorer("nano"))]).comparisons
        print(found.verdict, found.queries_needed)
        ```

        ```text
        cannot tell 30
        ```
    """

    collection: str
    system: str
    baseline: str
    difference: float
    low: float | None
    high: float | None
    p: float
    p_corrected: float
    verdict: Verdict
    queries_needed: int | None
    sentence: str


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """Results on one collection.

    Attributes:
        name: Name of the collection.
        fingerprint: Hash of its documents and queries.
        documents: Number of documents.
        queries: Number of queries that were used.
        notes: Remarks on what was skipped while reading.
        settings: Settings of the first stage.
        first_stage: Results of the first stage.
        systems: Results of the systems, at each depth.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Collection, System, Task, evaluate, first_stage

        pets = Collection("pets", {"1": "Cats purr."}, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        task = Task(pets, first_stage("bm25", pets, 10), depths=(10, 5))
        (found,) = evaluate([task], [System(load_scorer("nano"))]).collections
        print([system.name for system in found.systems])
        ```

        ```text
        ['nano @10', 'nano @5']
        ```
    """

    name: str
    fingerprint: str
    documents: int
    queries: int
    notes: Sequence[str]
    settings: Mapping[str, Any]
    first_stage: SystemReport
    systems: Sequence[SystemReport]


@dataclass(frozen=True, slots=True)
class Report:
    """Results of an evaluation.

    Attributes:
        metrics: Names of the metrics; comparisons are by the first.
        settings: Seed, resamples and other settings.
        versions: Versions of Python and of the libraries involved.
        collections: Results on each collection.
        mean: Mean of each metric over the collections, for each system and for `FIRST_STAGE`.
            Every collection has the same weight.
        comparisons: Every system with the first stage and with every other system, on each
            collection and, if there are several, on their mean.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Collection, System, Task, evaluate, first_stage

        pets = Collection("pets", {"1": "Cats purr."}, {"q": "Do cats purr?"}, {"q": {"1": 1}})
        task = Task(pets, first_stage("bm25", pets, 10), depths=(10,))
        report = evaluate([task], [System(load_scorer("nano"))], metrics=["RR@10"])
        print(report.mean)
        ```

        ```text
        {'first stage': {'RR@10': 1.0}, 'nano @10': {'RR@10': 1.0}}
        ```
    """

    metrics: tuple[str, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    collections: Sequence[CollectionReport]
    mean: Mapping[str, Mapping[str, float]]
    comparisons: Sequence[Comparison]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, under the names of the attributes.

        ``"schema"`` is the version of the layout. The same input and settings give the same
        output, except for latencies and seconds.
        """
        return {"schema": 1, **json.loads(json.dumps(asdict(self)))}
