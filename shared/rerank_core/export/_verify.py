"""Comparing an export with its original, on built-in queries and texts."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

from rerank_core.errors import RerankError
from rerank_core.scorer import Scorer
from rerank_core.scorers.onnx._variants import Precision

__all__ = [
    "QUERIES",
    "TEXTS",
    "ExportError",
    "Verification",
    "compare",
    "judge",
    "kendall_tau",
    "top_overlap",
]

_MOST_DIFFERENCE = 1e-3  # of two logits, for fp32
_LEAST_TAU = 0.9


# Short and long, plain and odd.
_BUILT_IN = json.loads(Path(__file__).with_name("_texts.json").read_text(encoding="utf-8"))
_SENTENCES: list[str] = _BUILT_IN["sentences"]
QUERIES: list[str] = _BUILT_IN["queries"]
TEXTS: list[str] = [
    *_SENTENCES,
    *_BUILT_IN["odd"],
    " ".join(_SENTENCES[:8]),
    " ".join(_SENTENCES[10:25]),
    " ".join(_SENTENCES),
    # Longer than most models read.
    " ".join((*_SENTENCES[::-1], *_SENTENCES[::2])),
]


class ExportError(RerankError):
    """A model that could not be exported, or whose export does not give its scores."""


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the exported model is from the original, on built-in queries and texts.

    Attributes:
        pairs: Pairs scored by both.
        max_difference: Largest absolute difference of two logits.
        kendall_tau: Kendall's tau-b of the two orders, from -1 to 1, mean over the queries.
        top10_overlap: Share of the original's ten best among the export's ten best, from 0 to 1,
            mean over the queries.
    """

    pairs: int
    max_difference: float
    kendall_tau: float
    top10_overlap: float


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
    with _no_warning_about_cuts():
        both = [(_scores(original, query), _scores(exported, query)) for query in queries]
    return Verification(
        pairs=len(QUERIES) * len(TEXTS),
        max_difference=max(
            abs(one - other) for scores in both for one, other in zip(*scores, strict=True)
        ),
        kendall_tau=fmean(kendall_tau(*scores) for scores in both),
        top10_overlap=fmean(top_overlap(*scores) for scores in both),
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
    if precision == "fp32" and found.max_difference > _MOST_DIFFERENCE:
        raise ExportError(
            f"the exported graph does not give the model's scores: logits differ by up to "
            f"{found.max_difference:.2g}, and {_MOST_DIFFERENCE:g} is the most allowed for fp32; "
            "nothing was written"
        )
    if found.kendall_tau < _LEAST_TAU:
        warning = (
            f"the order differs from the original's (Kendall tau {found.kendall_tau:.2f}, below "
            f"{_LEAST_TAU}): compare both on your own data, or export with precision fp32"
        )
        return (warning,)
    return ()


def kendall_tau(one: Iterable[float], other: Iterable[float]) -> float:
    """Kendall's tau-b of two scorings of the same texts: https://doi.org/10.1093/biomet/33.3.239.

    Returns:
        From -1 to 1. Where a scoring has no order at all: 1 if neither has one, else 0.
    """
    pairs = combinations(zip(one, other, strict=True), 2)
    signs = [(_sign(a - b), _sign(c - d)) for (a, c), (b, d) in pairs]
    ordered = [sum(map(abs, column)) for column in zip(*signs, strict=True)]
    if not all(ordered):
        return 0.0 if any(ordered) else 1.0
    return sum(a * b for a, b in signs) / math.sqrt(math.prod(ordered))


def top_overlap(one: Iterable[float], other: Iterable[float], count: int = 10) -> float:
    """Share of the `count` best by one scoring that are among the `count` best by the other."""
    best, others = (
        {place for place, _ in sorted(enumerate(scores), key=lambda item: -item[1])[:count]}
        for scores in (one, other)
    )
    return len(best & others) / len(best)


def _sign(number: float) -> int:
    return int(number > 0) - int(number < 0)


def _scores(scorer: Scorer, query: str) -> list[float]:
    return [score for score in scorer.score(query, TEXTS).scores if score is not None]


@contextmanager
def _no_warning_about_cuts() -> Iterator[None]:
    """Keep this thread's warnings about cut texts out of the log: some here are meant to be cut."""
    thread = threading.get_ident()

    def wanted(record: logging.LogRecord) -> bool:
        of_cuts = record.levelno == logging.WARNING and hasattr(record, "rerank.usage.truncated")
        return not of_cuts or record.thread != thread

    log = logging.getLogger("rerank_core")
    log.addFilter(wanted)
    try:
        yield
    finally:
        log.removeFilter(wanted)
