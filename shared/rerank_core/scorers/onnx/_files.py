"""Finding a model's files: inside this package, in a folder, or on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_core.errors import ConfigurationError, ServiceError
from rerank_core.scorers._names import model_name

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "EMBEDDED",
    "MissingGraphError",
    "ModelFiles",
    "embedded_tokenizer",
    "find_files",
    "looks_like_path",
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
        data = self.graph.with_name(self.graph.name + "_data")
        settings = sorted(self.folder.glob("*config.json"))
        for path in (self.graph, data, self.tokenizer, *settings):
            if path.exists():
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()


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
    model: str, graphs: Sequence[str], *, revision: str | None, local_files_only: bool
) -> ModelFiles:
    """Find a model's files, fetching them from the hub if they are not in its cache.

    Args:
        model: Name of an embedded model, an ONNX file or its folder, or a hub id.
        graphs: Where its graph may lie in its folder or repository, by preference.
        revision: Branch, tag or commit on the hub.
        local_files_only: Look in the hub's cache only.

    Returns:
        The files; they exist.

    Raises:
        ConfigurationError: If there is no such model, or it lacks a file; the file is named.
        ServiceError: If the hub cannot be reached and the model is not in its cache.
    """
    path = Path(model).expanduser()
    if model in EMBEDDED:
        return _in_folder(model, _MODELS / model, graphs)
    if path.is_file():
        above = path.parent
        if not (above / "tokenizer.json").exists() and above.name == "onnx":
            above = above.parent
        return _complete(ModelFiles(model_name(model), above, path))
    if path.is_dir():
        return _in_folder(model_name(model), path, graphs)
    if looks_like_path(model):
        raise ConfigurationError(f"model {model!r}: no such file or folder")
    if not _HUB_ID.fullmatch(model):
        raise ConfigurationError(
            f"model {model!r} is neither an embedded model ({', '.join(EMBEDDED)}), a path, nor a "
            "hub id such as 'cross-encoder/ms-marco-MiniLM-L6-v2'"
        )
    snapshot = _from_hub(model, graphs, revision, local_files_only)
    return _in_folder(model, snapshot, graphs, commit=snapshot.name)


def _in_folder(
    name: str, folder: Path, graphs: Sequence[str], commit: str | None = None
) -> ModelFiles:
    for graph in graphs:
        if (folder / graph).is_file():
            return _complete(ModelFiles(name, folder, folder / graph, commit))
    raise MissingGraphError(
        f"model {name!r} has no {' or '.join(graphs)}"
        + (" on the hub" if commit else f" in {folder}")
        + f"; export it to ONNX, or load it with 'torch:{name}'"
    )


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
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def fetch(file: str) -> bool:
        try:
            hf_hub_download(model, file, revision=snapshot.name, local_files_only=local_files_only)
        except EntryNotFoundError:  # a local one too: a cache that lacks it cannot say more
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
                fetch(f"{graph}_data")  # large graphs keep their weights beside them
                break
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
    except (HfHubHTTPError, OSError) as error:
        raise ServiceError(
            f"{wanted} could not be fetched: {type(error).__name__}",
            provider="huggingface-hub",
            retryable=True,
            hint='Try again, or use the embedded model "nano"',
        ) from error
