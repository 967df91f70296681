"""Metrics, statistics and verdicts against values worked out by hand."""

from __future__ import annotations

import sys
from itertools import product
from math import ceil, log2

import numpy as np
import pytest

from rerank_core import ConfigurationError, InvalidInputError, MissingExtraError
from rerank_core.evaluation._compare import judge
from rerank_core.evaluation._metrics import check_metrics, measure
from rerank_core.evaluation._statistics import Difference, difference, holm, queries_needed

JUDGED = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"z": 1}, "q3": {"y": 1}}
ORDERS = {"q1": ["c", "b", "a"], "q2": ["x", "y"], "q3": []}


def test_metrics_agree_with_their_formulas() -> None:
    names = check_metrics(["nDCG@10", "RR@10", "RR(rel=2)@10", "R@2", "AP"])
    found = measure(names, JUDGED, ORDERS)
    gain = (1 / log2(3) + 2 / log2(4)) / (2 / log2(2) + 1 / log2(3))
    assert found["nDCG@10"] == pytest.approx({"q1": gain, "q2": 0, "q3": 0})
    assert found["RR@10"]["q1"] == pytest.approx(1 / 2)
    assert found["RR(rel=2)@10"]["q1"] == pytest.approx(1 / 3)
    assert found["R@2"]["q1"] == pytest.approx(1 / 2)
    assert found["AP"]["q1"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_long_order_keeps_its_places() -> None:
    order = [f"d{i}" for i in range(500)]
    found = measure(["RR"], {"q": {"d321": 1}}, {"q": order})
    assert found["RR"]["q"] == pytest.approx(1 / 322)


@pytest.mark.parametrize("name", ["\ud800", "a\0b", " ", "a\tb", "x" * 100_000, "é"])
def test_ids_may_be_anything(name: str) -> None:
    judged = {name: {"d1": 0, name: 1}, "q": {name: 1}}
    found = measure(["RR"], judged, {name: ["d1", name], "q": []})
    assert found == {"RR": {name: 0.5, "q": 0.0}}


def test_a_grade_too_high_to_count_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a grade of query 'q' is 2000000000"):
        measure(["nDCG@10"], {"q": {"a": 2_000_000_000}}, {"q": ["a"]})


def test_other_names_of_a_metric_mean_the_same() -> None:
    assert check_metrics(["MRR@10", "RR@10", "MAP"]) == ("RR@10", "AP")


@pytest.mark.parametrize("name", ["quality@3", "nDCG@", "", "nDCG(x=1)@10", "__import__('os')"])
def test_an_unknown_metric_lists_what_works(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is unknown; use 'nDCG@10'"):
        check_metrics([name])


def test_no_metric_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        check_metrics([])


def test_without_the_extra_the_install_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[eval\]"'):
        check_metrics(["AP"])
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[eval\]"'):
        difference([np.ones(3)], resamples=100, seed=0)


def test_with_few_queries_all_flips_are_tried() -> None:
    values = np.array([0.3, 0.1, -0.05, 0.2, 0.4, 0.15])
    sums = [abs(np.dot(signs, values)) for signs in product([-1, 1], repeat=6)]
    exact = np.mean([flipped >= abs(values.sum()) - 1e-12 for flipped in sums])
    found = difference([values], resamples=10_000, seed=0)
    assert found.p == pytest.approx(exact)
    assert found.mean == pytest.approx(values.mean())


def test_the_interval_is_that_of_resampled_means() -> None:
    values = np.random.default_rng(1).normal(0.05, 0.2, 200)
    found = difference([values], resamples=10_000, seed=0)
    error = values.std() / np.sqrt(200)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    assert found == difference([values], resamples=10_000, seed=0)
    assert found != difference([values], resamples=10_000, seed=1)


def test_each_collection_counts_alike() -> None:
    small, large = np.array([0.4, 0.5, 0.6]), np.linspace(-0.01, 0.01, 300)
    found = difference([small, large], resamples=2000, seed=0)
    assert found.mean == pytest.approx(0.25)
    assert found.low is not None
    assert found.high is not None
    assert 0.2 <= found.low <= 0.25 <= found.high <= 0.3
    # The three flips come out alike in one case of four; in half of those the rest adds to them.
    assert found.p == pytest.approx(0.125, abs=0.03)


def test_nothing_different_is_nothing() -> None:
    assert difference([np.zeros(20)], resamples=500, seed=0) == Difference(0, 0, 0, 1)
    one = difference([np.array([0.5])], resamples=500, seed=0)
    assert one == Difference(0.5, None, None, 1)


def test_holm_corrects_stepwise() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_the_queries_needed_follow_the_formula() -> None:
    differences = np.tile([0.3, -0.2], 20)  # mean 0.05
    needed = queries_needed([differences], comparisons=1)
    exact = ((1.95996 + 0.84162) * differences.std(ddof=1) / 0.05) ** 2  # 201.2
    assert needed == 210 == 10 * ceil(exact / 10)
    # More comparisons are tested at a stricter level.
    assert queries_needed([differences], comparisons=10) == 350


def test_a_small_difference_is_worth_no_more_queries_than_one_of_a_hundredth() -> None:
    small, none = np.tile([0.101, -0.099], 20), np.tile([0.1, -0.1], 20)
    needed = queries_needed([none], comparisons=1)
    assert needed == 810  # (2.8016 * 0.1013 / 0.01) ** 2 = 805
    assert queries_needed([small], comparisons=1) == needed


@pytest.mark.parametrize(
    ("differences", "needed"),
    [
        ([0.0, 0.0, 0.0], 30),  # no fewer than the 25 of a good experiment
        ([0.5, 0.5, 0.5], 30),
        ([0.5] * 200, 210),  # more than there are
        (list(np.tile([1.0, -1.0], 600)), 79_000),
    ],
)
def test_the_queries_needed_are_rounded(differences: list[float], needed: int) -> None:
    assert queries_needed([np.array(differences)], comparisons=1) == needed


def test_the_queries_needed_of_several_collections_keep_their_shares() -> None:
    one = np.tile([0.3, -0.2], 200)
    # Twice the queries give the mean of two alike collections the same error as one of both.
    assert queries_needed([one, one], comparisons=1) == queries_needed(
        [np.concatenate([one, one])], comparisons=1
    )
    assert queries_needed([one, np.array([0.5])], comparisons=1) is None


@pytest.mark.parametrize(
    ("mean", "interval", "p", "queries", "verdict", "claim"),
    [
        (0.02, (0.01, 0.03), 0.01, 9, "helps", "helps: AP is 0.0200 higher ("),
        (0.005, (0.001, 0.009), 0.01, 900, "helps", "helps: AP is 0.0050 higher ("),
        (
            -0.02, (-0.03, -0.01), 0.01, 9, "hurts",
            "reranking does not help here, it hurts: AP is 0.0200 lower (",
        ),
        (
            0.0, (-0.0, 0.0), 1.0, 25, "no gain",
            "reranking does not help here: AP stays the same, and its interval lies within 0.01",
        ),
        (
            -1e-6, (-0.01, 0.01), 0.9, 25, "no gain",
            "reranking does not help here: AP is 1.0e-06 lower, and its interval lies",
        ),
        (
            0.02, (-0.1, 0.1), 0.2, 9, "cannot tell",
            "cannot tell: too few queries, about 1,400 are needed; AP is 0.0200 higher,",
        ),
        (
            -0.002, (-0.011, 0.009), 0.9, 99, "cannot tell",
            "cannot tell: too few queries, about 1,400 are needed; AP is 0.0020 lower,",
        ),
        (0.0, (0.0, 0.0), 1.0, 24, "cannot tell", "cannot tell: too few queries, about"),
    ],
)  # fmt: skip
def test_verdicts_on_the_first_stage(
    mean: float, interval: tuple[float, float], p: float, queries: int, verdict: str, claim: str
) -> None:
    found = Difference(mean, *interval, p)
    said, sentence = judge(
        found, p, metric="AP", queries=queries, needed=1400, comparisons=2, baseline=None
    )
    assert said == verdict
    assert sentence.startswith(claim)
    assert f"95% interval {interval[0]:+.4f} to {interval[1]:+.4f}" in sentence
    assert sentence.endswith(f"after correction for 2 comparisons, {queries} queries)")


@pytest.mark.parametrize(
    ("mean", "interval", "p", "verdict", "claim"),
    [
        (0.1, (0.05, 0.15), 0.01, "better", "better than other: AP is"),
        (-0.1, (-0.15, -0.05), 0.01, "worse", "worse than other: AP is"),
        (0.0, (-0.005, 0.005), 1.0, "no difference", "no difference from other: AP stays"),
        (
            0.1, (-0.1, 0.3), 0.5, "cannot tell",
            "cannot tell whether it is better or worse than other: too few queries, about 400",
        ),
    ],
)  # fmt: skip
def test_verdicts_between_systems(
    mean: float, interval: tuple[float, float], p: float, verdict: str, claim: str
) -> None:
    found = Difference(mean, *interval, p)
    said, sentence = judge(
        found, p, metric="AP", queries=50, needed=400, comparisons=1, baseline="other"
    )
    assert said == verdict
    assert sentence.startswith(claim)


def test_one_query_tells_nothing() -> None:
    found = Difference(0.5, None, None, 1.0)
    said, sentence = judge(
        found, 1.0, metric="AP", queries=1, needed=None, comparisons=1, baseline=None
    )
    assert said == "cannot tell"
    assert sentence == (
        "cannot tell: too few queries; AP is 0.5000 higher, which may be chance (p = 1, 1 query)"
    )
