"""Model folders that are broken, hostile or changed behind a cache's back."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Regex, Tokenizer, pre_tokenizers

from rerank_core import (
    Cached,
    ConfigurationError,
    Fallback,
    MemoryStore,
    OnnxCrossEncoder,
    ScorerError,
    load_scorer,
    rerank,
)
from rerank_core._local.external_data import external_data, external_names
from rerank_core.testing import OverlapScorer
from support.models import TinyModel

QUERY, TEXTS = "drug discovery", ["river list", "a drug", "molecule"]
NAMES = ["input_ids", "attention_mask", "token_type_ids"]


@pytest.fixture
def folder(tiny: Callable[..., TinyModel], tmp_path: Path) -> Path:
    """A model's folder to spoil."""
    return shutil.copytree(tiny().onnx, tmp_path / "model")


def assert_replaced(scorer: Any, cause: str = "ConfigurationError") -> None:
    """Another scorer answers where this one fails, bare and under a cache."""
    stand_in = OverlapScorer()
    ranking = rerank(QUERY, TEXTS, Fallback(scorer, stand_in))
    assert ranking.causes == (cause,)
    assert all(item.score is not None for item in ranking)
    assert Cached(Fallback(scorer, stand_in)).score(QUERY, TEXTS).causes == (cause,)


def change(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


# Files that are not what they should be


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path must be short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("make", [make_pipe, make_socket, make_device, Path.mkdir, make_large])
def test_only_regular_files_of_bounded_size_are_read(
    folder: Path, name: str, make: Callable[[Path], None]
) -> None:
    (folder / name).unlink()
    make(folder / name)
    with pytest.raises(ConfigurationError, match=name):
        OnnxCrossEncoder(folder).load()
    assert_replaced(load_scorer(str(folder)))


@pytest.mark.parametrize("make", [make_pipe, make_socket, make_device, make_large])
def test_a_graph_that_is_no_regular_file_is_refused(
    folder: Path, make: Callable[[Path], None]
) -> None:
    (folder / "model.onnx").unlink()
    make(folder / "model.onnx")
    assert_replaced(OnnxCrossEncoder(folder))
    assert_replaced(OnnxCrossEncoder(folder / "model.onnx"))


@pytest.mark.parametrize("make", [make_pipe, make_device])
def test_a_model_that_is_no_folder_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "model")
    with pytest.raises(ConfigurationError, match="regular files only"):
        OnnxCrossEncoder(tmp_path / "model").load()
    assert_replaced(load_scorer(str(tmp_path / "model")))


def test_a_graph_outside_of_the_folder_is_refused(folder: Path) -> None:
    for file in ("../model/model.onnx", str(folder / "model.onnx")):
        with pytest.raises(ConfigurationError, match="within the model's folder"):
            OnnxCrossEncoder(folder, file=file).load()


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe{}",
        b'{"a": "\xff"}',
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b"\x00",
        b'{"pad_token_id": ' + b"9" * 5_000 + b"}",
        b'{"model_type": ' + b"[" * 900 + b"]" * 900 + b', "pad_token_id": 1.5}',
    ],
)
def test_a_configuration_that_cannot_be_read_is_named(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert_replaced(OnnxCrossEncoder(folder))
    (folder / "config.json").unlink()
    (folder / "tokenizer.json").write_bytes(content)
    assert_replaced(OnnxCrossEncoder(folder))


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("pad_token_id", 10**30),
        ("pad_token_id", 2**31),
        ("pad_token_id", "0"),
        ("pad_token_id", [0]),
        ("pad_token_id", 0.5),
        ("pad_token_id", float("nan")),
        ("pad_token_id", True),
        ("max_position_embeddings", "512"),
        ("max_position_embeddings", float("inf")),
        ("model_max_length", [64]),
        ("model_max_length", 2),
        ("activation_fn", ["Identity"]),
        ("activation_fn", {"Identity": 1}),
        ("activation_fn", "torch.nn.Tanh"),
        ("sentence_transformers", {"activation_fn": 3}),
    ],
)
def test_a_setting_of_a_wrong_type_or_size_is_an_error(
    folder: Path, setting: str, wrong: object
) -> None:
    change(folder / "config.json", **{setting: wrong})
    with pytest.raises(ConfigurationError):
        OnnxCrossEncoder(folder).load()
    assert_replaced(load_scorer(str(folder)))


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [("activation", ["identity"]), ("activation", 0), ("max_length", "64")],
)
def test_a_wrong_setting_of_our_own_is_an_error(folder: Path, setting: str, wrong: object) -> None:
    (folder / "rerank_config.json").write_text(json.dumps({setting: wrong}))
    assert_replaced(OnnxCrossEncoder(folder))


@pytest.mark.parametrize(
    "settings",
    [
        {"model_type": [1]},
        {"model_type": {}, "pad_token_id": None},
        {"pad_token_id": -1},
        {"pad_token_id": 0.0, "model_max_length": 1e30},
        {"sentence_transformers": [1]},
        {"model_type": "\ud800"},
    ],
)
def test_settings_that_say_nothing_are_left_out(folder: Path, settings: dict[str, Any]) -> None:
    expected = OnnxCrossEncoder(folder).score(QUERY, TEXTS).scores
    change(folder / "config.json", **settings)
    assert OnnxCrossEncoder(folder).score(QUERY, TEXTS).scores == expected


# Weights beside the graph


def move_weights(folder: Path, name: str) -> Path:
    """Put a graph's weights into a file beside it."""
    graph = folder / "model.onnx"
    model = onnx.load(graph)
    onnx.save_model(model, graph, save_as_external_data=True, location=name, size_threshold=0)
    return folder / name


def point_at(graph: Path, location: str) -> None:
    """Let a graph's tensors name another file of weights."""
    model = onnx.load(graph, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    graph.write_bytes(model.SerializeToString())


def test_replaced_weights_of_any_name_give_no_stale_scores(folder: Path) -> None:
    expected = OnnxCrossEncoder(folder).score(QUERY, TEXTS).scores
    (folder / "inner").mkdir()
    for name in ("weights.bin", "inner/values"):
        weights = move_weights(folder, name)
        store = MemoryStore()
        before = Cached(OnnxCrossEncoder(folder), store).score(QUERY, TEXTS)
        assert before.scores == expected
        fingerprint = OnnxCrossEncoder(folder).fingerprint
        (folder / "README.md").write_text("another one")
        assert OnnxCrossEncoder(folder).fingerprint == fingerprint
        original = weights.read_bytes()
        weights.write_bytes(original[:-4096] + bytes(4096))
        after = Cached(OnnxCrossEncoder(folder), store).score(QUERY, TEXTS)
        assert after.scores == OnnxCrossEncoder(folder).score(QUERY, TEXTS).scores
        assert after.usage.cache_hits == 0
        weights.write_bytes(original)


def test_what_is_beside_a_graph_and_no_file_does_not_count(folder: Path) -> None:
    fingerprint = OnnxCrossEncoder(folder).fingerprint
    (folder / "model.onnx.parts").mkdir()
    os.mkfifo(folder / "other_config.json")
    assert OnnxCrossEncoder(folder).fingerprint == fingerprint


def test_messages_about_a_model_are_short(folder: Path) -> None:
    write_graph(folder, lambda: [node("Identity", "whole", name="n" * 5_000)], TensorProto.INT64)
    model = onnx.load(folder / "model.onnx")
    for number in range(1_000):
        model.graph.output.append(
            helper.make_tensor_value_info(f"output {number}", TensorProto.INT64, None)
        )
        model.graph.node.append(helper.make_node("Identity", ["whole"], [f"output {number}"]))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ConfigurationError, match="outputs") as info:
        OnnxCrossEncoder(folder).load()
    assert len(str(info.value)) < 1_000


def test_closing_forgets_the_files(folder: Path) -> None:
    scorer = OnnxCrossEncoder(folder)
    scorer.load()
    fingerprint = scorer.fingerprint
    scorer.close()
    change(folder / "config.json", comment="another training run")
    assert scorer.fingerprint != fingerprint


def link_out(folder: Path) -> None:
    (folder / "weights.bin").rename(folder.parent / "weights.bin")
    (folder / "weights.bin").symlink_to(folder.parent / "weights.bin")


def replace_by(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "weights.bin").unlink()
        make(folder / "weights.bin")

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        link_out,
        replace_by(make_pipe),
        replace_by(make_device),
        replace_by(Path.mkdir),
        replace_by(lambda path: None),
        replace_by(lambda path: path.symlink_to(path)),
        lambda folder: point_at(folder / "model.onnx", "/etc/passwd"),
        lambda folder: point_at(folder / "model.onnx", "../../../../etc/passwd"),
        lambda folder: point_at(folder / "model.onnx", "weights.bin\0"),
        lambda folder: point_at(folder / "model.onnx", "."),
        lambda folder: point_at(folder / "model.onnx", "x" * 5_000),
    ],
)
def test_weights_elsewhere_or_of_another_kind_are_refused(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    move_weights(folder, "weights.bin")
    spoil(folder)
    with pytest.raises(ConfigurationError):
        OnnxCrossEncoder(folder).load()
    with pytest.raises(ConfigurationError):
        _ = OnnxCrossEncoder(folder).fingerprint
    assert_replaced(OnnxCrossEncoder(folder))


def test_weights_linked_as_in_the_hubs_cache_are_read(folder: Path, tmp_path: Path) -> None:
    expected = OnnxCrossEncoder(folder).score(QUERY, TEXTS).scores
    move_weights(folder, "weights.bin")
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(tmp_path / "blobs" / str(number))
        path.symlink_to(tmp_path / "blobs" / str(number))
    assert OnnxCrossEncoder(folder).score(QUERY, TEXTS).scores == expected


def test_weights_are_found_wherever_a_graph_can_hold_them(tmp_path: Path) -> None:
    def tensor(name: str) -> TensorProto:
        made = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="offset", value="0")
        made.external_data.add(key="location", value=f"{name}.bin")
        return made

    def constant(name: str) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [name], value=tensor(name))

    inner = helper.make_graph([constant("deep")], "inner", [], [], initializer=[tensor("branch")])
    branch = helper.make_node("If", ["a"], ["b"], then_branch=inner)
    several = helper.make_node("Own", ["a"], ["c"])
    several.attribute.append(helper.make_attribute("tensors", [tensor("one"), tensor("two")]))
    several.attribute.append(helper.make_attribute("graphs", [inner]))
    sparse = onnx.SparseTensorProto(values=tensor("values"), indices=tensor("indices"))
    graph = helper.make_graph(
        [branch, several], "g", [], [], initializer=[tensor("main")], sparse_initializer=[sparse]
    )
    function = onnx.FunctionProto(name="f", node=[constant("function")])
    function.attribute_proto.append(helper.make_attribute("default", tensor("default")))
    model = helper.make_model(graph, functions=[function])
    loaded = TensorProto(name="location", data_location=TensorProto.DEFAULT)
    loaded.external_data.add(key="location", value="stale.bin")
    model.graph.initializer.append(loaded)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    names = "main values indices branch deep one two function default"
    assert external_names(path) == sorted(f"{name}.bin" for name in names.split())


def test_a_file_that_is_no_graph_has_no_weights(folder: Path, tmp_path: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    for number, spoilt in enumerate((b"", b"\xff" * 20, b"no graph", content[:1000], b"\x3a\x7f")):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(spoilt)
        with pytest.raises(ConfigurationError, match="ONNX"):
            external_data(path)


# Graphs that are no cross-encoders


def write_graph(
    folder: Path, make: Callable[[], list[onnx.NodeProto]], kind: int = TensorProto.FLOAT
) -> None:
    """Write a graph of a few nodes, of which the last gives the output "logits".

    Nodes can use "sums", the sum of each pair's token ids, of shape (pairs, 1).
    """
    shape = ["pairs", "tokens"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in NAMES]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceSum", ["input_ids", "axes"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["sums"], to=TensorProto.FLOAT),
        *make(),
    ]
    output = helper.make_tensor_value_info("logits", kind, None)
    graph = helper.make_graph(nodes, "g", inputs, [output], initializer=[axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def constant(kind: int, shape: list[int], values: list[Any]) -> list[onnx.NodeProto]:
    value = helper.make_tensor("v", kind, shape, values)
    return [helper.make_node("Constant", [], ["logits"], value=value)]


def node(operation: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operation, list(inputs), ["logits"], **attributes)


def test_a_small_graph_scores(folder: Path) -> None:
    write_graph(folder, lambda: [node("Identity", "sums")])
    scores = OnnxCrossEncoder(folder, activation="identity").score(QUERY, TEXTS).scores
    assert len(set(scores)) == 3


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: constant(TensorProto.STRING, [1, 1], [b"0.5"]), TensorProto.STRING),
        (lambda: [node("Identity", "whole")], TensorProto.INT64),
        (lambda: [node("Cast", "sums", to=TensorProto.BOOL)], TensorProto.BOOL),
    ],
)
def test_outputs_that_are_no_scores_are_refused_when_loading(
    folder: Path, make: Callable[[], list[onnx.NodeProto]], kind: int
) -> None:
    write_graph(folder, make, kind)
    with pytest.raises(ConfigurationError, match="outputs"):
        OnnxCrossEncoder(folder).load()
    assert_replaced(load_scorer(str(folder)))


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: constant(TensorProto.FLOAT, [1, 1], [0.5]), "ConfigurationError"),
        (lambda: constant(TensorProto.FLOAT, [5], [0.5] * 5), "ConfigurationError"),
        (lambda: constant(TensorProto.FLOAT, [], [0.5]), "ConfigurationError"),
        (lambda: constant(TensorProto.FLOAT, [0, 1], []), "ConfigurationError"),
        (lambda: [node("Unsqueeze", "sums", "axes")], "ConfigurationError"),
        (lambda: [node("Log", "axes_of_nothing")], "ConfigurationError"),
        (lambda: [node("Reshape", "sums", "axes")], "ScorerError"),
        (lambda: [node("Div", "sums", "zeros")], "ConfigurationError"),
    ],
)
def test_outputs_of_another_shape_are_typed_errors(
    folder: Path, make: Callable[[], list[onnx.NodeProto]], cause: str
) -> None:
    write_graph(folder, make)
    assert_replaced(OnnxCrossEncoder(folder, batch_tokens=1024), cause)


def test_scores_that_are_no_numbers_are_an_error(folder: Path) -> None:
    write_graph(
        folder,
        lambda: [
            helper.make_node("Sub", ["sums", "sums"], ["zeros"]),
            node("Div", "zeros", "zeros"),
        ],
    )
    assert_replaced(OnnxCrossEncoder(folder), "NonFiniteScoreError")


def test_a_graph_of_one_row_reads_one_pair_at_a_time(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    for each in (*model.graph.input, *model.graph.output):
        each.type.tensor_type.shape.dim[0].dim_value = 1
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert_replaced(OnnxCrossEncoder(folder, batch_tokens=1024), "ScorerError")
    assert len(OnnxCrossEncoder(folder, batch_tokens=1).score(QUERY, TEXTS).scores) == 3


# Tokenizers


def spoil_tokenizer(path: Path, pattern: str) -> None:
    """Split texts at a regular expression."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.save(str(path))


def test_a_regular_expression_that_backtracks_is_a_typed_error(folder: Path) -> None:
    spoil_tokenizer(folder / "tokenizer.json", "(x+x+)+y")
    scorer = OnnxCrossEncoder(folder)
    assert len(scorer.score(QUERY, TEXTS).scores) == 3
    for query, texts in ((QUERY, ["x" * 200]), ("x" * 200, TEXTS)):
        with pytest.raises(ScorerError, match="tokenizer failed") as info:
            scorer.score(query, texts)
        assert type(info.value.__cause__).__name__ == "PanicException"
    found = Fallback(scorer, OverlapScorer(), on=Exception).score(QUERY, ["x" * 200])
    assert found.causes == ("ScorerError",)
    assert len(scorer.score(QUERY, TEXTS).scores) == 3


def test_a_tokenizer_without_an_unknown_token_is_a_typed_error(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["unk_token"] = "[NONE]"
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ScorerError, match="tokenizer failed"):
        OnnxCrossEncoder(folder).score("\u4e00", TEXTS)


def test_ids_that_are_too_large_are_a_typed_error(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["river"] = 2**32 - 1
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert_replaced(OnnxCrossEncoder(folder), "ScorerError")


@pytest.mark.parametrize("template", ["[CLS] $A [SEP]", "[CLS] $B [SEP] $A [SEP]"])
def test_a_tokenizer_without_pairs_is_refused(folder: Path, template: str) -> None:
    from tokenizers.processors import TemplateProcessing

    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    if "$B" in template:
        tokenizer.post_processor = TemplateProcessing(
            single="$A", pair=template, special_tokens=ids
        )
        tokenizer.save(str(path))
    else:
        content = json.loads(path.read_text())
        content["post_processor"]["pair"] = content["post_processor"]["single"]
        path.write_text(json.dumps(content))
    assert_replaced(OnnxCrossEncoder(folder))
