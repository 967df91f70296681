"""`OnnxCrossEncoder`: a cross-encoder on ONNX Runtime, loaded at first use."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from rerank_core._checks import check_choice, check_whole, describe, optional
from rerank_core._concurrency import Lazy, no_forks
from rerank_core._errors import ConfigurationError
from rerank_core._local.failures import loading
from rerank_core._local.files import EMBEDDED, ModelFiles, Precision, find_files, model_name
from rerank_core._local.settings import (
    Activation,
    ModelSettings,
    check_activation,
    read_settings,
    scale_of,
)
from rerank_core._planning import Job
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring

if TYPE_CHECKING:
    from rerank_core._local.engine import Engine

__all__ = ["OnnxCrossEncoder", "default_threads", "share_cpus"]


class _Resolved(NamedTuple):
    files: ModelFiles
    settings: ModelSettings


class OnnxCrossEncoder(Scorer):
    """A cross-encoder on ONNX Runtime: BERT, RoBERTa, XLM-R and ModernBERT exports.

    An ONNX file without the model's head, as in ``cross-encoder/ettin-reranker-17m-v1``, runs with
    the modules that sentence-transformers saved beside it: Pooling (cls, mean, max or last token),
    Dense and LayerNorm.

    Nothing is loaded or downloaded before the first scoring (or `load`). Each distinct text is
    tokenised once; pairs are sorted by token length and batched by a budget of tokens, padding
    included, which also bounds memory. A pair of more than `max_length` tokens is cut: first its
    text, down to half of the length, then the query in its middle. ``usage.truncated`` and
    ``usage.truncated_queries`` count these pairs.

    A graph with dynamically quantised activations (int8) computes their scale from the whole
    batch, so that a score would depend on the other pairs in it. By default such a graph reads
    one pair at a time, which makes scores independent of each other.

    Args:
        model: ``"nano"`` (embedded), an ONNX file, a folder with ``model.onnx`` or
            ``onnx/model.onnx`` and ``tokenizer.json``, or the hub id of such a repository.
        revision: Branch, tag or commit on the hub. Default: its main branch.
        precision: ``"int8"`` selects the quantised graph of a folder or repository that suits
            this CPU best, such as ``onnx/model_quint8_avx2.onnx`` (see `graph`). Default: the
            plain ``model.onnx``, whatever its precision.
        file: The graph to use instead, relative to the folder or repository.
        max_length: Maximum number of tokens of a pair, special tokens included. Default: the
            model's own, else 512.
        activation: ``"identity"`` gives logits, ``"sigmoid"`` scores from 0 to 1. Default: the
            one in the model's configuration, else ``"sigmoid"`` as in sentence-transformers.
        threads: Number of batches computed at once, over all callers. Default: the number of CPUs
            that this process may use.
        batch_tokens: Maximum number of tokens of a batch, padding included; raise it on a GPU.
            Default: 256, or one pair at a time if the graph quantises activations dynamically.
        providers: Execution providers of ONNX Runtime, in order of preference. Default: the CPU.
        local_files_only: Look for a hub model in the local cache only. Default: False.

    Raises:
        ConfigurationError: If an option is invalid. A model that cannot be found or loaded raises
            it at first use.

    Example:
        ```python
        from rerank_core import OnnxCrossEncoder

        scorer = OnnxCrossEncoder("nano", activation="sigmoid")
        scores = scorer.score("How do plants eat?", ["Plants use light.", "Cats purr."]).scores
        assert 1 > scores[0] > scores[1] > 0
        ```
    """

    _cuts_pairs = True

    def __init__(
        self,
        model: str | os.PathLike[str] = "nano",
        *,
        revision: str | None = None,
        precision: Precision | None = None,
        file: str | None = None,
        max_length: int | None = None,
        activation: Activation | None = None,
        threads: int | None = None,
        batch_tokens: int | None = None,
        providers: Sequence[str] | None = None,
        local_files_only: bool = False,
    ) -> None:
        self._model = os.fspath(model)
        if not isinstance(self._model, str) or not self._model.strip():
            raise ConfigurationError(f"model must be a name or a path, not {describe(model)}")
        if isinstance(providers, str) or (providers is not None and not list(providers)):
            raise ConfigurationError(
                f"providers must be a list such as ['CPUExecutionProvider'], "
                f"not {describe(providers)}"
            )
        if file is not None and (not isinstance(file, str) or precision is not None):
            raise ConfigurationError(
                f"file must be a path within the model, and excludes precision; "
                f"got {describe(file)}"
            )
        self._name = model_name(self._model)
        self._options: dict[str, Any] = {
            "revision": revision,
            "precision": optional(check_choice, precision, "precision", get_args(Precision)),
            "file": file,
            "max_length": optional(check_whole, max_length, "max_length"),
            "activation": check_activation(activation),
            "threads": optional(check_whole, threads, "threads"),
            "batch_tokens": optional(check_whole, batch_tokens, "batch_tokens"),
            "providers": None if providers is None else list(providers),
            "local_files_only": local_files_only or None,
        }
        self._reset()

    @property
    def name(self) -> str:
        """The embedded model's name, the folder's or file's name, or the hub id."""
        return self._name

    @property
    def scale(self) -> Scale:
        """`LOGIT` for the activation ``"identity"``, `UNIT` for ``"sigmoid"``."""
        return scale_of(self._options["activation"] or self._resolve().settings.activation)

    @property
    def fingerprint(self) -> str:
        """A hash of the model's files (or its commit), with the options that change scores."""
        files, settings = self._resolve()
        return (
            f"onnx:{self._identity.get(files.identity)}:max_length={settings.max_length}"
            f":activation={settings.activation}:batch_tokens={self._options['batch_tokens']}"
        )

    @property
    def graph(self) -> str:
        """The graph's path within the model's folder; finds the model's files."""
        files, _ = self._resolve()
        return files.graph.relative_to(files.folder).as_posix()

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of a pair; finds the model's files."""
        return self._resolve().settings.max_length

    def load(self) -> None:
        """Load the model now, rather than with the first scoring."""
        self._engine.get(self._make_engine)

    def close(self) -> None:
        """Release the model and its threads; the next scoring loads it again."""
        engine = self._engine.clear()
        self._resolved.clear()  # the files may be others by then
        self._identity.clear()
        if engine is not None:
            engine.close()

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments that were set, with ``"type": "onnx"``."""
        chosen = {name: value for name, value in self._options.items() if value is not None}
        return {"type": "onnx", "model": self._model, **chosen}

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        return self._score_jobs([Job(query, tuple(texts))], progress)[0]

    def _score_jobs(self, jobs: Sequence[Job], progress: Progress) -> list[Scoring]:
        if self._model in EMBEDDED:
            self._warn_of_scripts(jobs)
        with self._engine.use(self._make_engine) as engine:
            return engine.score(jobs, progress)

    def _make_engine(self) -> Engine:
        """Load the model."""
        with no_forks():
            from rerank_core._local.engine import Engine
        return Engine(
            *self._resolve(),
            self._options["threads"] or default_threads(),
            self._options["batch_tokens"],
            self._options["providers"] or ["CPUExecutionProvider"],
        )

    def _resolve(self) -> _Resolved:
        """Find the model's files and read its settings, once."""
        return self._resolved.get(self._find)

    def _find(self) -> _Resolved:
        options = self._options
        with loading(f"model {self._model!r} cannot be read"):
            files = find_files(
                self._model,
                precision=options["precision"],
                file=options["file"],
                revision=options["revision"],
                local_files_only=bool(options["local_files_only"]),
            )
            settings = read_settings(files, options["max_length"], options["activation"])
        return _Resolved(files, settings)

    def _reset(self) -> None:
        """Set the state of an instance that has not found or loaded its model."""
        # Each of them on its own: who asks for the settings does not wait until the model is
        # loaded or its files are hashed.
        self._resolved: Lazy[_Resolved] = Lazy()
        self._identity: Lazy[str] = Lazy()
        self._engine: Lazy[Engine] = Lazy()

    def _warn_of_scripts(self, jobs: Sequence[Job]) -> None:
        """Warn if the embedded model, which was trained on English, reads another script."""
        if "scripts" in self._warned:
            return
        for query, texts in jobs:
            if _mostly_not_latin(query) or any(map(_mostly_not_latin, texts)):
                self._warn_once(
                    "scripts",
                    "%s was trained on English, and was given texts that are mostly not in Latin "
                    "script: their scores mean little; use a multilingual model, such as "
                    "'BAAI/bge-reranker-v2-m3' (said once for each scorer)",
                    facts={},
                )
                return

    def __getstate__(self) -> dict[str, Any]:
        derived = ("_resolved", "_identity", "_engine")
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __repr__(self) -> str:
        return f"OnnxCrossEncoder({self._model!r})"


_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")


def _mostly_not_latin(text: str) -> bool:
    """Return whether most letters at the beginning of a text are not Latin."""
    if text.isascii():
        return False
    # Mathematical and full-width letters are written as plain ones by this form.
    beginning = unicodedata.normalize("NFKC", text[:1000])
    letters = sum(map(str.isalpha, beginning))
    return letters > 1 and 2 * len(_LATIN.findall(beginning)) < letters


_share: int | None = None


def share_cpus(count: int) -> None:
    """Let models that are loaded from now on use so many CPUs, in a process that shares them."""
    global _share  # noqa: PLW0603 - it belongs to the process
    _share = count


def default_threads() -> int:
    """Return the number of CPUs that this process may use."""
    if _share is not None:
        return _share
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
