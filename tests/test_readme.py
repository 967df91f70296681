"""The README's snippets are run, and its tables compared with what they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rerank_core import list_models
from support.markdown import check_outputs, python_blocks, relative_links

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CARD = ROOT / "shared/rerank_core/models/nano/README.md"


def test_its_blocks_print_what_it_shows(update_outputs: bool) -> None:
    check_outputs(README, {}, update=update_outputs)


def test_each_snippet_is_short_and_ranks_the_right_passage_first() -> None:
    text = README.read_text(encoding="utf-8")
    blocks = python_blocks(README)
    assert len(blocks) == 3
    assert all(len(block.strip().splitlines()) <= 8 for block in blocks)
    outputs = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(outputs) == 3
    assert all(re.search("json|csv|Rivers", shown)[0] == "json" for shown in outputs)  # type: ignore[index]


@pytest.mark.parametrize("part", ["models", "quality"])
def test_a_part_says_what_the_package_says(part: str, update_outputs: bool) -> None:
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"<!-- {part} -->\n")
    _, end, after = rest.partition(f"<!-- end of {part} -->")
    current = before + begin + {"models": models_table, "quality": quality}[part]() + end + after
    if update_outputs:
        README.write_text(current, encoding="utf-8")
    else:
        assert current == text, f"`make docs-outputs` rewrites the {part}"


def quality() -> str:
    card = CARD.read_text(encoding="utf-8")
    table = card.partition("<!-- quality -->")[2].partition("<!-- end of quality -->")[0]
    (means,) = re.findall(r"^\| mean \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE)
    count = table.count(" queries |")
    return (
        f"Quality: over {count} collections, `nano` raises BM25's mean nDCG@10 from {means[0]} to "
        f"{means[1]}; [its card](docs/explanation/nano.md) has each of them, and the command.\n"
    )


def models_table() -> str:
    rows = ["| name | languages | parameters | tokens | runs on | published figure |"]
    rows.append("| --- " * 6 + "|")
    for model in list_models():
        size = "" if model.parameters is None else f"{model.parameters / 1e6:.3g} M"
        figure = model.quality or ""
        if model.quality and model.benchmark:
            benchmark = re.split(r", (?![^(]*\))", model.benchmark)[0]
            figure += f" ({benchmark})"
        cells = (f"`{model.name}`", model.languages or "", size, f"{model.max_length:,}")
        rows.append(f"| {' | '.join((*cells, model.runs_on, figure))} |")
    return "\n".join(rows) + "\n"


def test_links_lead_somewhere() -> None:
    for target in relative_links(README):
        assert target.exists(), target
