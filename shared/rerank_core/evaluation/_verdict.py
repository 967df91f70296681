"""What a difference means, in words that promise no more than it shows."""

from __future__ import annotations

from rerank_core.evaluation._statistics import Difference

__all__ = ["LEVEL", "verdict"]

LEVEL = 0.05
"""A corrected p below this is called significant."""


def verdict(
    found: Difference,
    corrected: float,
    *,
    metric: str,
    queries: int,
    comparisons: int,
    baseline: str | None,
) -> tuple[str, str]:
    """Say whether one system is better than another.

    Args:
        found: The difference.
        corrected: Its p after correction.
        metric: What was measured.
        queries: On how many queries.
        comparisons: For how many comparisons p was corrected.
        baseline: Name of the other system; None for the first stage.

    Returns:
        The verdict and a sentence; see `Comparison`.
    """
    facts = f"p = {found.p:.2g}"
    if comparisons > 1:
        facts += f", {corrected:.2g} after correction for {comparisons} comparisons"
    if found.low is not None:
        facts = f"95% interval {found.low:+.4f} to {found.high:+.4f}, {facts}"
    word, claim = _claim(found.mean, corrected < LEVEL, metric, baseline)
    return word, f"{claim} ({facts}, {queries} queries)"


def _claim(mean: float, significant: bool, metric: str, baseline: str | None) -> tuple[str, str]:
    size = f"{abs(mean):.4f}" if abs(mean) >= 5e-5 else f"{abs(mean):.1e}"
    sign = (mean > 0) - (mean < 0)
    change = f"{metric} {('stays the same', f'is {size} higher', f'is {size} lower')[sign]}"
    key = sign, significant and sign != 0
    if baseline is None:
        word, claim = _AGAINST_FIRST[key]
    else:
        word = {(1, True): "better", (-1, True): "worse"}.get(key, "no difference shown")
        claim = f"{word} than {baseline}" if key[1] else f"no difference from {baseline} shown"
        claim += ": {}"
    return word, claim.replace("{}", change)


_AGAINST_FIRST = {
    (1, True): ("helps", "helps: {}"),
    (1, False): (
        "not proven",
        "reranking does not help here as far as these queries can show: {}, but that may be luck",
    ),
    (0, False): ("no gain", "reranking does not help here: {}"),
    (-1, False): ("no gain", "reranking does not help here: {}, though that may be luck"),
    (-1, True): ("hurts", "reranking does not help here, it hurts: {}"),
}
