from __future__ import annotations

import pytest

from benchmarks._texts import cut_texts, make_workload
from rerank_core._local.files import embedded_tokenizer


def _lengths(texts: tuple[str, ...] | list[str]) -> list[int]:
    tokenizer = embedded_tokenizer()
    return [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]


def test_texts_have_the_wanted_lengths() -> None:
    assert _lengths(cut_texts([20, 100, 400], seed=3)) == [20, 100, 400]


@pytest.mark.parametrize(("name", "fewest", "most"), [("mixed", 20, 400), ("short", 20, 100)])
def test_workloads_stay_within_their_lengths(name: str, fewest: int, most: int) -> None:
    lengths = _lengths(make_workload(name, 50).texts)
    assert fewest <= min(lengths) <= max(lengths) <= most


def test_a_number_means_that_length() -> None:
    workload = make_workload("25", 20)
    assert set(_lengths(workload.texts)) == {25}
    assert workload.padded == 1


def test_a_tenth_are_duplicates_and_all_is_reproducible() -> None:
    workload = make_workload("mixed", 50)
    assert (len(workload.texts), len(set(workload.texts))) == (50, 45)
    assert workload == make_workload("mixed", 50)
    assert workload.padded > 1.5
