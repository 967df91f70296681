from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rerank_core import OnnxCrossEncoder, Scale, Scorer, Scoring, TorchCrossEncoder
from rerank_core._types import Progress
from rerank_core.export import ExportError, Verification
from rerank_core.export._verify import (
    QUERIES,
    TEXTS,
    compare,
    judge,
    kendall_tau,
    top_overlap,
)
from support.models import TinyModel


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def test_kendall_tau_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    chance = np.random.default_rng(0)
    for levels in (3, 10, 1000):
        one, other = chance.integers(0, levels, (2, 50)).astype(float)
        assert kendall_tau(one, other) == pytest.approx(stats.kendalltau(one, other).statistic)


def test_kendall_tau_at_its_ends() -> None:
    assert kendall_tau(array(1, 2, 3), array(10, 20, 30)) == pytest.approx(1)
    assert kendall_tau(array(1, 2, 3), array(3, 2, 1)) == pytest.approx(-1)
    assert kendall_tau(array(1, 1, 1), array(2, 2, 2)) == 1
    assert kendall_tau(array(1, 1, 1), array(1, 2, 3)) == 0


def test_top_overlap_counts_the_best() -> None:
    one = np.arange(20.0)
    assert top_overlap(one, one * 3) == 1
    assert top_overlap(one, -one) == 0
    assert top_overlap(one, np.roll(one, 2)) == 0.8
    assert top_overlap(array(1, 2), array(2, 1)) == 1


def test_the_texts_are_many_and_scorable() -> None:
    assert len(set(TEXTS)) == len(TEXTS) >= 60
    assert all(text.strip() for text in (*TEXTS, *QUERIES))
    assert max(len(text.split()) for text in TEXTS) > 512


def test_another_models_graph_is_found_out(tiny: Callable[..., TinyModel]) -> None:
    original = TorchCrossEncoder(str(tiny("bert").torch), device="cpu", activation="identity")
    other = OnnxCrossEncoder(tiny("roberta").onnx, activation="identity")
    found = compare(original, other, max_length=64)
    assert found.pairs == len(QUERIES) * len(TEXTS)
    assert found.max_difference > 0.1
    assert found.kendall_tau < 0.9
    with pytest.raises(ExportError, match="does not give the model's scores"):
        judge(found, "fp32")
    (warning,) = judge(found, "int8")
    assert "Kendall tau" in warning


def test_the_same_model_passes(tiny: Callable[..., TinyModel]) -> None:
    original = TorchCrossEncoder(str(tiny().torch), device="cpu", activation="identity")
    found = compare(original, OnnxCrossEncoder(tiny().onnx, activation="identity"), max_length=64)
    assert found.max_difference < 1e-4
    assert found.kendall_tau > 0.99  # equal scores of two texts round differently on each CPU
    assert judge(found, "fp32") == ()


class InAnotherThread(Scorer):
    """Lets another thread score with a scorer of its own."""

    name = fingerprint = "in another thread"
    scale = Scale.LOGIT

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self.scorer.score, query, texts).result()


def test_only_the_comparison_itself_keeps_quiet_about_long_texts(
    tiny: Callable[..., TinyModel], caplog: pytest.LogCaptureFixture
) -> None:
    def scorer() -> OnnxCrossEncoder:
        return OnnxCrossEncoder(tiny().onnx, activation="identity")

    compare(scorer(), scorer(), max_length=64)
    assert caplog.messages == []
    compare(InAnotherThread(scorer()), scorer(), max_length=64)
    assert ["read only the beginning" in message for message in caplog.messages] == [True]
    caplog.clear()
    scorer().score(QUERIES[0], TEXTS)
    assert ["read only the beginning" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize(("difference", "passes"), [(0.00099, True), (0.0011, False)])
def test_a_thousandth_is_the_limit(difference: float, passes: bool) -> None:
    found = Verification(pairs=1, max_difference=difference, kendall_tau=1, top10_overlap=1)
    if passes:
        assert judge(found, "fp32") == ()
    else:
        with pytest.raises(ExportError, match=r"0\.0011"):
            judge(found, "fp32")
    assert judge(found, "int8") == ()
