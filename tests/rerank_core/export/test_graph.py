from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from rerank_core import OnnxCrossEncoder
from rerank_core.export._quantise import gather_graph, quantise_graph
from support.models import TinyModel

TEXTS = ["drug discovery", "river mountain", "python list " * 5, "health"]


def scattered(source: Path, folder: Path) -> Path:
    """Put every weight into a file of its own, as torch does beyond 2 GB."""
    folder.mkdir()
    onnx.save_model(
        onnx.load(source),
        folder / "model.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=0,
    )
    assert len(list(folder.iterdir())) > 5
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("most_bytes", "files"),
    [(1000, {"model.onnx", "model.onnx_data"}), (10**9, {"model.onnx"})],
)
def test_scattered_weights_are_gathered(
    tiny: Callable[..., TinyModel], tmp_path: Path, most_bytes: int, files: set[str]
) -> None:
    source = scattered(tiny().onnx / "model.onnx", tmp_path / "scattered")
    target = tmp_path / "gathered"
    target.mkdir()
    gather_graph(source, target / "model.onnx", most_bytes)
    assert {path.name for path in target.iterdir()} == files
    for name in ("tokenizer.json", "config.json"):
        (target / name).write_bytes((tiny().onnx / name).read_bytes())
    expected = OnnxCrossEncoder(tiny().onnx).score("drug", TEXTS).scores
    assert OnnxCrossEncoder(target).score("drug", TEXTS).scores == pytest.approx(expected)


def test_a_single_file_is_moved(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "model.onnx").write_bytes(b"a graph")
    gather_graph(tmp_path / "from" / "model.onnx", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"a graph"


def test_the_body_is_int8_and_the_head_is_not(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    quantise_graph(tiny().onnx / "model.onnx", tmp_path / "int8.onnx", tmp_path / "scratch")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    weights = {w.name: w for w in graph.initializer}
    assert any("word_embeddings" in name and name.endswith("_quantized") for name in weights)
    matrices = [node.input[1] for node in graph.node if node.op_type == "MatMulInteger"]
    assert len(matrices) == 12  # six in each of the two layers
    for name in matrices:
        values = onnx.numpy_helper.to_array(weights[name])
        assert values.dtype == "int8"
        assert abs(values.astype(int)).max() <= 64  # cannot saturate without VNNI
        scales = weights[name.replace("_quantized", "_scale")]
        assert list(scales.dims) == [values.shape[1]]  # one for each channel
    head = [
        node for node in graph.node
        if node.op_type in ("Gemm", "MatMul") and node.input[1] in weights
    ]  # fmt: skip
    assert len(head) == 2
