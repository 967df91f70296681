from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import ConfigurationError, Scale
from rerank_core._local.graph import apply_activation, to_logits
from rerank_core._local.settings import check_activation, configured_activation, scale_of


@pytest.mark.parametrize(
    ("settings", "activation"),
    [
        ({}, "sigmoid"),
        ({"activation": "gelu"}, "sigmoid"),
        (
            {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
            "identity",
        ),
        ({"sentence_transformers": {"version": "5.0"}}, "sigmoid"),
        ({"activation_fn": "torch.nn.modules.activation.Sigmoid"}, "sigmoid"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "identity"),
    ],
)
def test_the_activation_comes_from_the_configuration(
    settings: dict[str, object], activation: str
) -> None:
    assert configured_activation(settings) == activation


def test_an_unknown_activation_asks_for_the_argument() -> None:
    with pytest.raises(ConfigurationError, match="activation='identity'"):
        configured_activation({"activation_fn": "torch.nn.Tanh"})


def test_the_argument_is_checked() -> None:
    for good in (None, "identity", "sigmoid"):
        check_activation(good)
    with pytest.raises(ConfigurationError, match="'softmax'"):
        check_activation("softmax")


def test_scales() -> None:
    assert scale_of("identity") is Scale.LOGIT
    assert scale_of("sigmoid") is Scale.UNIT


def test_heads_of_one_and_two_labels() -> None:
    assert to_logits(np.array([1.0, 2.0]), "m", 2).tolist() == [1.0, 2.0]
    assert to_logits(np.array([[1.0], [2.0]]), "m", 2).tolist() == [1.0, 2.0]
    two = np.array([[1.0, 3.0], [2.0, -1.0]])
    logits = to_logits(two, "m", 2)
    softmax = np.exp(two)[:, 1] / np.exp(two).sum(axis=1)
    assert apply_activation("sigmoid", logits.tolist()) == pytest.approx(softmax.tolist())


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 1), (2, 0)])
def test_a_head_that_says_no_relevance_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="'nli-model' is no reranker"):
        to_logits(np.zeros(shape), "nli-model", shape[0])


@given(st.lists(st.floats(-30, 30), min_size=2))
def test_sigmoid_keeps_the_order(logits: list[float]) -> None:
    scores = apply_activation("sigmoid", logits)
    assert all(0 < score < 1 for score in scores)
    for i, j in zip(range(len(logits)), range(1, len(logits)), strict=False):
        if logits[i] > logits[j]:
            assert scores[i] >= scores[j]
    assert apply_activation("identity", logits) == logits


def test_extreme_logits_do_not_overflow_and_nan_passes_on() -> None:
    assert apply_activation("sigmoid", [-1e4, 1e4]) == [0.0, 1.0]
    assert math.isnan(apply_activation("sigmoid", [float("nan")])[0])
