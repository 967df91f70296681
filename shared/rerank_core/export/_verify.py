"""Comparing an export with the original model on built-in queries and texts."""

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

from rerank_core._errors import RerankError
from rerank_core._local.files import Precision
from rerank_core._scorer import Scorer

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

_MAX_DIFFERENCE = 1e-3  # between two logits, for fp32
_MIN_TAU = 0.9


# They include texts in several scripts, code, single characters and very long texts.
_BUILT_IN = json.loads(Path(__file__).with_name("_texts.json").read_text(encoding="utf-8"))
_SENTENCES: list[str] = _BUILT_IN["sentences"]
QUERIES: list[str] = _BUILT_IN["queries"]
TEXTS: list[str] = [
    *_SENTENCES,
    *_BUILT_IN["odd"],
    " ".join(_SENTENCES[:8]),
    " ".join(_SENTENCES[10:25]),
    " ".join(_SENTENCES),
    # Longer than the maximum length of most models.
    " ".join((*_SENTENCES[::-1], *_SENTENCES[::2])),
]


class ExportError(RerankError):
    """Error for a model that cannot be traced, or whose export does not give the same scores.

    Example:
        ```python
        # needs network: a model from the hub
        from rerank_core.export import ExportError, export_model

        try:
            export_model("cross-encoder/ms-marco-MiniLM-L6-v2", "minilm")
        except ExportError as error:
            print(error)
        ```
    """


@dataclass(frozen=True, slots=True)
class Verification:
    """Comparison of an export with the original model on built-in queries and texts.

    It is kept in the ``rerank_config.json`` of the exported folder.

    Attributes:
        pairs: Number of pairs scored by both models.
        max_difference: Largest absolute difference between two logits.
        kendall_tau: Kendall's tau-b of the two orders, from -1 to 1, averaged over the queries.
        top10_overlap: Fraction of the original's top 10 that is in the export's top 10, from 0 to
            1, averaged over the queries.

    Example:
        ```python
        import json
        from importlib.resources import files

        from rerank_core.export import Verification

        # The embedded model is an exported folder, too.
        folder = files("rerank_core") / "models" / "nano"
        settings = json.loads((folder / "rerank_config.json").read_text(encoding="utf-8"))
        verification = Verification(**settings["verification"])
        print(f"{verification.kendall_tau:.2f}")
        ```

        ```text
        0.94
        ```
    """

    pairs: int
    max_difference: float
    kendall_tau: float
    top10_overlap: float


def compare(original: Scorer, exported: Scorer, max_length: int) -> Verification:
    """Compare two scorers on the built-in queries and texts.

    Args:
        original: Scorer that returns the logits of the original model.
        exported: Scorer that returns the logits of the export.
        max_length: Maximum number of tokens in a pair. Queries are shortened if it is small.

    Returns:
        The comparison.

    Raises:
        ScorerError: If a scorer fails, or returns NaN or infinity.
    """
    # Leave room for the text: a character of these queries is at most one token.
    queries = [query[: max(1, max_length // 3)].strip() for query in QUERIES]
    with _without_truncation_warning():
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
    """Check that an export is close enough to the original model.

    Args:
        found: The comparison of both.
        precision: Precision of the export.

    Returns:
        Sentences that warn of a different order.

    Raises:
        ExportError: If the precision is fp32 and a logit differs by more than 0.001.
    """
    if precision == "fp32" and found.max_difference > _MAX_DIFFERENCE:
        raise ExportError(
            f"the exported graph does not give the model's scores: logits differ by up to "
            f"{found.max_difference:.2g}, more than the {_MAX_DIFFERENCE:g} allowed for fp32; "
            "nothing was written"
        )
    if found.kendall_tau < _MIN_TAU:
        warning = (
            f"the order differs from the original's (Kendall tau {found.kendall_tau:.2f}, below "
            f"{_MIN_TAU}): evaluate both on your own data, or export with precision fp32"
        )
        return (warning,)
    return ()


def kendall_tau(one: Iterable[float], other: Iterable[float]) -> float:
    """Return Kendall's tau-b of two scorings: https://doi.org/10.1093/biomet/33.3.239.

    Args:
        one: Scores of some texts.
        other: Other scores of the same texts.

    Returns:
        A number from -1 to 1. If all scores of a scoring are equal: 1 if those of the other one
        are equal, too, else 0.
    """
    pairs = combinations(zip(one, other, strict=True), 2)
    signs = [(_sign(a - b), _sign(c - d)) for (a, c), (b, d) in pairs]
    ordered = [sum(map(abs, column)) for column in zip(*signs, strict=True)]
    if not all(ordered):
        return 0.0 if any(ordered) else 1.0
    return sum(a * b for a, b in signs) / math.sqrt(math.prod(ordered))


def top_overlap(one: Iterable[float], other: Iterable[float], count: int = 10) -> float:
    """Return the fraction of the top `count` of one scoring that is in the top `count` of another.

    Args:
        one: Scores of some texts.
        other: Other scores of the same texts.
        count: Number of texts at the top.
    """
    best, others = (
        {index for index, _ in sorted(enumerate(scores), key=lambda item: -item[1])[:count]}
        for scores in (one, other)
    )
    return len(best & others) / len(best)


def _sign(number: float) -> int:
    return int(number > 0) - int(number < 0)


def _scores(scorer: Scorer, query: str) -> list[float]:
    return [score for score in scorer.score(query, TEXTS).scores if score is not None]


@contextmanager
def _without_truncation_warning() -> Iterator[None]:
    """Suppress this thread's warnings about truncated texts: some built-in texts are too long."""
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        truncation = record.levelno == logging.WARNING and hasattr(record, "rerank.usage.truncated")
        return not truncation or record.thread != thread

    logger = logging.getLogger("rerank_core")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
