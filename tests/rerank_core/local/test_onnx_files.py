from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from rerank_core import ConfigurationError, OnnxCrossEncoder, ServiceError
from rerank_core._local.files import EMBEDDED, MissingGraphError, looks_like_path
from support.hub import COMMIT, hub_environment, put_in_cache, serving
from support.models import TinyModel


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_the_embedded_models_are_all_complete() -> None:
    assert "nano" in EMBEDDED
    for name in EMBEDDED:
        scorer = OnnxCrossEncoder(name, local_files_only=True)
        assert scorer.score("a river", ["water"]).usage.pairs == 1
        card = scorer._resolve().files.folder / "README.md"
        assert len(card.read_text()) > 500


def test_graphs_are_found_in_both_places(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    expected = OnnxCrossEncoder(tiny().onnx).score("drug", ["list"]).scores
    folder = shutil.copytree(tiny().onnx, tmp_path / "repository")
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    for model in (folder, folder / "onnx" / "model.onnx"):
        assert OnnxCrossEncoder(model).score("drug", ["list"]).scores == expected


def test_a_folder_without_a_graph_or_tokenizer_says_which(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    with pytest.raises(MissingGraphError, match=r"no model\.onnx or onnx/model\.onnx in .*torch:"):
        OnnxCrossEncoder(tiny().torch).load()
    folder = shutil.copytree(tiny().onnx, tmp_path / "bare")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match=r"no tokenizer\.json"):
        OnnxCrossEncoder(folder).load()


def test_a_cached_hub_model_loads_without_the_hub(
    cache: Path, tiny: Callable[..., TinyModel]
) -> None:
    put_in_cache(cache, "owner/reranker", tiny().onnx)
    scorer = OnnxCrossEncoder("owner/reranker", local_files_only=True)
    assert scorer.score("drug", ["list"]).scores == (
        OnnxCrossEncoder(tiny().onnx).score("drug", ["list"]).scores
    )
    assert f"owner/reranker@{COMMIT}/model.onnx" in scorer.fingerprint


def test_a_cached_hub_model_without_a_graph_names_it(
    cache: Path, tiny: Callable[..., TinyModel]
) -> None:
    put_in_cache(cache, "owner/torch-only", tiny().torch)
    with pytest.raises(MissingGraphError, match=r"onnx/model\.onnx on the hub"):
        OnnxCrossEncoder("owner/torch-only", local_files_only=True).load()


def test_a_model_that_is_not_cached_names_the_file_and_the_ways_out(cache: Path) -> None:
    with pytest.raises(ServiceError, match=r"owner/model/onnx/model\.onnx.*HF_HUB_OFFLINE") as info:
        OnnxCrossEncoder("owner/model", local_files_only=True).load()
    assert info.value.provider == "huggingface-hub"
    assert info.value.__cause__ is not None


@pytest.mark.parametrize("model", ["no model!", "a:b"])
def test_what_cannot_be_a_hub_id_is_refused(model: str) -> None:
    with pytest.raises(ConfigurationError, match="neither an embedded model"):
        OnnxCrossEncoder(model).load()


@pytest.mark.parametrize(
    ("model", "path"),
    [("./a", True), ("/a", True), ("~/a", True), ("a/b/c", True), ("m.onnx", True), ("a/b", False)],
)
def test_paths_and_hub_ids_are_told_apart(model: str, path: bool) -> None:
    assert looks_like_path(model) is path


@pytest.fixture
def hub(tiny: Callable[..., TinyModel], tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "on-the-hub"
    shutil.copytree(tiny().onnx, folder)
    (folder / "onnx").mkdir()
    (folder / "model.onnx").rename(folder / "onnx" / "model.onnx")
    with serving(folder) as endpoint:
        yield endpoint


# The hub's library reads its settings once, at import: a process of its own sees these.
SCRIPT = """
import sys
from rerank_core import RerankError, load_scorer
try:
    scorer = load_scorer(sys.argv[1])
    print(scorer.score("drug", ["list"]).scores, scorer.fingerprint)
except RerankError as error:
    print(type(error).__name__, error)
assert "torch" not in sys.modules
"""


def run_with_hub(endpoint: str, cache: Path, model: str, offline: str = "0") -> str:
    command = [sys.executable, "-c", SCRIPT, model]
    environment = hub_environment(endpoint, cache, offline)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_hub_model_is_fetched_once_and_then_works_offline(
    hub: str, tmp_path: Path, tiny: Callable[..., TinyModel]
) -> None:
    fetched = run_with_hub(hub, tmp_path / "cache", "owner/model")
    assert f"owner/model@{COMMIT}/onnx/model.onnx" in fetched
    assert str(OnnxCrossEncoder(tiny().onnx).score("drug", ["list"]).scores) in fetched
    assert run_with_hub("http://127.0.0.1:9", tmp_path / "cache", "owner/model", "1") == fetched


def test_weights_of_any_name_are_fetched(
    hub: str, tmp_path: Path, tiny: Callable[..., TinyModel]
) -> None:
    graph = tmp_path / "on-the-hub" / "onnx" / "model.onnx"
    onnx.save_model(
        onnx.load(graph), graph, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    fetched = run_with_hub(hub, tmp_path / "cache", "owner/model")
    assert str(OnnxCrossEncoder(tiny().onnx).score("drug", ["list"]).scores) in fetched
    assert run_with_hub("http://127.0.0.1:9", tmp_path / "cache", "owner/model", "1") == fetched


def test_of_a_modular_model_the_modules_are_fetched_and_not_the_weights_of_torch(
    modular: Callable[..., Path], tmp_path: Path
) -> None:
    expected = str(OnnxCrossEncoder(modular()).score("drug", ["list"]).scores)
    with serving(modular()) as hub:
        fetched = run_with_hub(hub, tmp_path / "cache", "owner/model")
    assert fetched.startswith(expected)
    assert f"owner/model@{COMMIT}/onnx/model.onnx" in fetched
    names = {path.name for path in (tmp_path / "cache").rglob("snapshots/*/*")}
    assert {"modules.json", "2_Dense", "3_LayerNorm"} < names
    assert "model.safetensors" not in names
    assert run_with_hub("http://127.0.0.1:9", tmp_path / "cache", "owner/model", "1") == fetched


def test_modules_that_are_not_in_the_cache_are_asked_for(
    modular: Callable[..., Path], cache: Path
) -> None:
    put_in_cache(cache, "owner/modular", modular())
    snapshot = cache / "models--owner--modular" / "snapshots" / COMMIT
    (snapshot / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(MissingGraphError, match="2_Dense"):  # torch has its weights here
        OnnxCrossEncoder("owner/modular", local_files_only=True).load()
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ServiceError, match="not in the local cache"):
        OnnxCrossEncoder("owner/modular", local_files_only=True).load()


def test_a_passing_failure_of_the_hub_does_not_change_the_model(hub: str, tmp_path: Path) -> None:
    (tmp_path / "on-the-hub" / "broken").touch()
    said = run_with_hub(hub, tmp_path / "cache", "owner/model")
    assert said.startswith("ServiceError huggingface-hub: owner/model/onnx/model.onnx")
    (tmp_path / "on-the-hub" / "broken").unlink()
    assert COMMIT in run_with_hub(hub, tmp_path / "cache", "owner/model")


def test_a_repository_the_hub_does_not_know_is_a_configuration_error(
    hub: str, tmp_path: Path
) -> None:
    said = run_with_hub(hub, tmp_path / "cache", "owner/other")
    assert said.startswith("ConfigurationError owner/other/onnx/model.onnx: no such repository")


def test_a_hub_that_is_down_is_a_service_error(tmp_path: Path) -> None:
    said = run_with_hub("http://127.0.0.1:9", tmp_path / "cache", "owner/model")
    assert said.startswith("ServiceError huggingface-hub: owner/model/onnx/model.onnx")
