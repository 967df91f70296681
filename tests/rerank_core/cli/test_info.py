from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rerank_core
from rerank_core import list_models
from rerank_core._local.files import graph_candidates
from rerank_core.cli import _facts

INFO = [sys.executable, "-m", "rerank_core.cli", "info"]


def info(*arguments: str, **env: str) -> str:
    done = subprocess.run(
        [*INFO, *arguments], env={**os.environ, **env}, capture_output=True, timeout=60, check=True
    )
    assert done.stderr == b""
    return done.stdout.decode()


def cache_model(cache: Path, name: str, files: dict[str, Any]) -> None:
    """Lay a repository out as the hub's cache does."""
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = "0" * 40
    snapshot = repository / "snapshots" / commit
    for path, content in files.items():
        (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / path).write_text(content if isinstance(content, str) else json.dumps(content))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)


CLASSIFIER = {"architectures": ["BertForSequenceClassification"]}


def test_json_holds_what_was_found(tmp_path: Path) -> None:
    cache_model(
        tmp_path,
        "org/onnx",
        {"config.json": {**CLASSIFIER, "id2label": {"0": "LABEL_0"}}, "onnx/model.onnx": "1234"},
    )
    cache_model(
        tmp_path, "org/torch", {"config_sentence_transformers.json": {"model_type": "CrossEncoder"}}
    )
    cache_model(tmp_path, "org/two-labels", {"config.json": CLASSIFIER})
    cache_model(tmp_path, "org/embedder", {"config.json": {"architectures": ["BertModel"]}})
    cache_model(tmp_path, "org/broken", {"config.json": "{"})
    cache_model(tmp_path, "org/deep", {"config.json": "[" * 100_000})
    cache_model(tmp_path, "org/folder", {"config.json/inner": "{}"})
    cache_model(tmp_path, "org/pipe", {"README.md": ""})
    os.mkfifo(tmp_path / "models--org--pipe" / "snapshots" / ("0" * 40) / "config.json")
    facts = json.loads(info("--json", HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1"))
    assert facts["versions"]["rerank-core"] == rerank_core.__version__
    assert facts["versions"]["python"].startswith(f"{sys.version_info.major}.")
    assert "CPUExecutionProvider" in facts["providers"]
    assert facts["threads"] >= 1
    assert facts["environment"]["HF_HUB_OFFLINE"] == "on"
    assert facts["models"]["cache"] == str(tmp_path)
    assert [(m["name"], m["onnx"]) for m in facts["models"]["cached"]] == [
        ("org/onnx", True),
        ("org/torch", False),
    ]
    (nano,) = [m for m in facts["models"]["embedded"] if m["name"] == "nano"]
    assert nano["bytes"] > 1_000_000


def test_keys_are_never_shown(tmp_path: Path) -> None:
    env = {"CO_API_KEY": "", "COHERE_API_KEY": "sesame-open", "HF_HUB_CACHE": str(tmp_path / "no")}
    env |= {"VOYAGE_API_KEY": "sesame-shut", "TEI_API_KEY": "sesame-ajar"}
    assert json.loads(info("--json", **env))["environment"] == {
        "CO_API_KEY": "empty",
        "COHERE_API_KEY": "set",
        "VOYAGE_API_KEY": "set",
        "TEI_API_KEY": "set",
        "SGLANG_API_KEY": "not set",
        "NVIDIA_API_KEY": "not set",
        "HF_HUB_OFFLINE": "on" if os.environ.get("HF_HUB_OFFLINE") == "1" else "off",
    }
    shown = info(**env)
    assert "sesame" not in shown
    assert "no cross-encoder in" in shown
    assert "nano (" in shown


def test_what_is_not_installed_comes_with_its_install_line(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    from rerank_core.cli._facts import show_info

    monkeypatch.setitem(_facts.EXTRAS, "no-such-distribution", "torch")
    show_info(as_json=False)
    shown = " ".join(capsysbinary.readouterr().out.decode().split())
    assert 'no-such-distribution not installed: pip install "rerank-core[torch]"' in shown


def test_no_heavy_library_is_imported() -> None:
    script = (
        "import sys\n"
        "from rerank_core.cli._facts import show_info\n"
        "show_info(as_json=True)\n"
        "heavy = {'torch', 'sentence_transformers', 'langchain_core', 'llama_index', 'cohere'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))\n"
    )
    subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)


def test_the_int8_graph_for_this_cpu_is_named(tmp_path: Path) -> None:
    suited = graph_candidates("int8")
    files = {"config.json": {**CLASSIFIER, "id2label": {"0": "LABEL_0"}}, "onnx/model.onnx": "1"}
    cache_model(tmp_path, "org/ready", {**files, suited[1]: "2", suited[-1]: "3"})
    facts = json.loads(info("--json", HF_HUB_CACHE=str(tmp_path)))
    assert facts["models"]["cached"][0]["int8"] == suited[1]
    assert facts["cpu"]
    said = " ".join(info(HF_HUB_CACHE=str(tmp_path), COLUMNS="200").split())
    assert f"org/ready (0.0 MB, onnx, int8: {suited[1]})" in said


def test_the_recommended_models_in_the_cache_are_named(tmp_path: Path) -> None:
    backbone = {"config.json": {"architectures": ["ModernBertModel"]}}
    here, half = "cross-encoder/ettin-reranker-17m-v1", "cross-encoder/ettin-reranker-32m-v1"
    cache_model(tmp_path, here, {**backbone, "onnx/model.onnx": "1"})
    cache_model(tmp_path, half, backbone)
    models = json.loads(info("--json", HF_HUB_CACHE=str(tmp_path)))["models"]
    assert [name for name, cached in models["recommended"].items() if cached] == [here]
    assert models["recommended"].keys() == {m.name for m in list_models() if "/" in m.name}
    assert [model["name"] for model in models["cached"]] == [here]
    assert f"recommended, cached {here}" in " ".join(
        info(HF_HUB_CACHE=str(tmp_path), COLUMNS="200").split()
    )


def test_a_cache_without_recommended_models_points_to_their_list(tmp_path: Path) -> None:
    for cache in (tmp_path, tmp_path / "no"):
        shown = " ".join(info(HF_HUB_CACHE=str(cache), COLUMNS="200").split())
        assert "recommended, cached none of those in `rerank models`" in shown
