"""Lists of candidates to train on, and the scores that they should get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rerank_core._scorer import Scorer
from rerank_core.evaluation import Journal, Task
from rerank_core.evaluation._metrics import measure
from rerank_core.evaluation._scoring import EvalProgress, Journaled, watched

__all__ = ["Candidates", "read_candidates", "sample"]

_SIZE = 8  # candidates of a list
_POSITIVES = 4
_HARD = 0.7  # of the negatives, taken from the first half of the teachers' order
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4)  # of the first stage in the targets, that are tried
_LABEL = 2.0  # added to the target of a relevant candidate, in standard deviations
_SPREAD = 3.0  # standard deviation of the targets, about that of nano's own scores

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """Candidates of one query.

    Attributes:
        query: Text of the query.
        texts: Texts of the candidates.
        targets: Logits that the student should give them, up to a constant.
        relevant: True for candidates that are judged relevant.
    """

    query: str
    texts: list[str]
    targets: _Array
    relevant: NDArray[np.bool_]


def read_candidates(
    task: Task,
    queries: Sequence[str],
    teachers: Sequence[Scorer],
    journal: Journal,
    *,
    labels: bool,
    progress: EvalProgress | None,
) -> dict[str, Candidates]:
    """Score the candidates of queries with the teachers, unless the journal knows the scores.

    If labels are used, relevant documents that the first stage did not find are added, and its own
    scores join those of the teachers, with the share that orders these queries best.

    Returns:
        Candidates by query id; queries that have less than two are left out.
    """
    collection = task.collection
    read = []
    for query in watched(queries, "teachers' scores", progress):
        hits = task.first_stage.candidates.get(query, ())[: max(task.depths)]
        grades = collection.judgements[query]
        judged = [name for name, grade in grades.items() if labels and grade > 0]
        ids = list(dict.fromkeys([*(hit.id for hit in hits), *judged]))
        ids = [name for name in ids if collection.documents.get(name, "").strip()]
        if len(ids) < 2:
            continue
        asked, texts = collection.queries[query], [collection.documents[name] for name in ids]
        total = np.zeros(len(texts))
        for teacher in teachers:
            total += _standardised(Journaled(teacher, journal).score(asked, texts).scores)
        found = {hit.id: hit.score for hit in hits}
        first = _standardised([found.get(name) for name in ids])
        relevant = np.array([name in judged for name in ids])
        count = sum(name in found for name in ids)
        read.append(_Read(query, ids, count, relevant, _standardised(total), first))
    share = _share(task, read) if labels else 0.0
    candidates = {}
    for item in read:
        targets = _SPREAD * (_standardised(item.mixed(share)) + _LABEL * item.relevant)
        texts = [collection.documents[name] for name in item.ids]
        candidates[item.query] = Candidates(
            collection.queries[item.query], texts, targets, item.relevant
        )
    return candidates


class _Read(NamedTuple):
    """Candidates of a query, and their scores by the teachers and by the first stage."""

    query: str
    ids: list[str]
    hits: int  # of the first stage; they come first
    relevant: NDArray[np.bool_]
    taught: _Array
    first: _Array

    def mixed(self, share: float) -> _Array:
        return (1 - share) * self.taught + share * self.first


def _share(task: Task, read: Sequence[_Read]) -> float:
    """Return the share of the first stage with the highest nDCG@10."""
    judgements = {item.query: task.collection.judgements[item.query] for item in read}

    def quality(share: float) -> float:
        orders = {
            item.query: [
                item.ids[at] for at in np.argsort(-item.mixed(share)[: item.hits], kind="stable")
            ]
            for item in read
        }
        (values,) = measure(["nDCG@10"], judgements, orders).values()
        return fmean(values.values())

    return max(_SHARES, key=quality) if read else 0.0


def sample(candidates: Candidates, chance: np.random.Generator) -> tuple[list[str], list[float]]:
    """Choose a list: some relevant candidates, and mostly hard negatives.

    Returns:
        The texts of the list, and their targets.
    """
    order = np.argsort(-candidates.targets, kind="stable")
    positives = chance.permutation(np.flatnonzero(candidates.relevant))[:_POSITIVES]
    others = order[~candidates.relevant[order]]
    wanted = _SIZE - len(positives)
    hard = chance.permutation(others[: len(others) // 2])[: round(_HARD * wanted)]
    rest = chance.permutation(np.setdiff1d(others, hard))
    places = np.concatenate([positives, hard, rest])[:_SIZE].astype(int)
    return [candidates.texts[place] for place in places], candidates.targets[places].tolist()


def _standardised(scores: Sequence[float | None] | _Array) -> _Array:
    """Return scores minus their mean, over their deviation; a missing one is the lowest."""
    values = np.array([np.nan if score is None else score for score in scores], dtype=float)
    if np.isnan(values).all():
        return np.zeros(len(values))
    values = np.where(np.isnan(values), np.nanmin(values), values)
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))
