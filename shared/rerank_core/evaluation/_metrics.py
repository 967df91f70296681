"""Metrics, computed by ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core._errors import ConfigurationError, InvalidInputError, MissingExtraError
from rerank_core.evaluation._collection import MOST_GRADE, Judgements

__all__ = ["DEFAULT_METRICS", "Orders", "Values", "check_metrics", "measure"]

DEFAULT_METRICS = ("nDCG@10", "RR@10", "R@10", "AP")
"""Metrics that `evaluate` measures by default; comparisons are by the first."""

Orders = Mapping[str, Sequence[str]]
"""Document ids by query id, best first."""
Values = dict[str, dict[str, float]]
"""Value of each metric for each query."""


def check_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of metrics as ir-measures spells them.

    Args:
        names: Names of measures, see `evaluate`.

    Raises:
        ConfigurationError: If a name is unknown, or there are none.
        MissingExtraError: If ir-measures is not installed.
    """
    parsed = [_parse(name) for name in names]
    if not parsed:
        raise ConfigurationError("metrics must have at least one name, such as 'nDCG@10'")
    return tuple(dict.fromkeys(map(str, parsed)))


def measure(metrics: Sequence[str], judgements: Judgements, orders: Orders) -> Values:
    """Measure orders of documents.

    Args:
        metrics: Names as `check_metrics` returns them.
        judgements: Judgements of all queries in `orders`, at least.
        orders: Orders to measure; the values of a query without documents are 0.

    Returns:
        Value of each metric for each query of `orders`.

    Raises:
        InvalidInputError: If a grade is above 1,000,000.
    """
    import ir_measures

    measures = {str(parsed): parsed for parsed in map(_parse, metrics)}
    queries = {str(number): query for number, query in enumerate(orders)}
    run: dict[str, dict[str, float]] = {}
    judged: dict[str, dict[str, int]] = {}
    for key, query in queries.items():
        order, grades = orders[query], judgements[query]
        if wrong := next((grade for grade in grades.values() if abs(grade) > MOST_GRADE), None):
            raise InvalidInputError(f"a grade of query {query!r} is {wrong}: above {MOST_GRADE:,}")
        # Ids of our own: some of a user's would end the process in compiled code. Scores that
        # fall with each position leave no ties to break.
        names = {
            document: str(number)
            for number, document in enumerate(dict.fromkeys([*order, *grades]))
        }
        judged[key] = {names[document]: grade for document, grade in grades.items()}
        if order:
            run[key] = {names[document]: float(-place) for place, document in enumerate(order)}
    values: Values = {name: dict.fromkeys(orders, 0.0) for name in measures}
    for found in ir_measures.iter_calc(list(measures.values()), judged, run):
        values[str(found.measure)][queries[found.query_id]] = float(found.value)
    return values


def _parse(name: str) -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise MissingExtraError("eval", "Evaluation") from error
    try:
        parsed = ir_measures.parse_measure(name)
        pipeline: Any = ir_measures.DefaultPipeline
        supported = pipeline.supports(parsed)
    except (NameError, ValueError, TypeError, AssertionError) as error:
        raise _unknown(name) from error
    if not supported:
        raise _unknown(name)
    return parsed


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"metric {name!r} is unknown; use 'nDCG@10', 'RR@10', 'R@50', 'AP', 'RR(rel=2)@10' or "
        "another measure of https://ir-measur.es"
    )
