from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rerank_core._local.pairs import plan_batches, round_up


@given(st.lists(st.integers(1, 600)), st.integers(1, 2048), st.sampled_from([1, 8, 16]))
def test_every_pair_once_within_the_budget(lengths: list[int], budget: int, multiple: int) -> None:
    batches = plan_batches(lengths, budget, multiple)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        width = round_up(lengths[batch[0]], multiple)
        assert lengths[batch[0]] == max(lengths[position] for position in batch)
        assert len(batch) == 1 or len(batch) * width <= budget
    firsts = [lengths[batch[0]] for batch in batches]
    assert firsts == sorted(firsts, reverse=True)


def test_like_lengths_share_a_batch() -> None:
    assert plan_batches([10, 200, 12, 190], budget=400) == [[1, 3], [2, 0]]


def test_a_budget_of_one_token_reads_each_pair_alone() -> None:
    assert plan_batches([5, 5, 9], budget=1) == [[2], [0], [1]]
