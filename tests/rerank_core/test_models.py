from __future__ import annotations

from pathlib import Path

import pytest

from rerank_core import OnnxCrossEncoder, RecommendedModel, list_models, load_scorer

DOCS = Path(__file__).parents[2] / "docs"
MODELS = list_models()
HEADINGS = {
    "embedded": "In the package",
    "ONNX Runtime": "Without torch",
    "torch": "On torch",
    "service": "Services",
}


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


def test_the_list_stands_in_the_documentation(update_outputs: bool) -> None:
    page = DOCS / "models.md"
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition("<!-- models -->\n")
    _, end, after = rest.partition("<!-- end of models -->")
    current = before + begin + listing(MODELS) + end + after
    if update_outputs:
        page.write_text(current, encoding="utf-8")
    else:
        assert current == text, "`make docs-outputs` rewrites the list"


def listing(models: tuple[RecommendedModel, ...]) -> str:
    text = ""
    for runs_on, heading in HEADINGS.items():
        text += f"\n## {heading}\n\n"
        for model in (model for model in models if model.runs_on == runs_on):
            facts = (
                model.languages,
                None if model.parameters is None else f"{model.parameters / 1e6:.3g} M parameters",
                None if model.max_length is None else f"reads {model.max_length:,} tokens",
                model.licence,
            )
            text += f"`{model.name}`\n: {', '.join(filter(None, facts))}\n"
            if model.quality is not None:
                source = str(model.source)
                link = source if source.startswith("https:") else "explanation/nano.md"
                text += f": [{model.quality}]({link}) on {model.benchmark}\n"
            text += f": {model.note}\n\n" if model.note else "\n"
    return text
