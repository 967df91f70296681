"""The README is run, not believed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.cohere_server import CohereServer

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_every_kind_of_use_is_shown() -> None:
    for use in ("RerankCompressor", "RerankPostprocessor", "load_scorer", "CohereScorer"):
        assert any(use in block for block in BLOCKS)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.partition("\n")[0] for block in BLOCKS])
def test_a_block_runs(
    block: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with CohereServer() as server:
        monkeypatch.setenv("CO_API_KEY", "a-key")
        monkeypatch.setenv("CO_API_URL", server.url)
        names: dict[str, object] = {}
        monkeypatch.chdir(tmp_path)
        exec(block, names)
        if "print" in block:
            first = capsys.readouterr().out.partition("\n")[0]
            assert re.search(r"json\.dumps|\('b'", first)  # the passage that answers comes first


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
