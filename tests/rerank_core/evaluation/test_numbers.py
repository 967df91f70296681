"""Metrics, statistics and verdicts against values worked out by hand."""

from __future__ import annotations

import sys
from itertools import product
from math import log2

import numpy as np
import pytest

from rerank_core import ConfigurationError, MissingExtraError
from rerank_core.evaluation._metrics import check_metrics, measure
from rerank_core.evaluation._statistics import Difference, difference, holm
from rerank_core.evaluation._verdict import verdict

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


def test_other_names_of_a_metric_mean_the_same() -> None:
    assert check_metrics(["MRR@10", "RR@10", "MAP"]) == ("RR@10", "AP")


@pytest.mark.parametrize("name", ["quality@3", "nDCG@", "", "nDCG(x=1)@10", "__import__('os')"])
def test_an_unknown_metric_lists_what_works(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is unknown; what works: 'nDCG@10'"):
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


@pytest.mark.parametrize(
    ("mean", "p", "word", "claim"),
    [
        (0.02, 0.01, "helps", "helps: AP is 0.0200 higher"),
        (0.02, 0.2, "not proven", "reranking does not help here as far as these queries can show"),
        (0.0, 1.0, "no gain", "reranking does not help here: AP stays the same"),
        (-0.02, 0.2, "no gain", "reranking does not help here: AP is 0.0200 lower, though"),
        (-0.02, 0.01, "hurts", "reranking does not help here, it hurts: AP is 0.0200 lower"),
        (-1e-6, 0.9, "no gain", "reranking does not help here: AP is 1.0e-06 lower"),
    ],
)
def test_verdicts_on_the_first_stage(mean: float, p: float, word: str, claim: str) -> None:
    found = Difference(mean, -0.1, 0.1, p)
    said, sentence = verdict(found, p, metric="AP", queries=9, comparisons=2, baseline=None)
    assert said == word
    assert sentence.startswith(claim)
    assert "95% interval -0.1000 to +0.1000" in sentence
    assert sentence.endswith("after correction for 2 comparisons, 9 queries)")


@pytest.mark.parametrize(
    ("mean", "p", "word"),
    [(0.1, 0.01, "better"), (-0.1, 0.01, "worse"), (0.1, 0.5, "no difference shown")],
)
def test_verdicts_between_systems(mean: float, p: float, word: str) -> None:
    found = Difference(mean, None, None, p)
    said, sentence = verdict(found, p, metric="AP", queries=1, comparisons=1, baseline="other")
    assert said == word
    assert "other" in sentence
    assert "interval" not in sentence
