"""The figures that `rerank eval` reports, in a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.evaluate import card
from training.settings import Settings


def measured(value: float) -> dict[str, Any]:
    return {"values": {"nDCG@10": value}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    report = {
        "collections": [
            {"name": "rivers", "queries": 7, "first_stage": measured(0.5),
             "systems": [measured(0.6662), measured(0.61)]},
        ],
        "mean": {"first stage": {"nDCG@10": 0.5}, "nano @50": {"nDCG@10": 0.6662},
                 "minilm @50": {"nDCG@10": 0.61}},
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return Settings(tmp_path, tmp_path, {})


def test_the_card_gets_the_figures_between_its_marks(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    path.write_text("a\n<!-- quality -->\nold\n<!-- end of quality -->\nz\n", encoding="utf-8")
    card(settings, path)
    expected = (
        "a\n<!-- quality -->\n|  | first stage | nano | minilm |\n| --- | --- | --- | --- |\n"
        "| rivers, 7 queries | 50.0 | 66.6 | 61.0 |\n| mean | 50.0 | 66.6 | 61.0 |\n"
        "<!-- end of quality -->\nz\n"
    )
    assert path.read_text(encoding="utf-8") == expected
    card(settings, path)
    assert path.read_text(encoding="utf-8") == expected


def test_a_card_without_marks_is_left_alone(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    path.write_text("words", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks <!-- quality -->"):
        card(settings, path)
    assert path.read_text(encoding="utf-8") == "words"
