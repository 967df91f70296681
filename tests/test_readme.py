"""The README is run, not believed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.markdown import cohere_stand_in, python_blocks, relative_links, run_block

README = Path(__file__).parents[1] / "README.md"
BLOCKS = python_blocks(README)


def test_every_kind_of_use_is_shown() -> None:
    for use in ("RerankCompressor", "RerankPostprocessor", "load_scorer", "CohereScorer"):
        assert any(use in block for block in BLOCKS)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.partition("\n")[0] for block in BLOCKS])
def test_a_block_runs(block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with cohere_stand_in(monkeypatch, tmp_path):
        printed = run_block(block, {})
    if "print" in block:
        first = str(printed).partition("\n")[0]
        assert re.search(r"json\.dumps|\('b'", first)  # the passage that answers comes first


def test_links_lead_somewhere() -> None:
    for target in relative_links(README):
        assert target.exists(), target
