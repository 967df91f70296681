"""The result of tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rerank_core._blend import Blend
from rerank_core._profile import Profile
from rerank_core._scorer import Scorer
from rerank_core._version import __version__
from rerank_core.evaluation._report import Verdict

__all__ = ["TuneRow", "Tuning", "recommend"]


@dataclass(frozen=True, slots=True)
class TuneRow:
    """One configuration, with its figures over all queries.

    Attributes:
        name: Scorer, blend and depth, such as ``"nano + rrf:0.2 @50"``; or `FIRST_STAGE`.
        value: Mean of the metric.
        p95: 95th percentile of the time of a query, in milliseconds, in proportion to the number
            of candidates where another number of them was scored.
        cost: Price of 1,000 queries; None if it is not known.
        front: Whether no other configuration is as good in all three and better in one.
        depth: Number of candidates that are reranked; 0 for the first stage.
        blend: Blend with the first stage.
        scorer: The scorer; None for the first stage.

    Example:
        ```python
        from rerank_core.evaluation import TuneRow

        row = TuneRow("nano @50", value=0.41, p95=42.0, cost=0.0, front=True, depth=50)
        print(f"{row.name}: {row.value} in {row.p95:.0f} ms")
        ```

        ```text
        nano @50: 0.41 in 42 ms
        ```
    """

    name: str
    value: float
    p95: float
    cost: float | None
    front: bool
    depth: int
    blend: Blend | None = None
    scorer: Scorer | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "name": self.name,
            "value": self.value,
            "p95_ms": self.p95,
            "cost_per_1000_queries": self.cost,
            "front": self.front,
            "depth": self.depth,
        }


@dataclass(frozen=True, slots=True)
class Tuning:
    """The configuration that `tune` chose, and what it was chosen from.

    Attributes:
        collection: Name of the collection.
        data: Hash of documents, queries, judgements and candidates.
        queries: Number of queries.
        metric: Name of the metric.
        rows: All configurations, the first stage first.
        chosen: The recommended one: the best for which there is reason, or the first stage.
        verdict: ``"helps"`` if it is better than the first stage on queries that had no part in
            the choice; ``"no gain"``, ``"hurts"`` or ``"cannot tell"`` otherwise.
        difference: How much better it is on them.
        low: Lower end of the 95 % interval of `difference`; None with fewer than two queries.
        high: Upper end of the interval.
        measured: 95th percentile of `chosen` in milliseconds, measured again; None if there is no
            limit to keep.
        min_score: Threshold for `chosen`, where its scores are probabilities and one loses at most
            0.005 of the metric.
        left_out: How many of the first ten passages are below it, on average, for queries that
            had no part in the choice of the threshold.
        loss: What the metric loses by it on them.
        sentence: The recommendation.

    Example:
        ```python
        from rerank_core import load_scorer
        from rerank_core.evaluation import Collection, Task, first_stage, tune

        sample = Collection.sample()
        task = Task(sample, first_stage("bm25", sample, 5), (5,), sample.evaluated[:4])
        tuning = tune(task, {"nano": load_scorer("nano")}, blends=[None])
        print([row.name for row in tuning.rows])
        ```

        ```text
        ['first stage', 'nano @5']
        ```
    """

    collection: str
    data: str
    queries: int
    metric: str
    rows: Sequence[TuneRow]
    chosen: TuneRow
    verdict: Verdict
    difference: float
    low: float | None
    high: float | None
    measured: float | None
    min_score: float | None
    left_out: float | None
    loss: float | None
    sentence: str

    def profile(self, command: str | None = None) -> Profile | None:
        """Return the recommendation as a profile; None if it is not to rerank.

        Args:
            command: The command that found it, without secrets.

        Raises:
            ConfigurationError: If the scorer has no configuration.
        """
        if self.chosen.scorer is None:
            return None
        return Profile(
            scorer=self.chosen.scorer,
            depth=self.chosen.depth,
            blend=self.chosen.blend,
            min_score=self.min_score,
            found={
                "sentence": self.sentence,
                "collection": self.collection,
                "data": self.data,
                "queries": self.queries,
                "figures": self._figures(),
                "command": command,
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "rerank_core": __version__,
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "sentence": self.sentence,
            "chosen": self.chosen.name,
            "collection": self.collection,
            "data": self.data,
            "queries": self.queries,
            "figures": self._figures(),
            "rows": [row.to_json() for row in self.rows],
        }

    def _figures(self) -> Mapping[str, Any]:
        return {
            "metric": self.metric,
            "value": self.chosen.value,
            "first_stage": self.rows[0].value,
            "verdict": self.verdict,
            "difference": self.difference,
            "interval": [self.low, self.high],
            "p95_ms": self.chosen.p95 if self.measured is None else self.measured,
            "p95_measured_again": self.measured is not None,
            "cost_per_1000_queries": self.chosen.cost,
            "min_score": self.min_score,
            "left_out": self.left_out,
            "loss": self.loss,
        }


def recommend(tuning: Tuning, claim: str | None) -> str:
    """Return the recommendation as a sentence.

    Args:
        tuning: All but the sentence.
        claim: The difference on queries that had no part in the choice, as `judge` words it; None
            if nothing is within the limits.
    """
    if claim is None:
        fastest = min(tuning.rows[1:], key=lambda row: row.p95)
        return (
            f"Do not rerank: no configuration is within the limits; of the fastest, "
            f"{fastest.name}, {_takes(fastest, None)}."
        )
    row, unseen = tuning.chosen, "on queries that had no part in the choice"
    if tuning.verdict in ("no gain", "hurts"):
        return f"Do not rerank: {unseen}, {claim}."
    if row.scorer is None:
        return f"Cannot tell yet: nothing is better than the first stage here, but {claim}."
    what = f"the first {row.depth} candidates with {row.name.rpartition(' @')[0]}"
    facts = [_takes(row, tuning.measured)]
    if tuning.min_score is not None:
        facts.append(
            f"a min_score of {tuning.min_score:g} leaves out {tuning.left_out:.1f} of the first "
            f"10 passages and loses {tuning.loss:.4f}"
        )
    if tuning.verdict == "helps":
        return f"Rerank {what}: {unseen}, {claim}; {'; '.join(facts)}."
    return f"Cannot tell yet whether to rerank {what}: {unseen}, {claim}; {'; '.join(facts)}."


def _takes(row: TuneRow, measured: float | None) -> str:
    """Return what a configuration takes, in words."""
    about, p95 = ("about ", row.p95) if measured is None else ("", measured)
    price = f", and 1,000 cost about {row.cost:.2g}" if row.cost else ""
    if row.cost is None:
        price = ", and their price is not known"
    return f"95% of queries take at most {about}{p95:,.0f} ms{price}"
