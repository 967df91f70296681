"""What an evaluation found."""

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
    "Verdict",
]

FIRST_STAGE = "first stage"
"""The first stage's name in comparisons and means."""

MEAN = "mean"
"""Where a comparison is over all collections."""

Verdict: TypeAlias = Literal[
    "helps", "no gain", "hurts", "better", "no difference", "worse", "cannot tell"
]
"""Codes for programs. Against the first stage a system helps, brings no gain, or hurts; against
another system it is better, no different, or worse. About either a report may be unable to tell."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long the calls of one scorer took, one a query, in milliseconds.

    Attributes:
        p50: Half of the calls took no longer.
        p95: 95 % of the calls took no longer.
        pairs_per_second: Pairs that the model read in a second; None where it read none.
        estimated: True where this depth was cut out of a deeper scoring, each call's time in
            proportion to its candidates, rather than measured.
    """

    p50: float
    p95: float
    pairs_per_second: float | None
    estimated: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """A passage that reranking moved.

    Attributes:
        id: Of the document.
        text: Its first characters.
        grade: How it was judged; None if it was not.
        before: Its place in the first stage, from 1.
        after: Its place after reranking.
    """

    id: str
    text: str
    grade: int | None
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class QueryChange:
    """What reranking did to one query.

    Attributes:
        query: Its id.
        text: What was asked.
        before: The first stage's value of the deciding metric.
        after: The value after reranking.
        up: The passage that rose furthest within or into the ten best: of a query won, a
            relevant one before others; of one lost, one that is not relevant before others.
        down: The relevant passage of the ten best that fell furthest.
    """

    query: str
    text: str
    before: float
    after: float
    up: Moved | None
    down: Moved | None


@dataclass(frozen=True, slots=True)
class SystemReport:
    """One way to rerank one collection.

    Attributes:
        name: Scorer, blend and depths, such as ``"nano + rrf:0.3 @50"``.
        depth: How many candidates were reranked here.
        values: Mean of each metric.
        latency: None for the first stage.
        usage: What all scoring at the depth that was scored cost; None for the first stage.
        per_query: The deciding metric's value for each query.
        counts: How many queries it did better, alike and worse than the first stage.
        wins: The queries it helped most.
        losses: The queries it hurt most.
        degraded: Why scorings were less than asked for, and how often.
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether one system is better than another, by the deciding metric.

    Attributes:
        collection: Where, or `MEAN` for the mean over all collections.
        system: The one.
        baseline: The other.
        difference: Mean of the first less mean of the second.
        low: Lower end of the 95 % bootstrap interval; None with fewer than two queries.
        high: Its upper end.
        p: Two-sided p of the randomisation test.
        p_corrected: The same after Holm's correction over all comparisons of the report.
        verdict: ``"helps"`` or ``"hurts"``, between systems ``"better"`` or ``"worse"``, where
            `p_corrected` is below 0.05. Else ``"no gain"``, between systems ``"no difference"``,
            where the interval lies within 0.01 of zero and comes from at least 25 queries. Else
            ``"cannot tell"``: there are too few queries.
        queries_needed: Roughly how many queries would show the difference, or one of 0.01 where
            it is smaller, with a chance of 80 %. None where the verdict is not ``"cannot tell"``,
            and where a collection has a single query, which gives no estimate.
        sentence: The verdict in words, for people; programs read `verdict`.
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
    """What was found on one collection.

    Attributes:
        name: Of the collection.
        fingerprint: Hash of its documents and queries.
        documents: How many there are.
        queries: How many were used.
        notes: What was passed over or odd.
        settings: How the first stage found its candidates.
        first_stage: The first stage itself.
        systems: What was compared with it.
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
    """What an evaluation found.

    Attributes:
        metrics: The first is the one that decides.
        settings: Seed, resamples and other settings.
        versions: Of the libraries that took part.
        collections: What was found on each.
        mean: For each system (the first stage's name is ``"first stage"``) the mean of each
            metric over the collections; each counts alike.
        comparisons: Every system with the first stage and with every other, on each collection
            and, where there are several, on their mean.
    """

    metrics: tuple[str, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    collections: Sequence[CollectionReport]
    mean: Mapping[str, Mapping[str, float]]
    comparisons: Sequence[Comparison]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values, under the names of the attributes.

        ``"schema"`` counts changes of the layout. There are no times of day in it: but for
        latencies and seconds, equal input and settings give equal output.
        """
        return {"schema": 1, **json.loads(json.dumps(asdict(self)))}
