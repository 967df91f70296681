"""Folders of sentence-transformers that are broken, hostile or changed behind a cache's back."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

from rerank_core import (
    BiEncoderScorer,
    Cached,
    ConfigurationError,
    Fallback,
    ScorerError,
    TorchCrossEncoder,
    load_scorer,
    rerank,
)
from rerank_core._local.reading import folder_files
from rerank_core.export import export_model
from rerank_core.testing import OverlapScorer
from support.bi_encoders import build_bi_encoder
from support.models import TinyModel

QUERY, TEXTS = "drug discovery", ["river list", "a drug", "molecule"]

Kind = Callable[[str], Any]


@pytest.fixture(scope="module")
def embedder(tiny: Callable[..., TinyModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bi-encoder of three modules."""
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has moved, but earlier versions have it here only
        Dense = import_module("sentence_transformers.models").Dense

    folder = tmp_path_factory.mktemp("bi") / "tiny-bi"
    build_bi_encoder(tiny("bert").torch, folder)
    encoder = SentenceTransformer(str(folder), device="cpu")
    encoder.append(Dense(32, 16))
    encoder.save(str(folder))
    return folder


@pytest.fixture(params=[TorchCrossEncoder, BiEncoderScorer])
def model(
    request: pytest.FixtureRequest,
    tiny: Callable[..., TinyModel],
    embedder: Path,
    tmp_path: Path,
) -> tuple[Kind, Path]:
    """A kind of scorer, and the folder of such a model to spoil."""
    source = tiny().torch if request.param is TorchCrossEncoder else embedder
    return request.param, shutil.copytree(source, tmp_path / "model")


def assert_replaced(scorer: Any, cause: str = "ConfigurationError") -> None:
    """Another scorer answers where this one fails, bare and under a cache."""
    ranking = rerank(QUERY, TEXTS, Fallback(scorer, OverlapScorer()))
    assert ranking.causes == (cause,)
    assert all(item.score is not None for item in ranking)
    assert Cached(Fallback(scorer, OverlapScorer())).score(QUERY, TEXTS).causes == (cause,)


def change(path: Path, **settings: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_every_file_but_documents_counts_in_the_fingerprint(model: tuple[Kind, Path]) -> None:
    make, folder = model
    fingerprint = make(str(folder)).fingerprint
    (folder / "README.md").write_text("another one")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").touch()
    assert make(str(folder)).fingerprint == fingerprint
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix == ".json"]
    for path in (*files, folder / "model.safetensors"):
        content = path.read_bytes()
        if path.suffix == ".json":
            path.write_bytes(content + b"\n")
        elif path.suffix == ".safetensors":
            path.write_bytes(content[:-4] + b"\x00\x00\x80\x3f")
        assert make(str(folder)).fingerprint != fingerprint, path
        path.write_bytes(content)
    assert make(str(folder)).fingerprint == fingerprint


def test_weights_of_every_module_count_in_the_fingerprint(embedder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(embedder, tmp_path / "model")
    fingerprint = BiEncoderScorer(str(folder)).fingerprint
    (weights,) = folder.glob("*_Dense/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    assert BiEncoderScorer(str(folder)).fingerprint != fingerprint


def test_a_commit_that_a_folder_claims_does_not_count(model: tuple[Kind, Path]) -> None:
    make, folder = model
    change(folder / "config.json", _commit_hash="0" * 40)
    fingerprint = make(str(folder)).fingerprint
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    assert make(str(folder)).fingerprint != fingerprint


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "model.safetensors",
        "modules.json",
        "special_tokens_map.json",
        "1_Pooling/config.json",
        "2_Dense/model.safetensors",
    ],
)
def test_pipes_are_never_opened(model: tuple[Kind, Path], name: str) -> None:
    make, folder = model
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ConfigurationError, match="regular files only"):
        make(str(folder)).load()
    assert_replaced(make(str(folder)))


def test_export_opens_no_pipe(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny().torch, tmp_path / "model")
    os.mkfifo(folder / "vocab.txt")
    with pytest.raises(ConfigurationError, match=r"vocab\.txt is a named pipe"):
        export_model(folder, tmp_path / "out")
    change(folder / "config.json", architectures=["GatedCrossEncoder"])
    with pytest.raises(ConfigurationError, match=r"vocab\.txt is a named pipe"):
        export_model(folder, tmp_path / "out")


def test_a_folder_is_walked_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "config.json").touch()
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nowhere")
    assert folder_files(tmp_path) == [tmp_path / "a" / "config.json"]
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "a" / "config.json", tmp_path / "nowhere"):
        with pytest.raises(ConfigurationError):
            folder_files(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"[" * 100_000),
        ("config.json", b"\xff"),
        ("config.json", b"[1]"),
        ("config.json", b'{"model_type": [1]}'),
        ("config.json", b'{"model_type": "bert", "hidden_size": "x"}'),
        ("config.json", b'{"model_type": "bert", "vocab_size": -1}'),
        ("config.json", b'{"model_type": "bert", "id2label": 3}'),
        ("tokenizer.json", b"[" * 100_000),
        ("tokenizer.json", b"{}"),
        ("tokenizer_config.json", b"[1]"),
        ("tokenizer_config.json", b'{"tokenizer_class": [1]}'),
        ("tokenizer_config.json", b"[" * 100_000),
        ("modules.json", b"[" * 100_000),
        ("modules.json", b"[1]"),
        ("modules.json", b'{"type": 1}'),
        ("modules.json", b'[{"type": "os.path.Own", "path": "", "idx": 0, "name": "0"}]'),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 100),
    ],
)
def test_a_broken_file_is_a_typed_error(
    model: tuple[Kind, Path], name: str, content: bytes
) -> None:
    make, folder = model
    (folder / name).write_bytes(content)
    assert_replaced(make(str(folder)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("config_sentence_transformers.json", {"prompts": {"query": 5}}),
        ("config_sentence_transformers.json", {"prompts": {"document": ["a"]}}),
        ("config_sentence_transformers.json", {"prompts": [1]}),
        ("sentence_bert_config.json", {"max_seq_length": [1]}),
        ("1_Pooling/config.json", {"pooling_mode": [1]}),
        ("2_Dense/config.json", {"in_features": 7}),
    ],
)
def test_a_wrong_setting_of_a_module_is_a_typed_error(
    embedder: Path, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    folder = shutil.copytree(embedder, tmp_path / "model")
    change(folder / name, **settings)
    assert_replaced(BiEncoderScorer(str(folder)))


def test_a_folder_without_a_graph_is_checked_too(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny().torch, tmp_path / "model")
    (folder / "config.json").write_text('{"model_type": [1]}')
    assert_replaced(load_scorer(str(folder)))


def test_a_regular_expression_that_backtracks_is_a_typed_error(model: tuple[Kind, Path]) -> None:
    make, folder = model
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(x+x+)+y"), "isolated")
    tokenizer.save(str(path))
    scorer = make(str(folder))
    for query, texts in ((QUERY, ["x" * 200]), ("x" * 200, TEXTS)):
        with pytest.raises(ScorerError) as info:
            scorer.score(query, texts)
        assert type(info.value.__cause__).__name__ == "PanicException"
    assert len(scorer.score(QUERY, TEXTS).scores) == 3
