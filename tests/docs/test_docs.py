"""The documentation is run, not believed: its code with its outputs, its list of options."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.markdown import check_outputs, cohere_stand_in, python_blocks

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WITH_CODE = [page for page in PAGES if python_blocks(page)]


@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset:DeprecationWarning")
@pytest.mark.parametrize(
    "page", WITH_CODE, ids=[page.relative_to(DOCS).as_posix() for page in WITH_CODE]
)
def test_the_blocks_of_a_page_print_what_it_shows(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, update_outputs: bool
) -> None:
    monkeypatch.setenv("JINA_API_KEY", "another-key")
    with cohere_stand_in(monkeypatch, tmp_path):
        # Pages show classes, and pydantic looks up what their annotations name.
        check_outputs(page, {"__name__": "__main__"}, update=update_outputs)


def test_few_blocks_need_something() -> None:
    blocks = [block for page in WITH_CODE for block in python_blocks(page)]
    needs = [block.split()[2] for block in blocks if block.startswith("# needs")]
    assert sorted(needs) == ["langchain:", "network:", "ray:"]
    assert len(blocks) > 20


def test_the_page_of_the_command_line_names_every_option() -> None:
    typer = pytest.importorskip("typer")
    from rerank_core.cli._app import app

    page = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        section = page.partition(f"## rerank {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("-") and option != "--help":
                    assert f"`{option}" in section, f"{name} {option}"
