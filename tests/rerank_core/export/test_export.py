from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rerank_core
from rerank_core import (
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    OnnxCrossEncoder,
    Scale,
    TorchCrossEncoder,
    load_scorer,
)
from rerank_core.export import export_model
from support.models import WORDS, TinyModel

QUERY = "what is drug discovery"
TEXTS = [" ".join(WORDS[i : i + 1 + 3 * i]) for i in range(24)]
FILES = ["model.onnx", "rerank_config.json", "tokenizer.json"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def settings(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "rerank_config.json").read_text("utf-8"))
    return content


def differences(folder: Path, original: Path, **options: Any) -> float:
    """Largest difference of two logits."""
    here = OnnxCrossEncoder(folder, activation="identity").score(QUERY, TEXTS)
    there = TorchCrossEncoder(str(original), device="cpu", activation="identity", **options)
    expected = there.score(QUERY, TEXTS)
    assert here.usage.tokens == expected.usage.tokens
    assert here.usage.truncated == expected.usage.truncated
    assert len(set(here.scores)) > len(TEXTS) // 2
    return max(abs((a or 0) - (b or 0)) for a, b in zip(here.scores, expected.scores, strict=True))


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "modernbert"])
@pytest.mark.parametrize("labels", [1, 2])
def test_every_family_gives_its_scores(
    tiny: Callable[..., TinyModel], tmp_path: Path, family: str, labels: int
) -> None:
    original = tiny(family, labels).torch
    report = export_model(original, tmp_path / "out")
    assert names(tmp_path / "out") == FILES
    assert names(tmp_path) == ["out"]
    assert differences(tmp_path / "out", original) < 1e-4
    assert (report.first_token_only, report.kept_whole) == (True, None)
    assert report.verification.max_difference < 1e-4
    assert report.verification.top10_overlap > 0.9
    assert report.warnings == ()
    assert report.scale is OnnxCrossEncoder(tmp_path / "out").scale is Scale.UNIT
    assert report.size == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("family", ["electra", "distilbert", "deberta-v2", "modernbert-mean"])
def test_other_families_give_their_scores(
    tiny: Callable[..., TinyModel], tmp_path: Path, family: str
) -> None:
    original = tiny(family).torch
    report = export_model(original, tmp_path / "out")
    assert differences(tmp_path / "out", original) < 1e-4
    assert report.first_token_only is (family == "electra")


@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_int8_is_smaller_and_close(
    tiny: Callable[..., TinyModel], tmp_path: Path, family: str
) -> None:
    plain = export_model(tiny(family).torch, tmp_path / "fp32")
    report = export_model(tiny(family).torch, tmp_path / "int8", precision="int8")
    assert names(tmp_path / "int8") == FILES
    graphs = [(tmp_path / name / "model.onnx").stat().st_size for name in ("int8", "fp32")]
    assert graphs[0] < 0.8 * graphs[1]  # in a tiny model most is nodes
    assert report.precision == settings(tmp_path / "int8")["precision"] == "int8"
    found = report.verification
    assert found.max_difference > plain.verification.max_difference
    assert found.kendall_tau > 0.8
    assert bool(report.warnings) == (found.kendall_tau < 0.9)
    assert 0 < differences(tmp_path / "int8", tiny(family).torch) < 2


def build_modular(folder: Path, transformer: Path, mode: str) -> Path:
    """Save Transformer + Pooling + Dense + LayerNorm + Dense, as ettin-reranker is built."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

    torch.manual_seed(0)
    modules = [
        Transformer(str(transformer), transformer_task="feature-extraction"),
        Pooling(32, mode),
        Dense(32, 32, activation_function=torch.nn.GELU()),
        LayerNorm(32),
        Dense(32, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    encoder = CrossEncoder(modules=modules, device="cpu", activation_fn=torch.nn.Identity())
    encoder.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("family", ["modernbert", "bert"])
@pytest.mark.parametrize(("mode", "kept_whole"), [("cls", None), ("mean", "the pooling is 'mean'")])
def test_the_modular_form(
    tiny: Callable[..., TinyModel], tmp_path: Path, family: str, mode: str, kept_whole: str | None
) -> None:
    original = build_modular(tmp_path / "modular", tiny(family).torch, mode)
    report = export_model(original, tmp_path / "out")
    assert report.kept_whole == kept_whole
    assert report.first_token_only is (kept_whole is None)
    assert report.scale is OnnxCrossEncoder(tmp_path / "out").scale is Scale.LOGIT
    assert differences(tmp_path / "out", original) < 1e-4
    assert kept_whole is None or kept_whole in settings(tmp_path / "out")["last_layer"]


def test_the_settings_say_where_it_comes_from(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    report = export_model(tiny().torch, tmp_path / "out", max_length=24, activation="identity")
    saved = settings(tmp_path / "out")
    assert saved["source"] == report.source == "torch"
    assert saved["revision"] is report.revision is None  # a folder has no commit, but content:
    assert saved["source_fingerprint"].startswith("torch:torch@")
    assert str(tmp_path) not in json.dumps(saved)
    assert (saved["max_length"], saved["max_position_embeddings"]) == (24, 64)
    assert (saved["activation"], saved["scale"]) == ("identity", "logit")
    assert saved["exporter"]["rerank-core"] == rerank_core.__version__
    assert saved["exporter"]["torch"]
    assert saved["verification"]["pairs"] == report.verification.pairs
    assert saved["verification"]["max_difference"] == report.verification.max_difference
    scorer = load_scorer(str(tmp_path / "out"))
    assert scorer.scale is Scale.LOGIT
    assert scorer.score(QUERY, ["river " * 60]).usage.tokens == 24
    assert differences(tmp_path / "out", tiny().torch, max_length=24) < 1e-4


def test_the_same_model_gives_the_same_folder(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    for name in ("one", "other"):
        export_model(tiny().torch, tmp_path / name)
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_no_torch_is_needed_to_run_it(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    export_model(tiny().torch, tmp_path / "out", precision="int8")
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'sentence_transformers', 'onnx', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "from rerank_core import load_scorer\n"
        "print(load_scorer('onnx:' + sys.argv[1]).score('drug', ['river', 'drug']).scores)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    expected = OnnxCrossEncoder(tmp_path / "out").score("drug", ["river", "drug"]).scores
    assert done.stdout.strip() == str(expected)


@pytest.mark.parametrize(
    "step", ["loading the model", "writing the graph", "quantising", "comparing with the original"]
)
def test_an_interrupted_export_leaves_nothing(
    tiny: Callable[..., TinyModel], tmp_path: Path, step: str
) -> None:
    seen: list[str] = []

    def interrupt(name: str) -> None:
        seen.append(name)
        if name == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_model(tiny().torch, tmp_path / "out", precision="int8", progress=interrupt)
    assert seen[-1] == step
    assert names(tmp_path) == []


def test_force_replaces_once_the_new_one_is_done(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export_model(tiny().torch, out)
    before = settings(out)
    with pytest.raises(ConfigurationError, match="exists"):
        export_model(tiny().torch, out)

    def interrupt(name: str) -> None:
        if name.startswith("comparing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_model(tiny().torch, out, max_length=20, force=True, progress=interrupt)
    assert settings(out) == before
    export_model(tiny().torch, out, max_length=20, force=True)
    assert settings(out)["max_length"] == 20
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "precision must be 'fp32' or 'int8', not 'fp16'"),
        ({"precision": None}, "precision"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 65}, "65 is more than the 64 positions"),
        ({"max_length": 4}, "leaves no room"),
        ({"activation": "relu"}, "activation"),
    ],
)
def test_options_out_of_range_are_refused(
    tiny: Callable[..., TinyModel], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigurationError, InvalidInputError), match=message):
        export_model(tiny().torch, tmp_path / "out", **options)
    assert names(tmp_path) == []


def test_the_shortest_length_there_is(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    assert export_model(tiny().torch, tmp_path / "out", max_length=5).max_length == 5


def test_a_model_of_three_labels_is_refused(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="3 labels"):
        export_model(tiny("bert", 3).torch, tmp_path / "out")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_causal_language_model_is_refused(causal: Path, tmp_path: Path, precision: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"'causal' is a causal .* run it on torch, as"):
        export_model(causal, tmp_path / "out", precision=precision)
    assert names(tmp_path) == []


def test_a_model_with_a_prompt_is_refused(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    prompts = {"web": "Is this relevant? "}
    encoder = CrossEncoder(
        str(tiny().torch), device="cpu", prompts=prompts, default_prompt_name="web"
    )
    encoder.save_pretrained(str(tmp_path / "prompted"))
    with pytest.raises(ConfigurationError, match="the prompt 'web'"):
        export_model(tmp_path / "prompted", tmp_path / "out")


@pytest.mark.parametrize("package", ["onnx", "sentence_transformers"])
def test_without_the_extra_the_install_line_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[export\]"'):
        export_model("owner/model", tmp_path / "out")


QUANTISE = """
import sys
from pathlib import Path
for name in ("torch", "sentence_transformers"):
    sys.modules[name] = None
from rerank_core.export import export_model
report = export_model(sys.argv[1], Path(sys.argv[2]), precision="int8")
print(report.precision, report.verification.pairs, report.kept_whole)
"""


@pytest.mark.parametrize("with_weights", [True, False])
def test_a_ready_graph_and_its_modules_are_quantised_without_torch(
    modular: Callable[..., Path], tmp_path: Path, with_weights: bool
) -> None:
    ready, out = shutil.copytree(modular(), tmp_path / "ready"), tmp_path / "out"
    if not with_weights:
        (ready / "model.safetensors").unlink()
    command = [sys.executable, "-c", QUANTISE, str(ready), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "int8 248 the graph was there\n", done.stderr
    ours, original = OnnxCrossEncoder(out), OnnxCrossEncoder(ready)
    assert (ours.max_length, ours.scale) == (original.max_length, original.scale)
    assert (out / "model.onnx").stat().st_size < 0.8 * (ready / original.graph).stat().st_size
    found = load_scorer(out).score(QUERY, TEXTS).scores
    assert found == ours.score(QUERY, TEXTS).scores != original.score(QUERY, TEXTS).scores
    assert settings(out)["verification"]["kendall_tau"] > 0.8
    assert set(settings(out)["exporter"]) == {"rerank-core", "onnx", "onnxruntime"}


def test_a_ready_graph_that_is_quantised_or_no_reranker_is_refused(
    tiny: Callable[..., TinyModel], int8_model: Path, modular: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="is quantised already"):
        export_model(int8_model, tmp_path / "out", precision="int8")
    ready = shutil.copytree(modular(), tmp_path / "ready")
    (ready / "model.safetensors").unlink()
    (ready / "modules.json").unlink()
    with pytest.raises(ConfigurationError, match=r"no modules\.json"):
        export_model(ready, tmp_path / "out", precision="int8")
    export_model(tiny().onnx, tmp_path / "plain", precision="int8")
    assert names(tmp_path / "plain") == FILES
    assert names(tmp_path) == ["plain", "ready"]
