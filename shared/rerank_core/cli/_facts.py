"""What is installed and found on this machine, gathered without loading any model."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import rerank_core
from rerank_core._local.files import cpu_features, graph_candidates
from rerank_core._local.onnx import default_threads

__all__ = ["EXTRAS", "gather_facts"]

EXTRAS = {
    "onnxruntime": None,
    "tokenizers": None,
    "numpy": None,
    "huggingface-hub": None,
    "langchain-core": "langchain",
    "llama-index-core": "llamaindex",
    "cohere": "cohere",
    "sentence-transformers": "torch",
    "torch": "torch",
}
"""The packages that matter, and the extra of rerank-core that brings each; None for the base."""


def gather_facts() -> dict[str, Any]:
    """Gather everything that ``rerank info`` shows, in plain JSON values.

    Returns:
        ``versions`` (None where not installed), ``providers`` of onnxruntime, ``threads`` that a
        local model uses unless told otherwise, ``cpu`` (the features that quantised graphs are
        made for, best first), ``models`` (``embedded`` and ``cached``, sizes in bytes; ``int8`` is
        the graph that ``precision="int8"`` would take here) and ``environment`` (of a key only
        whether it is set, never the key).
    """
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    return {
        "versions": {
            "rerank-core": rerank_core.__version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in EXTRAS},
        },
        "providers": _providers(),
        "threads": default_threads(),
        "cpu": list(cpu_features()),
        "models": {
            "embedded": _embedded_models(),
            "cache": HF_HUB_CACHE,
            "cached": _cached_models(Path(HF_HUB_CACHE)),
        },
        "environment": {
            "CO_API_KEY": _presence("CO_API_KEY"),
            "COHERE_API_KEY": _presence("COHERE_API_KEY"),
            "HF_HUB_OFFLINE": "on" if HF_HUB_OFFLINE else "off",
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _presence(variable: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        return "not set"
    return "set" if value else "empty"


def _embedded_models() -> list[dict[str, Any]]:
    models = Path(rerank_core.__file__).parent / "models"
    return [
        {
            "name": folder.name,
            "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        }
        for folder in sorted(models.glob("*"))
        if folder.is_dir()
    ]


def _cached_models(cache: Path) -> list[dict[str, Any]]:
    """List the models in the hub's cache whose own files say that they are cross-encoders."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(cache).repos
    except CacheNotFound:
        return []
    found = []
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        revisions = [r for r in repository.revisions if _is_cross_encoder(r.snapshot_path)]
        if repository.repo_type == "model" and revisions:
            files = [file for revision in revisions for file in revision.files]
            found.append(
                {
                    "name": repository.repo_id,
                    "bytes": repository.size_on_disk,
                    "onnx": any(file.file_name.endswith(".onnx") for file in files),
                    "int8": _int8_graph(revisions[0].snapshot_path),
                }
            )
    return found


def _int8_graph(snapshot: Path) -> str | None:
    there = (graph for graph in graph_candidates("int8") if (snapshot / graph).exists())
    return next(there, None)


def _is_cross_encoder(snapshot: Path) -> bool:
    """Whether it was saved by `CrossEncoder`, or classifies a sequence with a single label."""
    if _read_object(snapshot / "config_sentence_transformers.json").get("model_type") == (
        "CrossEncoder"
    ):
        return True
    config = _read_object(snapshot / "config.json")
    labels = config.get("id2label")
    # Without `id2label`, transformers assumes two labels.
    return (
        "SequenceClassification" in str(config.get("architectures"))
        and isinstance(labels, dict)
        and len(labels) == 1
    )


def _read_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
