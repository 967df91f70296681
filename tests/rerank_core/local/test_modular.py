"""Cross-encoders whose head is in modules of sentence-transformers, beside a graph without one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rerank_core import ConfigurationError, OnnxCrossEncoder, Scorer, TorchCrossEncoder, load_scorer
from rerank_core._local.auto import HubCrossEncoder
from rerank_core._local.files import MissingGraphError
from support.models import FAMILIES, TinyModel, quantise

QUERY = "drug query"
TEXTS = ["list error", "python river " * 5, "a", "drug discovery molecule protein", "market " * 90]


@pytest.fixture
def folder(modular: Callable[..., Path], tmp_path: Path) -> Path:
    """A modular model that a test may change."""
    return shutil.copytree(modular(), tmp_path / "modular")


def change(file: Path, **settings: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def predict(folder: Path) -> list[float]:
    from sentence_transformers import CrossEncoder

    scores = CrossEncoder(str(folder)).predict([(QUERY, text) for text in TEXTS[:4]])
    return [float(score) for score in scores]


def scores(scorer: Scorer, texts: list[str] = TEXTS[:4]) -> Any:
    return pytest.approx(scorer.score(QUERY, texts).scores, abs=1e-4)


@pytest.mark.parametrize(
    ("pooling", "activation"),
    [
        ("cls", "GELU"),
        ("mean", "Tanh"),
        ("max", "ReLU"),
        ("lasttoken", "Sigmoid"),
        (("mean", "cls"), "Identity"),
    ],
)
def test_scores_are_those_of_sentence_transformers(
    modular: Callable[..., Path], pooling: Any, activation: str
) -> None:
    folder = modular(pooling, activation)
    expected = predict(folder)
    assert np.ptp(expected) > 0.01
    chosen = load_scorer(folder)
    assert isinstance(chosen, HubCrossEncoder)
    assert isinstance(chosen.scorer, OnnxCrossEncoder)
    for scorer in (chosen, load_scorer(f"onnx:{folder}"), load_scorer(f"torch:{folder}")):
        assert expected == scores(scorer)
    assert expected == scores(OnnxCrossEncoder(folder / "onnx" / "model.onnx"))
    one_by_one = OnnxCrossEncoder(folder, batch_tokens=1).score(QUERY, TEXTS).scores
    assert one_by_one == scores(OnnxCrossEncoder(folder, batch_tokens=4096), TEXTS)


def test_torch_is_not_imported(
    tiny: Callable[..., TinyModel], modular: Callable[..., Path]
) -> None:
    script = (
        "import sys; from rerank_core import load_scorer\n"
        "for name in sys.argv[1:]:\n"
        "    scorer = load_scorer(name)\n"
        "    assert scorer.score('drug', ['list']).usage.pairs == 1 and scorer.fingerprint\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    folders = [modular(), *(tiny(family).onnx for family in FAMILIES)]
    names = [f"{prefix}{folder}" for folder in folders for prefix in ("", "onnx:")]
    subprocess.run([sys.executable, "-c", script, *names], check=True, timeout=60)


def test_settings_of_older_versions_are_read(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        module["type"] = f"sentence_transformers.models.{kind}"
    (folder / "modules.json").write_text(json.dumps(modules))
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({**pooling, "pooling_mode_cls_token": False, "pooling_mode_max_tokens": True})
    )
    change(folder / "2_Dense" / "config.json", in_features=64)
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "2_Dense" / "model.safetensors")["linear.weight"]
    joined = np.ascontiguousarray(np.concatenate([weights, weights[:, ::-1]], axis=1))
    save_file({"linear.weight": joined}, folder / "2_Dense" / "model.safetensors")
    assert predict(folder) == scores(load_scorer(f"onnx:{folder}"))


def test_limit_and_activation_are_those_that_were_saved(folder: Path) -> None:
    change(folder / "sentence_bert_config.json", max_seq_length=12)
    change(
        folder / "config_sentence_transformers.json",
        activation_fn="torch.nn.modules.linear.Identity",
    )
    expected = predict(folder)
    assert max(expected) > 1 or min(expected) < 0
    scorer = OnnxCrossEncoder(folder)
    assert scorer.max_length == 12 == load_scorer(f"torch:{folder}").max_length
    assert [expected[i] for i in (0, 2)] == scores(scorer, [TEXTS[0], TEXTS[2]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_may_be_in_half_precision(folder: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    for file in folder.glob("*_*/model.safetensors"):
        halves = {name: w.to(getattr(torch, dtype)) for name, w in load_file(file).items()}
        save_file(halves, file)
    assert predict(folder) == scores(OnnxCrossEncoder(folder))


def test_a_quantised_graph_reads_one_pair_at_a_time(folder: Path, tmp_path: Path) -> None:
    quantised = quantise(folder / "onnx", tmp_path / "int8") / "model.onnx"
    quantised.rename(folder / "onnx" / "model_quantized.onnx")
    scorer = OnnxCrossEncoder(folder, file="onnx/model_quantized.onnx")
    together = scorer.score(QUERY, TEXTS).scores
    assert together == tuple(scorer.score(QUERY, [text]).scores[0] for text in TEXTS)
    assert together == pytest.approx(OnnxCrossEncoder(folder).score(QUERY, TEXTS).scores, abs=0.2)


def test_the_fingerprint_covers_the_modules(folder: Path) -> None:
    before = OnnxCrossEncoder(folder).fingerprint
    weights = folder / "4_Dense" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    after = OnnxCrossEncoder(folder).fingerprint
    change(folder / "1_Pooling" / "config.json", pooling_mode="mean")
    assert len({before, after, OnnxCrossEncoder(folder).fingerprint}) == 3


def test_a_graph_with_scores_of_its_own_needs_no_modules(
    tiny: Callable[..., TinyModel], folder: Path
) -> None:
    expected = OnnxCrossEncoder(tiny("modernbert").onnx).score(QUERY, TEXTS).scores
    shutil.copy(tiny("modernbert").onnx / "model.onnx", folder / "onnx" / "model.onnx")
    (folder / "3_LayerNorm" / "model.safetensors").unlink()
    assert OnnxCrossEncoder(folder).score(QUERY, TEXTS).scores == pytest.approx(expected)


def _add_module(folder: Path, kind: str) -> None:
    file = folder / "modules.json"
    modules = json.loads(file.read_text())
    modules.insert(2, {"idx": 9, "name": "9", "path": "9_Added", "type": kind})
    file.write_text(json.dumps(modules))


def test_torch_takes_over_where_the_head_is_unknown(folder: Path) -> None:
    _add_module(folder, "sentence_transformers.base.modules.normalize.Normalize")
    (folder / "9_Added").mkdir()
    scorer = load_scorer(folder)
    assert isinstance(scorer, HubCrossEncoder)
    assert isinstance(scorer.scorer, TorchCrossEncoder)
    assert predict(folder) == scores(scorer)
    with pytest.raises(MissingGraphError, match=r"Normalize.*is unknown.*'torch:modular'"):
        load_scorer(f"onnx:{folder}").load()
    with pytest.raises(ConfigurationError, match="Normalize"):  # who names a file means that one
        load_scorer(folder / "onnx" / "model.onnx").load()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "modules.json").unlink(), r"no modules\.json"),
        (lambda f: (f / "4_Dense" / "model.safetensors").unlink(), "4_Dense"),
        (lambda f: (f / "3_LayerNorm" / "config.json").unlink(), "3_LayerNorm"),
        (lambda f: (f / "2_Dense" / "model.safetensors").write_bytes(b"x" * 99), "2_Dense"),
        (lambda f: (f / "modules.json").write_text("[1]"), r"modules\.json"),
        (lambda f: _add_module(f, "custom.Dense"), "custom"),
        (lambda f: change(f / "1_Pooling/config.json", pooling_mode="weightedmean"), "weighted"),
        (lambda f: change(f / "2_Dense/config.json", activation_function="torch.nn.ELU"), "ELU"),
        (lambda f: change(f / "2_Dense/config.json", use_residual=True), "use_residual"),
        (lambda f: change(f / "2_Dense/config.json", module_input_name="x"), "reads 'x'"),
        (lambda f: change(f / "4_Dense/config.json", module_output_name="y"), "scores"),
        (lambda f: change(f / "sentence_bert_config.json", do_lower_case=True), "lower"),
        (
            lambda f: change(
                f / "config_sentence_transformers.json",
                prompts={"q": "query: "},
                default_prompt_name="q",
            ),
            "prompt",
        ),
    ],
)
def test_a_head_that_cannot_be_composed_counts_as_a_missing_graph(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    with pytest.raises(MissingGraphError, match=message):
        OnnxCrossEncoder(folder).load()
    chosen = load_scorer(folder)
    assert isinstance(chosen, HubCrossEncoder)
    assert isinstance(chosen.scorer, TorchCrossEncoder)


def test_modules_of_another_width_are_refused(folder: Path) -> None:
    from safetensors.numpy import save_file

    weights = {"linear.weight": np.ones((24, 31), np.float32)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    with pytest.raises(ConfigurationError, match="does not fit the graph"):
        OnnxCrossEncoder(folder).score(QUERY, TEXTS)
