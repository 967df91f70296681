"""The examples of CONTRIBUTING are run, and keep the contract of all scorers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rerank_core import OnnxCrossEncoder, Scorer, rerank
from support.markdown import python_blocks, relative_links, run_block

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in python_blocks(PAGE):
        run_block(block, names)
    return names


def test_a_provider_is_two_methods(names: dict[str, Any]) -> None:
    scorer = names["scorer"]
    assert isinstance(scorer, Scorer)
    assert scorer.to_config()["type"] == "example"
    assert "a-key" not in repr(scorer)


def test_a_combinator_goes_wherever_a_scorer_goes(names: dict[str, Any]) -> None:
    nano = OnnxCrossEncoder("nano")
    rounded = names["Rounded"](nano, digits=1)
    texts = ["Plants use light.", "", "Cats purr."]
    ranking = rerank("How do plants eat?", texts, rounded)
    assert [item.index for item in ranking] == [0, 2, 1]
    assert all(item.score is None or item.score == round(item.score, 1) for item in ranking)
    expected = rounded.score("How do plants eat?", texts).scores
    assert asyncio.run(rounded.ascore("How do plants eat?", texts)).scores == expected
    again = names["Rounded"].from_config(
        {name: value for name, value in rounded.to_config().items() if name != "type"},
        lambda config: nano,
    )
    assert again.fingerprint == rounded.fingerprint


def test_links_lead_somewhere() -> None:
    for target in relative_links(PAGE):
        assert target.exists(), target
