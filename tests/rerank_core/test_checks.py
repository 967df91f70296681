from __future__ import annotations

import numpy as np
import pytest

from rerank_core import ConfigurationError, InvalidInputError
from rerank_core._checks import (
    check_choice,
    check_name,
    check_number,
    check_texts,
    check_whole,
    describe,
    optional,
    refuse_unknown,
    suggest,
)
from support.odd import Unprintable, nested


@pytest.mark.parametrize("value", [1, 50, np.int64(3), None])
def test_whole_numbers_and_none_pass(value: int | None) -> None:
    checked = optional(check_whole, value, "top_n")
    assert checked == value
    assert checked is None or type(checked) is int


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3", float("nan"), [1]])
def test_anything_else_is_refused_by_name(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"top_n must be .* at least 1, not"):
        check_whole(value, "top_n")
    with pytest.raises(InvalidInputError, match="top_n"):
        optional(check_whole, value, "top_n", error=InvalidInputError)


def test_none_is_no_whole_number_where_one_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="keep must be a whole number"):
        check_whole(None, "keep")
    assert check_whole(0, "retries", least=0) == 0


@pytest.mark.parametrize("value", [0, -2.5, np.float32(0.5), np.int64(3), None])
def test_finite_numbers_pass_as_plain_floats(value: float | None) -> None:
    checked = optional(check_number, value, "min_score")
    assert checked == value
    assert checked is None or type(checked) is float


@pytest.mark.parametrize("value", [10**400, "0.5", True, float("nan"), float("inf"), [], object()])
def test_what_is_no_finite_number_is_refused_by_name(value: object) -> None:
    with pytest.raises(ConfigurationError, match="min_score must be a finite number"):
        check_number(value, "min_score")


@pytest.mark.parametrize(
    ("bounds", "value", "message"),
    [
        ({"above": 0}, 0, "x must be a finite number above 0, not 0"),
        ({"least": 0}, -1, "x must be a finite number of at least 0, not -1"),
        ({"least": 0, "most": 1}, 1.5, "x must be a number from 0 to 1, not 1.5"),
    ],
)
def test_numbers_keep_to_their_bounds(bounds: dict[str, float], value: float, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_number(value, "x", **bounds)  # type: ignore[arg-type]
    assert check_number(0.5, "x", **bounds) == 0.5  # type: ignore[arg-type]


def test_a_choice_is_one_of_several() -> None:
    assert check_choice("max", "aggregate", ("max", "mean")) == "max"
    with pytest.raises(ConfigurationError, match=r"'max' or 'mean', not .*mean'"):
        check_choice("maen", "aggregate", ("max", "mean"))


@pytest.mark.parametrize("value", ["", "  ", None, 5])
def test_a_name_is_not_blank(value: object) -> None:
    with pytest.raises(ConfigurationError, match="model must be a name such as 'nano'"):
        check_name(value, "model", "nano")
    assert check_name(" nano ", "model", "nano") == "nano"


def test_guesses_get_an_answer() -> None:
    assert suggest("nanoo", ["nano", "other"]) == "; did you mean 'nano'?"
    assert suggest("zzz", ["nano"]) == ""
    with pytest.raises(InvalidInputError, match="'top_k'; did you mean top_n"):
        refuse_unknown(["top_k"], ["top_n", "depth"])
    with pytest.raises(InvalidInputError, match=r"'top_k'$"):  # no such argument here
        refuse_unknown(["top_k"], ["scorer"])
    refuse_unknown([], ["scorer"])


def test_a_single_string_is_no_list_of_texts() -> None:
    for wrong in ("text", b"text", 5, None):
        with pytest.raises(InvalidInputError, match="candidates must be a list of str"):
            check_texts(wrong, "candidates")  # type: ignore[arg-type]


def test_descriptions_stay_short() -> None:
    assert describe("a" * 1000) == "'" + "a" * 56 + "..."
    assert describe(-1) == "-1"
    assert describe(np.float32(0.5)).endswith("(float32)")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("x" * 1_000_000, "'" + "x" * 56 + "..."),
        (nested(100_000, list), "<list object at "),
        (Unprintable(), "<support.odd.Unprintable object at "),
    ],
    ids=["long", "deep", "unprintable"],
)
def test_any_value_can_be_described(value: object, shown: str) -> None:
    assert describe(value).startswith(shown)
    assert len(describe(value)) < 90
