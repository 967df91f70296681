"""Folders of models: configurations, tokenizers, graphs, weights."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.strategies import damaged, json_text, outcome
from rerank_core import BiEncoderScorer, OnnxCrossEncoder, RerankError, Scorer, TorchCrossEncoder
from support.bi_encoders import build_bi_encoder
from support.models import TinyModel

QUERY, TEXTS = "drug query", ("list error", "python river " * 20, "a")


def check(scorer: Scorer) -> None:
    """Score with a model from a folder that nobody vouches for."""
    scoring = outcome(lambda: scorer.score(QUERY, TEXTS), seconds=10)
    if isinstance(scoring, Exception):
        assert isinstance(scoring, RerankError)
    else:
        assert len(scoring.scores) == len(TEXTS)
        assert all(score is not None and math.isfinite(score) for score in scoring.scores)
        assert len(scorer.fingerprint) < 1000
    scorer.close()


@pytest.fixture(scope="module")
def model(tiny: Callable[..., TinyModel], tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A tiny model in folders that may be changed."""
    folder, whole = tmp_path_factory.mktemp("model"), tiny()
    shutil.copytree(whole.onnx, folder / "onnx-model")
    shutil.copytree(whole.torch, folder / "torch")
    (folder / "onnx-model" / "rerank_config.json").write_text(
        json.dumps({"precision": "fp32", "max_length": 32, "activation": "sigmoid"})
    )
    return TinyModel(folder / "torch", folder / "onnx-model")


SETTINGS = ("config.json", "tokenizer_config.json", "rerank_config.json", "tokenizer.json")


@given(name=st.sampled_from(SETTINGS), data=st.data())
def test_settings_of_a_folder(model: TinyModel, name: str, data: st.DataObject) -> None:
    path = model.onnx / name
    whole = path.read_bytes()
    try:
        path.write_bytes(data.draw(damaged(json_text(json.loads(whole), edits=2), 1)))
        check(OnnxCrossEncoder(model.onnx, threads=1))
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def modules(modular: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny modular model in a folder that may be changed."""
    return shutil.copytree(modular(), tmp_path_factory.mktemp("modules") / "modular")


MODULES = ("modules.json", "1_Pooling/config.json", "2_Dense/config.json", "4_Dense/config.json")
HEAD_WEIGHTS = ("2_Dense/model.safetensors", "3_LayerNorm/model.safetensors")


@given(name=st.sampled_from((*MODULES, *HEAD_WEIGHTS)), data=st.data())
def test_modules(modules: Path, name: str, data: st.DataObject) -> None:
    path = modules / name
    whole = path.read_bytes()
    content = whole if name in HEAD_WEIGHTS else json_text(json.loads(whole), edits=2)
    try:
        path.write_bytes(data.draw(damaged(content, 1)))
        check(OnnxCrossEncoder(modules, threads=1))
    finally:
        path.write_bytes(whole)


_OPERATORS = ("Add", "Identity", "Shape", "Cast", "Softmax", "ReduceSum", "Gather", "Not", "Loop")
_SIZES = (0, 1, -1, 3, 2**31, 2**40, 2**62)


@st.composite
def graphs(draw: st.DrawFn, whole: onnx.ModelProto) -> bytes:
    """Return a graph with a few things wrong that its format allows."""
    changed = onnx.ModelProto()
    changed.CopyFrom(whole)
    graph = changed.graph

    def one(items: Any) -> Any:
        return items[draw(st.integers(0, len(items) - 1))]

    def size() -> int:
        return draw(st.sampled_from(_SIZES))

    for _ in range(draw(st.integers(1, 2))):
        match draw(st.integers(0, 8)):
            case 0:
                one(graph.node).op_type = draw(st.sampled_from(_OPERATORS))
            case 1:
                tensor = one(graph.initializer)
                tensor.dims[:] = [size() for _ in tensor.dims]
            case 2:
                one(graph.initializer).data_type = draw(st.integers(0, 23))
            case 3:
                one(graph.initializer).raw_data = draw(st.binary(max_size=8))
            case 4:
                for dimension in one([*graph.input, *graph.output]).type.tensor_type.shape.dim:
                    dimension.dim_value = size()
            case 5:
                of_type = one([*graph.input, *graph.output]).type.tensor_type
                of_type.elem_type = draw(st.integers(0, 19))
            case 6:
                del graph.node[draw(st.integers(0, len(graph.node) - 1))]
            case 7:
                graph.output[0].name = one(one(graph.node).output)
            case _:
                tensor = one(graph.initializer)
                tensor.data_location = onnx.TensorProto.EXTERNAL
                place = draw(
                    st.sampled_from(["/dev/zero", "../x", "weights.bin", "", "config.json"])
                )
                tensor.external_data.add(key="location", value=place)
    return bytes(changed.SerializeToString())


@given(data=st.data())
def test_graphs(model: TinyModel, data: st.DataObject) -> None:
    path = model.onnx / "model.onnx"
    whole = path.read_bytes()
    try:
        path.write_bytes(data.draw(st.one_of(graphs(onnx.load(path)), damaged(whole))))
        with redirect_stdout(StringIO()) as printed:
            check(OnnxCrossEncoder(model.onnx, threads=1))
    finally:
        path.write_bytes(whole)
    assert printed.getvalue() == ""  # standard output belongs to the command line's results


WEIGHTS = "model.safetensors"
few = settings(max_examples=settings().max_examples // 4)  # each loads a model into torch


def weights(content: bytes) -> st.SearchStrategy[bytes]:
    """Return weights of which the header was changed: its length, then JSON, then numbers."""
    end = 8 + int.from_bytes(content[:8], "little")

    def put(header: bytes, length: int) -> bytes:
        return (len(header) + length).to_bytes(8, "little") + header + content[end:]

    headers = json_text(json.loads(content[8:end]), edits=2)
    lengths = st.sampled_from([0, 0, 0, -1, 1, 2**40, 2**63])
    return st.one_of(st.builds(put, headers, lengths), damaged(content))


@few
@given(name=st.sampled_from(["config.json", "tokenizer_config.json", WEIGHTS]), data=st.data())
def test_torch_models(model: TinyModel, name: str, data: st.DataObject) -> None:
    path = model.torch / name
    whole = path.read_bytes()
    odd = weights(whole) if name == WEIGHTS else damaged(json_text(json.loads(whole), edits=2), 1)
    try:
        path.write_bytes(data.draw(odd))
        check(TorchCrossEncoder(str(model.torch)))
    finally:
        path.write_bytes(whole)


@pytest.fixture(scope="module")
def bi_encoder(model: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bi_encoder(model.torch, tmp_path_factory.mktemp("bi") / "encoder")


BI_SETTINGS = (
    *("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"),
    *("1_Pooling/config.json", "config.json", WEIGHTS),
)


@few
@given(name=st.sampled_from(BI_SETTINGS), data=st.data())
def test_bi_encoders(bi_encoder: Path, name: str, data: st.DataObject) -> None:
    path = bi_encoder / name
    whole = path.read_bytes()
    odd = weights(whole) if name == WEIGHTS else damaged(json_text(json.loads(whole), edits=2), 1)
    try:
        path.write_bytes(data.draw(odd))
        check(BiEncoderScorer(str(bi_encoder)))
    finally:
        path.write_bytes(whole)
