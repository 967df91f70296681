from __future__ import annotations

import numpy as np
import pytest

from rerank_core import InvalidInputError
from rerank_core.validation import check_finite, check_positive, check_texts, describe


@pytest.mark.parametrize("value", [1, 50, np.int64(3), None])
def test_positive_numbers_and_none_pass(value: int | None) -> None:
    checked = check_positive(value, "top_n")
    assert checked == value
    assert checked is None or type(checked) is int


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3", float("nan"), [1]])
def test_anything_else_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"top_n must be .* at least 1, not"):
        check_positive(value, "top_n")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -2.5, np.float32(0.5), np.int64(3), None])
def test_finite_numbers_pass_as_plain_floats(value: float | None) -> None:
    checked = check_finite(value, "min_score")
    assert checked == value
    assert checked is None or type(checked) is float


@pytest.mark.parametrize("value", [10**400, "0.5", True, float("nan"), float("inf"), [], object()])
def test_what_is_no_finite_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInputError, match="min_score must be a finite number"):
        check_finite(value, "min_score")  # type: ignore[arg-type]


def test_a_single_string_is_no_list_of_texts() -> None:
    for wrong in ("text", b"text", 5, None):
        with pytest.raises(InvalidInputError, match="candidates must be a list of str"):
            check_texts(wrong, "candidates")  # type: ignore[arg-type]


def test_descriptions_stay_short() -> None:
    assert describe("a" * 1000) == "'" + "a" * 56 + "... (str)"
    assert describe(-1) == "-1 (int)"
