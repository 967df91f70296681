"""`rerank info`: what is installed and found here."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rerank_core
from rerank_core._errors import ConfigurationError
from rerank_core._local.files import cpu_features, graph_candidates
from rerank_core._local.onnx import default_threads
from rerank_core._local.reading import read_object
from rerank_core._models import list_models
from rerank_core._remote.cohere import CohereScorer
from rerank_core._remote.nim import NimScorer
from rerank_core._remote.sglang import SglangScorer
from rerank_core._remote.tei import TeiScorer
from rerank_core._remote.voyage import VoyageScorer
from rerank_core.cli._output import two_columns, write_lines

if TYPE_CHECKING:
    from huggingface_hub import CachedRevisionInfo

__all__ = ["EXTRAS", "gather_facts", "show_info"]

EXTRAS = {
    "onnxruntime": None,
    "tokenizers": None,
    "numpy": None,
    "huggingface-hub": None,
    "safetensors": None,
    "langchain-core": "langchain",
    "llama-index-core": "llamaindex",
    "cohere": "cohere",
    "sentence-transformers": "torch",
    "torch": "torch",
    "fastapi": "serve",
    "ray": "ray",
}
"""The packages that matter, and the extra of rerank-core that brings each; None for the base."""

_SERVICES = (CohereScorer, VoyageScorer, TeiScorer, SglangScorer, NimScorer)


def show_info(*, as_json: bool) -> None:
    """Write what is installed and found to standard output.

    Args:
        as_json: Write one JSON object instead of two columns.

    Raises:
        OSError: If writing fails.
    """
    facts = gather_facts()
    if as_json:
        # ASCII, because a folder's name may hold bytes that are not UTF-8.
        write_lines([json.dumps(facts, indent=2)], None)
    else:
        write_lines(two_columns(_info_rows(facts)), None)


def _info_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (package, installed or f'not installed: pip install "rerank-core[{EXTRAS[package]}]"')
        for package, installed in facts["versions"].items()
    ]
    models = facts["models"]
    rows += [
        ("providers", ", ".join(facts["providers"])),
        ("threads", str(facts["threads"])),
        ("int8 graphs for", ", ".join(facts["cpu"]) or "any CPU"),
        *(("model, embedded", f"{m['name']} ({_size(m['bytes'])})") for m in models["embedded"]),
        *(("model, cached", _cached(model)) for model in models["cached"]),
    ]
    if not models["cached"]:
        rows.append(("models, cached", f"no cross-encoder in {models['cache']}"))
    there = [name for name, is_cached in models["recommended"].items() if is_cached]
    rows.append(("recommended, cached", ", ".join(there) or "none of those in `rerank models`"))
    return rows + list(facts["environment"].items())


def _cached(model: dict[str, Any]) -> str:
    kind = "onnx" if model["onnx"] else "torch only"
    if model["int8"]:
        kind += f", int8: {model['int8']}"
    return f"{model['name']} ({_size(model['bytes'])}, {kind})"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def gather_facts() -> dict[str, Any]:
    """Gather everything that ``rerank info`` shows, in plain JSON values.

    Returns:
        ``versions`` (None where not installed), ``providers`` of onnxruntime, ``threads`` that a
        local model uses unless told otherwise, ``cpu`` (the features that quantised graphs are
        made for, best first), ``models`` (``embedded`` and ``cached``, sizes in bytes; ``int8`` is
        the graph that ``precision="int8"`` would take here; ``recommended``, each with whether it
        is in the cache) and ``environment`` (of a key only whether it is set, never the key).
    """
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    cached = _cached_models(Path(HF_HUB_CACHE))
    names = {model["name"] for model in cached}

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
            "cached": cached,
            "recommended": {name: name in names for name in _recommended_repositories()},
        },
        "environment": {
            **{name: _presence(name) for service in _SERVICES for name in service.key_variables},
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


def _recommended_repositories() -> list[str]:
    """List the recommended models that come from the hub."""
    return [model.name for model in list_models() if "/" in model.name]


def _cached_models(cache: Path) -> list[dict[str, Any]]:
    """List the cross-encoders in the hub's cache: those whose own files say so, or recommended."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(cache).repos
    except CacheNotFound:
        return []
    found, recommended = [], _recommended_repositories()
    for repository in sorted(repositories, key=lambda repository: repository.repo_id):
        known = repository.repo_id in recommended
        revisions = [
            revision
            for revision in repository.revisions
            if (_has_weights(revision) if known else _is_cross_encoder(revision.snapshot_path))
        ]
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


def _has_weights(revision: CachedRevisionInfo) -> bool:
    """Return whether more than settings was fetched."""
    return any(
        file.file_name.endswith((".onnx", ".safetensors", ".bin")) for file in revision.files
    )


def _is_cross_encoder(snapshot: Path) -> bool:
    """Return whether `CrossEncoder` saved it, or it classifies a sequence with a single label."""
    if _settings(snapshot / "config_sentence_transformers.json").get("model_type") == (
        "CrossEncoder"
    ):
        return True
    config = _settings(snapshot / "config.json")
    labels = config.get("id2label")
    # Without `id2label`, transformers assumes two labels.
    return (
        "SequenceClassification" in str(config.get("architectures"))
        and isinstance(labels, dict)
        and len(labels) == 1
    )


def _settings(file: Path) -> Mapping[str, Any]:
    """Return the content of a configuration file; nothing if it cannot be read."""
    with suppress(ConfigurationError):
        return read_object(file)
    return {}
