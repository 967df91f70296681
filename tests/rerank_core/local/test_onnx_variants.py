from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rerank_core import ConfigurationError, OnnxCrossEncoder
from rerank_core._local.files import MissingGraphError, cpu_features, graph_candidates
from support.models import TinyModel

VARIANTS = ["qint8_avx512_vnni", "qint8_avx512", "quint8_avx2", "qint8_arm64", "quantized"]


@pytest.fixture
def repository(tiny: Callable[..., TinyModel], int8_model: Path, tmp_path: Path) -> Path:
    """A folder with every ready graph that hub repositories carry."""
    folder = shutil.copytree(tiny().onnx, tmp_path / "repository")
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    for variant in VARIANTS:
        shutil.copy(int8_model / "model.onnx", folder / "onnx" / f"model_{variant}.onnx")
    return folder


def test_int8_takes_the_graph_for_this_cpu(repository: Path) -> None:
    best = {"avx512_vnni": 0, "avx512": 1, "avx2": 2, "arm64": 3}[cpu_features()[0]]
    scorer = OnnxCrossEncoder(repository, precision="int8")
    assert scorer.graph == f"onnx/model_{VARIANTS[best]}.onnx"
    plain = OnnxCrossEncoder(repository)
    assert plain.graph == OnnxCrossEncoder(repository, precision="fp32").graph == "onnx/model.onnx"
    assert scorer.score("drug", ["list"]).scores != plain.score("drug", ["list"]).scores


def test_int8_falls_back_to_a_graph_for_any_cpu(repository: Path) -> None:
    for variant in VARIANTS[:-1]:
        (repository / "onnx" / f"model_{variant}.onnx").unlink()
    scorer = OnnxCrossEncoder(repository, precision="int8")
    assert scorer.graph == "onnx/model_quantized.onnx"
    (repository / scorer.graph).unlink()
    with pytest.raises(MissingGraphError, match=r"onnx/model_int8\.onnx"):
        OnnxCrossEncoder(repository, precision="int8").load()


def test_a_file_can_be_chosen(repository: Path) -> None:
    scorer = OnnxCrossEncoder(repository, file="onnx/model_quantized.onnx")
    assert scorer.graph == "onnx/model_quantized.onnx"
    assert scorer.to_config()["file"] == scorer.graph
    with pytest.raises(MissingGraphError, match=r"no onnx/model_O4\.onnx"):
        OnnxCrossEncoder(repository, file="onnx/model_O4.onnx").load()


def test_no_graph_for_another_cpu_is_ever_a_candidate() -> None:
    candidates = graph_candidates("int8")
    for feature, name in (("arm64", "arm64"), ("avx512_vnni", "vnni"), ("avx2", "avx2")):
        if feature not in cpu_features():
            assert not any(name in candidate for candidate in candidates)


@pytest.mark.parametrize(
    "options", [{"precision": "fp16"}, {"file": 3}, {"file": "a.onnx", "precision": "int8"}]
)
def test_choices_that_do_not_fit_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=r"precision|file"):
        OnnxCrossEncoder(**options)  # type: ignore[arg-type]
