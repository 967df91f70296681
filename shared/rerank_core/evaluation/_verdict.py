"""What a difference means, in words that promise no more than it shows."""

from __future__ import annotations

from rerank_core.evaluation._report import Verdict
from rerank_core.evaluation._statistics import FEWEST, LEVEL, WORTHWHILE, Difference

__all__ = ["judge"]


def judge(
    found: Difference,
    corrected: float,
    *,
    metric: str,
    queries: int,
    needed: int | None,
    comparisons: int,
    baseline: str | None,
) -> tuple[Verdict, str]:
    """Judge whether one system is better than another.

    A significant difference decides. Without one, an interval within `WORTHWHILE` of zero, from
    at least `FEWEST` queries, shows that there is none to speak of; any other cannot decide.

    Args:
        found: The difference.
        corrected: Its p after correction.
        metric: What was measured.
        queries: On how many queries.
        needed: How many might decide, see `queries_needed`.
        comparisons: For how many comparisons p was corrected.
        baseline: Name of the other system; None for the first stage.

    Returns:
        The verdict and a sentence; see `Comparison`.
    """
    sign = (found.mean > 0) - (found.mean < 0)
    size = f"{abs(found.mean):.4f}" if abs(found.mean) >= 5e-5 else f"{abs(found.mean):.1e}"
    change = f"{metric} {('stays the same', f'is {size} higher', f'is {size} lower')[sign]}"
    verdict: Verdict
    if sign and corrected < LEVEL:
        if baseline is None:
            verdict = "helps" if sign > 0 else "hurts"
            claim = "helps" if sign > 0 else "reranking does not help here, it hurts"
        else:
            verdict = "better" if sign > 0 else "worse"
            claim = f"{verdict} than {baseline}"
        claim = f"{claim}: {change}"
    elif queries >= FEWEST and _negligible(found):
        verdict, claim = (
            ("no gain", "reranking does not help here")
            if baseline is None
            else ("no difference", f"no difference from {baseline}")
        )
        claim += f": {change}, and its interval lies within {WORTHWHILE} of zero"
    else:
        verdict, claim = "cannot tell", "cannot tell"
        if baseline is not None:
            claim += f" whether it is better or worse than {baseline}"
        wanted = "" if needed is None else f", about {needed:,} are needed"
        claim += f": too few queries{wanted}; {change}, which may be chance"
    facts = [f"p = {found.p:.2g}", f"{queries:,} {'query' if queries == 1 else 'queries'}"]
    if found.low is not None:
        facts.insert(0, f"95% interval {found.low:+.4f} to {found.high:+.4f}")
    if comparisons > 1:
        facts.insert(-1, f"{corrected:.2g} after correction for {comparisons} comparisons")
    return verdict, f"{claim} ({', '.join(facts)})"


def _negligible(found: Difference) -> bool:
    return (
        found.low is not None
        and found.high is not None
        and -WORTHWHILE <= found.low <= found.high <= WORTHWHILE
    )
