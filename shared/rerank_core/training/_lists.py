"""Lists of candidates to train on, and the scores that they should get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_core._scorer import Scorer
from rerank_core.evaluation import Journal, Task
from rerank_core.evaluation._scoring import EvalProgress, Journaled, watched

__all__ = ["Candidates", "read_candidates", "sample"]

_SIZE = 16  # candidates of a list
_POSITIVES = 4
_HARD = 0.7  # of the negatives, taken from the first half of the teachers' order
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
) -> list[Candidates]:
    """Score the candidates of queries with the teachers, unless the journal knows the scores.

    Relevant documents that the first stage did not find are added if labels are used.
    """
    collection = task.collection
    found = []
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
        relevant = np.array([name in judged for name in ids])
        targets = _SPREAD * (_standardised(total) + _LABEL * relevant)
        found.append(Candidates(asked, texts, targets, relevant))
    return found


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
