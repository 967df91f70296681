from __future__ import annotations

from pathlib import Path

import pytest

from rerank_core import OnnxCrossEncoder, RecommendedModel, list_models, load_scorer

DOCS = Path(__file__).parents[2] / "docs"
MODELS = list_models()


@pytest.mark.parametrize("model", MODELS, ids=[model.name for model in MODELS])
def test_the_name_can_be_pasted(model: RecommendedModel) -> None:
    assert load_scorer(model.name).name in (model.name, model.name.partition(":")[2])


@pytest.mark.parametrize("model", MODELS, ids=[model.name for model in MODELS])
def test_a_figure_has_its_benchmark_and_source(model: RecommendedModel) -> None:
    given = {model.quality is None, model.benchmark is None, model.source is None}
    assert len(given) == 1
    assert (model.licence is None) == (model.parameters is None) == (model.runs_on == "service")


def test_figures_of_one_benchmark_have_one_source() -> None:
    sources = {(model.benchmark, model.source) for model in MODELS}
    assert len(sources) == len({model.benchmark for model in MODELS})


def test_the_embedded_model_is_described_as_it_is() -> None:
    (nano,) = (model for model in MODELS if model.runs_on == "embedded")
    assert OnnxCrossEncoder(nano.name).max_length == nano.max_length
    card = (DOCS.parent / "shared" / str(nano.source)).read_text(encoding="utf-8")
    figure = f"{float(str(nano.quality).split()[-1]):.1%}".rstrip("%")
    (row,) = (line for line in card.splitlines() if line.startswith("| trec_dl19"))
    assert row.endswith(f" {figure} |")
    assert nano.parameters == 22_700_000 + 4_400_000
    assert "22.7 M parameters" in card
    assert "4.4 M parameters" in card


def test_the_list_stands_in_the_documentation() -> None:
    page = (DOCS / "how-to" / "choose.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- models -->\n")[2].partition("<!-- end of models -->")[0]
    assert shown == table(MODELS), f"the table must be:\n{table(MODELS)}"


def table(models: tuple[RecommendedModel, ...]) -> str:
    lines = [
        "| name | languages | parameters | tokens | licence | runs on | published quality |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model in models:
        source = str(model.source)
        link = source if source.startswith("https:") else "../explanation/nano.md"
        cells = (
            f"`{model.name}`",
            model.languages or "",
            "" if model.parameters is None else f"{model.parameters / 1e6:.3g} M",
            "" if model.max_length is None else f"{model.max_length:,}",
            model.licence or "",
            model.runs_on,
            "" if model.quality is None else f"[{model.quality}]({link}), {model.benchmark}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
