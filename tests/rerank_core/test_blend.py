from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import Blend, ConfigurationError, InvalidInputError, Scale
from rerank_core._blend import Method

METHODS: list[Method] = ["rrf", "minmax", "zscore"]
finite = st.floats(allow_nan=False, allow_infinity=False)


def test_rrf_is_the_published_formula() -> None:
    blended = Blend("rrf", weight=0.5).apply([0.1, 0.9, 0.5], [None] * 3)
    expected = [0.5 / 63 + 0.5 / 61, 0.5 / 61 + 0.5 / 62, 0.5 / 62 + 0.5 / 63]
    assert blended == pytest.approx(expected)
    assert Blend("rrf", weight=0, k=1).apply([0.1, 0.9], [None] * 2) == [1 / 3, 1 / 2]


def test_rrf_gives_equal_scores_equal_ranks() -> None:
    assert Blend("rrf", weight=0).apply([1.0, 2.0, 1.0], [None] * 3) == [1 / 62, 1 / 61, 1 / 62]


def test_minmax_and_zscore_by_hand() -> None:
    assert Blend("minmax", weight=0.25).apply([0.0, 10.0, 5.0], [3.0, 1.0, 2.0]) == pytest.approx(
        [0.25, 0.75, 0.5]
    )
    blended = Blend("zscore", weight=0.25).apply([-4.0, 4.0], [7.0, 5.0])
    assert blended == pytest.approx([-0.5, 0.5])


def test_equal_values_say_nothing() -> None:
    for method in ("minmax", "zscore"):
        assert Blend(method, 0.5).apply([1.0, 3.0], [0.1, 0.1]) == pytest.approx(
            Blend(method, 0.5).apply([1.0, 3.0], [0.7, 0.7])
        )


@given(st.sampled_from(METHODS), st.lists(st.tuples(st.none() | finite, finite)), st.floats(0, 1))
def test_any_finite_input_blends_to_finite_scores(
    method: Method, pairs: list[tuple[float | None, float]], weight: float
) -> None:
    scores = [score for score, _ in pairs]
    blended = Blend(method, weight).apply(scores, [prior for _, prior in pairs])
    assert [score is None for score in blended] == [score is None for score in scores]
    assert all(score is None or math.isfinite(score) for score in blended)
    if Blend(method).scale is Scale.UNIT:
        assert all(score is None or 0 <= score <= 1 for score in blended)


@given(
    st.sampled_from(METHODS),
    st.lists(st.integers(-1000, 1000), min_size=1),
    st.sampled_from([0.0, 1.0]),
)
def test_the_whole_weight_keeps_one_order(method: Method, values: list[int], weight: float) -> None:
    others = [float(-i) for i in range(len(values))]
    mine = [float(value) for value in values]
    blended = Blend(method, weight).apply(mine, others)
    wanted = mine if weight == 0 else others
    for i in range(len(values)):
        for j in range(len(values)):
            if wanted[i] > wanted[j]:
                assert blended[i] > blended[j]  # type: ignore[operator]


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), True, "0.5", None])
def test_weights_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(ConfigurationError, match="weight"):
        Blend("rrf", weight)


@pytest.mark.parametrize("k", [0, -1, float("inf"), float("nan"), None])
def test_k_must_be_positive(k: float) -> None:
    with pytest.raises(ConfigurationError, match="k must"):
        Blend("rrf", k=k)


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'rrf', 'minmax', 'zscore'"):
        Blend("sum")  # type: ignore[arg-type]


def test_a_missing_prior_is_named_where_it_is_needed() -> None:
    Blend("rrf").check([None])
    with pytest.raises(InvalidInputError, match=r"prior\[1\] is missing.*rrf"):
        Blend("minmax").check([1.0, None])
