"""Comparing an export with its original."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerank_core._local.files import Precision
from rerank_core._scorer import Scorer
from rerank_core.export._report import ExportError, Verification
from rerank_core.export._texts import QUERIES, TEXTS

__all__ = ["MOST_DIFFERENCE", "compare", "judge", "kendall_tau", "top_overlap"]

MOST_DIFFERENCE = 1e-3
"""Most by which a logit of an fp32 export may differ from its original."""

_LEAST_TAU = 0.9

_Scores = npt.NDArray[np.float64]


def compare(original: Scorer, exported: Scorer, max_length: int) -> Verification:
    """Score built-in texts with both.

    Args:
        original: Gives logits.
        exported: Gives logits.
        max_length: Most tokens of a pair. Queries are cut for models that read little.

    Returns:
        How far they are from each other.

    Raises:
        ScorerError: If either fails, or gives NaN or infinity.
    """
    # No query may fill a model's room; a character is at most one token in these.
    queries = [query[: max(1, max_length // 3)].strip() for query in QUERIES]
    pairs = [(_scores(original, query), _scores(exported, query)) for query in queries]
    return Verification(
        pairs=len(QUERIES) * len(TEXTS),
        max_difference=max(float(np.abs(one - other).max()) for one, other in pairs),
        kendall_tau=float(np.mean([kendall_tau(one, other) for one, other in pairs])),
        top10_overlap=float(np.mean([top_overlap(one, other) for one, other in pairs])),
    )


def judge(found: Verification, precision: Precision) -> tuple[str, ...]:
    """Refuse an fp32 export that gives other scores, and say what is doubtful about an int8 one.

    Args:
        found: The comparison.
        precision: Of the export.

    Returns:
        Warnings, in sentences.

    Raises:
        ExportError: If it is fp32 and a logit differs by more than 1e-3.
    """
    if precision == "fp32" and found.max_difference > MOST_DIFFERENCE:
        raise ExportError(
            f"the exported graph does not give the model's scores: logits differ by up to "
            f"{found.max_difference:.2g}, and {MOST_DIFFERENCE:g} is the most allowed for fp32; "
            "nothing was written"
        )
    if found.kendall_tau < _LEAST_TAU:
        warning = (
            f"the order differs from the original's (Kendall tau {found.kendall_tau:.2f}, below "
            f"{_LEAST_TAU}): compare both on your own data, or export with precision fp32"
        )
        return (warning,)
    return ()


def kendall_tau(one: _Scores, other: _Scores) -> float:
    """Kendall's tau-b of two scorings of the same texts: https://doi.org/10.1093/biomet/33.3.239.

    Returns:
        From -1 to 1. Where a scoring has no order at all: 1 if neither has one, else 0.
    """
    signs = [np.sign(scores[:, None] - scores[None, :]) for scores in (one, other)]
    ordered = [float(np.abs(sign).sum()) for sign in signs]
    if not all(ordered):
        return 0.0 if any(ordered) else 1.0
    return float((signs[0] * signs[1]).sum()) / float(np.sqrt(ordered[0] * ordered[1]))


def top_overlap(one: _Scores, other: _Scores, count: int = 10) -> float:
    """Share of the `count` best by one scoring that are among the `count` best by the other."""
    best = [set(np.argsort(-scores, kind="stable")[:count].tolist()) for scores in (one, other)]
    return len(best[0] & best[1]) / len(best[0])


def _scores(scorer: Scorer, query: str) -> _Scores:
    scores: Sequence[float | None] = scorer.score(query, TEXTS).scores
    return np.array(scores, dtype=np.float64)
