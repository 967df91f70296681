"""Finding a model's files: inside this package, in a folder, or on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core.errors import ConfigurationError, ServiceError
from rerank_core.scorers._names import local_path, model_name
from rerank_core.scorers.onnx._variants import Precision, graph_candidates

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "EMBEDDED",
    "MissingGraphError",
    "ModelFiles",
    "embedded_tokenizer",
    "find_files",
    "looks_like_path",
    "read_object",
]

_MODELS = Path(__file__).parents[2] / "models"
EMBEDDED = tuple(sorted(folder.name for folder in _MODELS.iterdir() if folder.is_dir()))
"""Names of the models that travel inside this package."""

_SETTINGS = ("*config.json", "tokenizer.json")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class MissingGraphError(ConfigurationError):
    """The model is there, but nobody exported it to ONNX."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's files lie.

    Attributes:
        name: Short name of the model.
        folder: Folder of the configuration files and the tokenizer.
        graph: The ONNX file.
        commit: The hub's commit, for a model from the hub.
    """

    name: str
    folder: Path
    graph: Path
    commit: str | None = None

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's file."""
        return self.folder / "tokenizer.json"

    def identity(self) -> str:
        """Name the exact content: the hub's commit, or a hash of the files."""
        if self.commit is not None:
            return f"{self.name}@{self.commit}/{self.graph.relative_to(self.folder).as_posix()}"
        digest = hashlib.blake2b(digest_size=16)
        # Large graphs keep their weights beside them, as model.onnx_data or model.onnx.data.
        graphs = sorted(self.graph.parent.glob(f"{self.graph.name}*"))
        for path in (*graphs, self.tokenizer, *sorted(self.folder.glob("*config.json"))):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()


@cache
def embedded_tokenizer() -> Tokenizer:
    """Return the first embedded model's tokenizer, for counting and cutting texts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(_MODELS / EMBEDDED[0] / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def looks_like_path(model: str) -> bool:
    """Say whether a name can only mean a place on this disk."""
    return (
        model.startswith((".", "/", "~"))
        or "\\" in model
        or model.endswith(".onnx")
        or model.count("/") > 1
    )


def find_files(
    model: str,
    *,
    precision: Precision | None,
    file: str | None,
    revision: str | None,
    local_files_only: bool,
) -> ModelFiles:
    """Find a model's files, fetching them from the hub if they are not in its cache.

    Args:
        model: Name of an embedded model, an ONNX file or its folder, or a hub id.
        precision: Which of several graphs to take; see `graph_candidates`.
        file: The graph to take, relative to the folder or repository.
        revision: Branch, tag or commit on the hub.
        local_files_only: Look in the hub's cache only.

    Returns:
        The files; they exist.

    Raises:
        ConfigurationError: If there is no such model, it lacks a file (which is named), or an
            option means nothing for it.
        ServiceError: If the hub cannot be reached and the model is not in its cache.
    """
    graphs = (file,) if file else graph_candidates(precision)
    path = _MODELS / model if model in EMBEDDED else local_path(model)
    if path is not None and revision is not None:
        raise ConfigurationError(
            f"revision {revision!r} means nothing for {model!r}, a local model"
        )
    if path is not None and path.is_file():
        if precision is not None or file is not None:
            raise ConfigurationError(f"model {model!r} is a file: leave out precision and file")
        above = path.parent
        if not (above / "tokenizer.json").exists() and above.name == "onnx":
            above = above.parent
        return _complete(ModelFiles(model_name(model), above, path))
    if path is not None:
        return _in_folder(model_name(model), path, graphs, precision)
    if looks_like_path(model):
        raise ConfigurationError(f"model {model!r}: no such file or folder")
    if not _HUB_ID.fullmatch(model):
        raise ConfigurationError(
            f"model {model!r} is neither an embedded model ({', '.join(EMBEDDED)}), a path, nor a "
            "hub id such as 'cross-encoder/ms-marco-MiniLM-L6-v2'"
        )
    snapshot = _from_hub(model, graphs, revision, local_files_only)
    return _in_folder(model, snapshot, graphs, precision, commit=snapshot.name)


def _in_folder(
    name: str,
    folder: Path,
    graphs: Sequence[str],
    precision: Precision | None,
    commit: str | None = None,
) -> ModelFiles:
    stated = read_object(folder / "rerank_config.json").get("precision")
    if precision is not None and stated is not None:  # made by one export, so there is one graph
        if stated != precision:
            raise ConfigurationError(f"model {name!r} is {stated} only, not {precision}")
        graphs = graph_candidates(None)
    for graph in graphs:
        if (folder / graph).is_file():
            return _complete(ModelFiles(name, folder, folder / graph, commit))
    raise MissingGraphError(
        f"model {name!r} has no {' or '.join(graphs)}"
        + (" on the hub" if commit else f" in {folder}")
        + f"; make one with 'rerank export', or load it with 'torch:{name}'"
    )


def read_object(path: Path) -> Mapping[str, Any]:
    """Read a JSON object from a file; a missing file is an empty one.

    Raises:
        ConfigurationError: If it holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigurationError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} must hold a JSON object")
    return content


def _complete(files: ModelFiles) -> ModelFiles:
    if not files.tokenizer.is_file():
        raise ConfigurationError(
            f"model {files.name!r} has no tokenizer.json in {files.folder}; "
            "a fast tokenizer is needed"
        )
    return files


def _from_hub(
    model: str, graphs: Sequence[str], revision: str | None, local_files_only: bool
) -> Path:
    """Return the snapshot's folder, with the settings and the first of the graphs there is."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    unknown: list[LocalEntryNotFoundError] = []

    def fetch(file: str) -> bool:
        try:
            hf_hub_download(model, file, revision=snapshot.name, local_files_only=local_files_only)
        except LocalEntryNotFoundError as error:  # the hub did not say that it has no such file
            unknown.append(error)
            return False
        except EntryNotFoundError:
            return False
        return True

    wanted = f"{model}/{graphs[-1]}" + (f" at revision {revision!r}" if revision else "")
    try:
        snapshot = Path(
            snapshot_download(
                model,
                revision=revision,
                allow_patterns=list(_SETTINGS),
                local_files_only=local_files_only,
            )
        )
        for graph in graphs:
            if (snapshot / graph).exists() or fetch(graph):
                fetch(f"{graph}_data")
                fetch(f"{graph}.data")
                return snapshot
        # Weights for torch alone in the cache mean that somebody chose torch for this model.
        if unknown and not any(snapshot.glob("*.safetensors")):
            raise unknown[0]
        return snapshot
    except GatedRepoError as error:
        raise ConfigurationError(
            f"{wanted}: the repository is gated; accept its terms on the hub and set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise ConfigurationError(
            f"{wanted}: no such repository or revision on the hub, or it is private "
            "(set HF_TOKEN for those)"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise ServiceError(
            f"{wanted} is not in the local cache and the hub was not reached",
            provider="huggingface-hub",
            retryable=not local_files_only,
            hint="Connect once to fetch it, copy it into the cache, unset HF_HUB_OFFLINE, "
            'or use the embedded model "nano"',
        ) from error
    except Exception as error:  # the HTTP library's own leak through, and it has changed before
        raise ServiceError(
            f"{wanted} could not be fetched: {type(error).__name__}",
            provider="huggingface-hub",
            retryable=True,
            hint='Try again, or use the embedded model "nano"',
        ) from error
