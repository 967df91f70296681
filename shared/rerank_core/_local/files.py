"""Files of a model: in this package, in a folder, or on the Hugging Face hub."""

from __future__ import annotations

import glob
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Literal

from rerank_core._concurrency import no_forks
from rerank_core._errors import ConfigurationError
from rerank_core._local.external_data import external_data, states_output
from rerank_core._local.failures import loading
from rerank_core._local.reading import check_file, hash_files, read_object, read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from rerank_core._local.head import Head

__all__ = [
    "EMBEDDED",
    "MissingGraphError",
    "ModelFiles",
    "Precision",
    "cpu_features",
    "embedded_tokenizer",
    "find_files",
    "graph_candidates",
    "local_path",
    "looks_like_path",
    "model_name",
]

_MODELS = Path(__file__).parents[1] / "models"
EMBEDDED = tuple(sorted(folder.name for folder in _MODELS.iterdir() if folder.is_dir()))
"""Names of the models that are part of this package."""

Precision = Literal["fp32", "int8"]

_EXPORT = "rerank_config.json"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
# Names that sentence-transformers gives to graphs quantised for one kind of CPU:
# https://sbert.net/docs/cross_encoder/usage/efficiency.html
_BY_FEATURE = {
    "avx512_vnni": "qint8_avx512_vnni",
    "avx512": "qint8_avx512",
    "avx2": "quint8_avx2",
    "arm64": "qint8_arm64",
}
# Names that Optimum and transformers.js give to quantised graphs for any CPU.
_FOR_ANY_CPU = ("quantized", "uint8", "int8")


class MissingGraphError(ConfigurationError):
    """The model has no ONNX file, or one that cannot score without other parts of the model."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Paths of a model's files.

    Attributes:
        name: Short name of the model.
        folder: Folder of the configuration files and the tokenizer.
        graph: The ONNX file.
        commit: The hub's commit, for a model from the hub.
        head: Head that scores from the states that the graph gives; None if it gives scores.
    """

    name: str
    folder: Path
    graph: Path
    commit: str | None = None
    head: Head | None = None

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's file."""
        return self.folder / "tokenizer.json"

    def identity(self) -> str:
        """Return an identifier of the exact content: the hub's commit, or a hash of the files.

        Raises:
            ConfigurationError: If a file cannot be read.
        """
        if self.commit is not None:
            return f"{self.name}@{self.commit}/{self.graph.relative_to(self.folder).as_posix()}"
        with loading(f"model {self.name!r} cannot be read"):
            beside = self.graph.parent.glob(f"{glob.escape(self.graph.name)}*")
            graphs = {*filter(Path.is_file, beside), *external_data(self.graph)}
            configs = filter(Path.is_file, self.folder.glob("*config.json"))
            head = () if self.head is None else self.head.files
            return hash_files((*sorted(graphs), self.tokenizer, *sorted(configs), *head))


@cache
def embedded_tokenizer() -> Tokenizer:
    """Return the first embedded model's tokenizer, which counts and splits texts."""
    return read_tokenizer(_MODELS / EMBEDDED[0] / "tokenizer.json")


def find_files(
    model: str,
    *,
    precision: Precision | None,
    file: str | None,
    revision: str | None,
    local_files_only: bool,
) -> ModelFiles:
    """Find a model's files, and download those that are neither local nor in the hub's cache.

    Args:
        model: Name of an embedded model, an ONNX file or its folder, or a hub id.
        precision: Precision of the graph; see `graph_candidates`.
        file: The graph to use instead, relative to the folder or repository.
        revision: Branch, tag or commit on the hub.
        local_files_only: Look in the hub's cache only.

    Returns:
        The files; graph and tokenizer exist.

    Raises:
        ConfigurationError: If there is no such model, it lacks a file (which is named), or an
            option does not apply to it.
        ServiceError: If the hub cannot be reached and the model is not in its cache.
    """
    if file and (PurePath(file).is_absolute() or ".." in PurePath(file).parts):
        raise ConfigurationError(f"file {file!r} must be a path within the model's folder")
    graphs = (file,) if file else graph_candidates(precision)
    path = _MODELS / model if model in EMBEDDED else local_path(model)
    if path is not None:
        if revision is not None:
            raise ConfigurationError(
                f"model {model!r} is local, so that revision {revision!r} means nothing; "
                "leave out revision"
            )
        if path.is_dir():
            return _in_folder(model_name(model), path, graphs, precision)
        check_file(path)
        if precision is not None or file is not None:
            raise ConfigurationError(f"model {model!r} is a file: leave out precision and file")
        folder = path.parent
        if folder.name == "onnx" and not (folder / "tokenizer.json").exists():
            folder = folder.parent
        return _complete(ModelFiles(model_name(model), folder, path))
    if looks_like_path(model):
        raise ConfigurationError(f"model {model!r}: no such file or folder")
    if not _HUB_ID.fullmatch(model):
        raise ConfigurationError(
            f"model {model!r} is neither an embedded model ({', '.join(EMBEDDED)}), a path, nor a "
            "hub id such as 'cross-encoder/ms-marco-MiniLM-L6-v2'"
        )
    from rerank_core._local.hub import fetch

    snapshot = fetch(model, graphs, revision, local_files_only)
    return _in_folder(model, snapshot, graphs, precision, commit=snapshot.name)


def _in_folder(
    name: str,
    folder: Path,
    graphs: Sequence[str],
    precision: Precision | None,
    commit: str | None = None,
) -> ModelFiles:
    exported = read_object(folder / _EXPORT).get("precision")
    if precision is not None and exported is not None:  # our own export, which has one graph
        if exported != precision:
            raise ConfigurationError(f"model {name!r} is {exported} only, not {precision}")
        graphs = graph_candidates(None)
    for graph in graphs:
        if (folder / graph).exists():
            check_file(folder / graph)
            return _complete(ModelFiles(name, folder, folder / graph, commit))
    raise MissingGraphError(
        f"model {name!r} has no {' or '.join(graphs)}"
        + (" on the hub" if commit else f" in {folder}")
        + f"; make one with 'rerank export', or load it with 'torch:{name}'"
    )


def _complete(files: ModelFiles) -> ModelFiles:
    """Check the tokenizer, and read the head if the graph has none."""
    if not files.tokenizer.exists():
        raise MissingGraphError(
            f"model {files.name!r} has no tokenizer.json in {files.folder}; "
            "a fast tokenizer is needed"
        )
    check_file(files.tokenizer)
    exported = "precision" in read_object(files.folder / _EXPORT)
    if exported and not (files.folder / "modules.json").exists():  # our own gives scores
        return files
    output = states_output(files.graph)
    if output is None:
        return files
    with no_forks():
        from rerank_core._local.head import read_head

    try:
        return replace(files, head=read_head(files.folder, output))
    except ConfigurationError as error:
        raise MissingGraphError(
            f"model {files.name!r} is no reranker by its graph alone, which gives no scores but "
            f"the states of its tokens: {error}; make a graph with 'rerank export', or load the "
            f"model with 'torch:{files.name}'"
        ) from error


def graph_candidates(precision: Precision | None) -> tuple[str, ...]:
    """Return the paths at which to look for a graph, in order of preference.

    Args:
        precision: ``"int8"`` for a quantised graph that suits this CPU; ``"fp32"`` or None for
            the plain graph.

    Returns:
        Paths relative to the model's folder or repository.
    """
    names = ["model"]
    if precision == "int8":
        suffixes = [_BY_FEATURE[feature] for feature in cpu_features()]
        names = [f"model_{suffix}" for suffix in (*suffixes, *_FOR_ANY_CPU)]
    return tuple(f"{folder}{name}.onnx" for name in names for folder in ("", "onnx/"))


@cache
def cpu_features() -> tuple[str, ...]:
    """Return the kinds of quantised graphs that this CPU runs well, best first.

    Returns:
        Some of ``"avx512_vnni"``, ``"avx512"`` and ``"avx2"``, or ``"arm64"``. An x86-64 CPU
        whose features are unknown is assumed to have AVX2, as nearly all do.
    """
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return ("arm64",)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ("avx2",)
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), {"avx2"})
    by_flag = {"avx512_vnni": "avx512_vnni", "avx512f": "avx512", "avx2": "avx2"}
    return tuple(feature for flag, feature in by_flag.items() if flag in flags)


def looks_like_path(model: str) -> bool:
    """Return whether a name can only be a local path."""
    return (
        model.startswith((".", "/", "~"))
        or "\\" in model
        or model.endswith(".onnx")
        or model.count("/") > 1
    )


def local_path(model: str) -> Path | None:
    """Return the file or folder of this name, or None if there is none."""
    try:
        path = Path(os.path.expanduser(model))  # noqa: PTH111 - Path's own raises for "~nobody"
        return path if path.exists() else None
    except (OSError, ValueError):  # too long for a path, or a null byte in it
        return None


def model_name(model: str) -> str:
    """Return the own name of a folder or ONNX file, and any other name as it is.

    Args:
        model: A path, a hub id or an embedded model's name.
    """
    path = local_path(model)
    if path is not None and path.is_dir():
        return path.resolve().name
    return Path(model).stem if model.endswith(".onnx") else model
