"""Lists to train on: targets from teachers, the first stage and labels, and the check on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rerank_core.evaluation import Candidate, Collection, FirstStage, Journal, Task
from rerank_core.testing import OverlapScorer
from rerank_core.training._fit import _Check
from rerank_core.training._lists import Candidates, read_candidates, sample

QUERY = "river rain sun stone wind"
TEXTS = {
    "a": "rain and river",
    "b": "river with rain and sun",
    "c": "rain or wind",
    "d": "storm",
    "unfound": "cloud",
}
LABEL = 6  # two standard deviations of three
FIRST = {"c": 20.0, "b": 5.0, "a": 4.0, "d": 1.0}


def task(relevant: str) -> Task:
    """One query; the first stage prefers c, and the teacher b, with a and c equal."""
    collection = Collection("one", TEXTS, {"q": QUERY}, {"q": {relevant: 1}})
    hits = tuple(Candidate(name, score) for name, score in FIRST.items())
    return Task(collection, FirstStage("made up", {"q": hits}, {}), (4,))


def read(relevant: str, *, labels: bool) -> dict[str, float]:
    found = read_candidates(
        task(relevant), ["q"], [OverlapScorer()], Journal(), labels=labels, progress=None
    )["q"]
    names = {text: name for name, text in TEXTS.items()}
    return {names[text]: target for text, target in zip(found.texts, found.targets, strict=True)}


def test_the_first_stage_joins_the_teachers_where_it_orders_better() -> None:
    alone = read("b", labels=True)
    assert alone["a"] == pytest.approx(alone["c"])
    helped = read("c", labels=True)
    assert helped["c"] - LABEL > helped["b"] > helped["a"] > helped["d"]


def test_without_labels_neither_they_nor_the_first_stage_count() -> None:
    targets = read("c", labels=False)
    assert targets["a"] == pytest.approx(targets["c"])
    assert targets["a"] < targets["b"]
    assert "unfound" not in read("unfound", labels=False)


def test_a_relevant_document_that_was_not_found_is_added() -> None:
    targets = read("unfound", labels=True)
    assert list(targets) == ["c", "b", "a", "d", "unfound"]
    assert targets["unfound"] == pytest.approx(targets["d"] + LABEL)


def test_a_list_holds_its_relevant_candidates() -> None:
    relevant = np.arange(20) == 17
    candidates = Candidates("q", [f"t{n}" for n in range(20)], -np.arange(20.0), relevant)
    texts, targets = sample(candidates, np.random.default_rng(0))
    assert len(set(texts)) == 8
    assert texts[0] == "t17"
    assert targets == [-float(text[1:]) for text in texts]


class _Model:
    """Returns logits that are known."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def predict(self, pairs: Sequence[tuple[str, str]], **_: Any) -> np.ndarray[Any, Any]:
        return np.array([self.factor * len(text) for _, text in pairs])


def test_a_check_tells_order_from_sureness() -> None:
    texts = ["x" * length for length in range(1, 9)]
    wanted = np.arange(8.0)
    check = _Check([Candidates("q", texts, wanted, wanted > 6)], 0, half=False)
    assert check(_Model(1.0))["loss"] == pytest.approx(0, abs=1e-9)
    assert check(_Model(4.0))["loss"] == pytest.approx(0, abs=1e-9)
    assert check(_Model(-1.0))["loss"] > 1
