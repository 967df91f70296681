"""From a name, or from what `Scorer.to_config` wrote, to a `Scorer`."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from rerank_core import combinators, scorers
from rerank_core.errors import ConfigurationError
from rerank_core.planning import Job
from rerank_core.scorer import Scorer
from rerank_core.scorers._names import local_path, model_name
from rerank_core.types import Progress, Scale, Scoring
from rerank_core.validation import describe, suggest

__all__ = ["HubCrossEncoder", "load_scorer", "shared_scorer"]

_CLASSES = {
    "onnx": "OnnxCrossEncoder",
    "torch": "TorchCrossEncoder",
    "bi": "BiEncoderScorer",
    "cohere": "CohereScorer",
    "tei": "TeiScorer",
}
_EXAMPLES = {
    "onnx": "onnx:PATH_OR_HUB_ID",
    "torch": "torch:PATH_OR_HUB_ID",
    "bi": "bi:PATH_OR_HUB_ID",
    "cohere": "cohere:rerank-v5.0-fast",
    "tei": "tei:http://HOST:PORT",
}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_scorer(spec: str | os.PathLike[str] | Mapping[str, Any] | Scorer) -> Scorer:
    """Make a scorer from a name. No model is loaded and no service is asked before its first use.

    Args:
        spec: One of

            * ``"nano"``, the embedded model;
            * ``"onnx:PATH_OR_HUB_ID"``, a cross-encoder on ONNX Runtime;
            * ``"torch:PATH_OR_HUB_ID"``, one on sentence-transformers;
            * ``"bi:PATH_OR_HUB_ID"``, a bi-encoder's cosine, on sentence-transformers;
            * ``"cohere:MODEL"``, Cohere's rerank service;
            * ``"tei:ADDRESS"``, a Text Embeddings Inference server;
            * a folder, an ONNX file or a hub id such as ``"owner/model"``: on ONNX Runtime where
              it has an ONNX file, else on sentence-transformers;
            * what `Scorer.to_config` returned;
            * a `Scorer`, which comes back as it is.

    Returns:
        The scorer.

    Raises:
        ConfigurationError: If the name is unknown, or an option does not fit.
    """
    if isinstance(spec, Scorer):
        return spec
    if isinstance(spec, os.PathLike):
        spec = os.fspath(spec)
    if isinstance(spec, Mapping):
        return _from_config(spec)
    if not isinstance(spec, str) or not spec.strip():
        raise ConfigurationError(f"scorer {describe(spec)} is no name; {_help()}")
    kind, colon, model = spec.partition(":")
    if kind in _CLASSES and not (model.strip() or local_path(spec)):
        raise ConfigurationError(
            f"scorer {spec!r} names no model; did you mean {_EXAMPLES[kind]!r}? {_help()}"
        )
    if colon and kind in _CLASSES:
        return _make(kind, {"base_url" if kind == "tei" else "model": model.strip()})
    from rerank_core.scorers.onnx import EMBEDDED, looks_like_path

    if spec in EMBEDDED:
        return _make("onnx", {"model": spec})
    there = local_path(spec) is not None
    if looks_like_path(spec) and not there:
        raise ConfigurationError(f"scorer {spec!r}: no such file or folder")
    if there or _HUB_ID.fullmatch(spec):
        return HubCrossEncoder(spec)
    if spec.startswith("rerank-"):
        meant = f"; did you mean 'cohere:{spec}'?"
    else:
        meant = suggest(spec, (*EMBEDDED, *_EXAMPLES.values()))
    raise ConfigurationError(f"scorer {spec!r} is unknown{meant or ';'} {_help()}")


def shared_scorer(spec: str | os.PathLike[str] | Mapping[str, Any]) -> Scorer:
    """Return the scorer that this process keeps for a name or a configuration.

    The eight used last are kept, with their models.

    Args:
        spec: As for `load_scorer`.

    Raises:
        ConfigurationError: If the name is unknown, or an option does not fit.
    """
    try:
        written = json.dumps(os.fspath(spec) if isinstance(spec, os.PathLike) else spec)
    except (TypeError, ValueError):  # not plain JSON: load_scorer knows what to make of it
        return load_scorer(spec)
    return _kept(written)


@lru_cache(maxsize=8)
def _kept(written: str) -> Scorer:
    return load_scorer(json.loads(written))


class HubCrossEncoder(Scorer):
    """A model from a folder or the hub: on ONNX Runtime if it has an ONNX file, else on torch.

    Which one shows at first use, since only the hub can tell.

    Args:
        model: Folder, ONNX file or hub id.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._chosen: Scorer | None = None

    @property
    def scorer(self) -> Scorer:
        """The scorer that was chosen; looks the model up at first use."""
        with self._lock:
            if self._chosen is None:
                from rerank_core.scorers.onnx import MissingGraphError, OnnxCrossEncoder

                scorer = OnnxCrossEncoder(self._model)
                try:
                    _ = scorer.scale  # looks for the files, but loads nothing
                except MissingGraphError:
                    self._chosen = scorers.TorchCrossEncoder(self._model)
                else:
                    self._chosen = scorer
            return self._chosen

    @property
    def name(self) -> str:
        """The folder's or file's name, or the hub id."""
        return model_name(self._model)

    @property
    def scale(self) -> Scale:
        """The chosen scorer's scale."""
        return self.scorer.scale

    @property
    def fingerprint(self) -> str:
        """The chosen scorer's fingerprint."""
        return self.scorer.fingerprint

    @property
    def max_length(self) -> int | None:
        """The chosen scorer's limit."""
        return self.scorer.max_length

    def load(self) -> None:
        """Choose the scorer, and load its model now."""
        self.scorer.load()

    def close(self) -> None:
        """Release the model."""
        with self._lock:
            if self._chosen is not None:
                self._chosen.close()

    def to_config(self) -> dict[str, Any]:
        """The model's name, with ``"type": "hub"``."""
        return {"type": "hub", "model": self._model}

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        return self.scorer.score(query, texts, progress=progress)

    def _score_jobs(self, jobs: Sequence[Job], progress: Progress) -> list[Scoring]:
        queries, texts = [job.query for job in jobs], [job.texts for job in jobs]
        return self.scorer.score_many(queries, texts, progress=progress)

    def __reduce__(self) -> tuple[type[HubCrossEncoder], tuple[str]]:
        return type(self), (self._model,)

    def __repr__(self) -> str:
        return f"HubCrossEncoder({self._model!r})"


def _from_config(config: Mapping[str, Any]) -> Scorer:
    options = dict(config)
    kind = options.pop("type", None)
    if kind not in (*_CLASSES, *_MAKERS):
        kinds = ", ".join(map(repr, [*_CLASSES, *_MAKERS]))
        raise ConfigurationError(
            f"scorer configuration has type {describe(kind)}; it must be one of {kinds}"
        )
    return _make(kind, options)


def _make(kind: str, options: Mapping[str, Any]) -> Scorer:
    make = _MAKERS[kind] if kind in _MAKERS else getattr(scorers, _CLASSES[kind])
    try:
        scorer: Scorer = make(**options)
    except TypeError as error:
        raise ConfigurationError(f"scorer configuration does not fit: {error}") from error
    return scorer


def _fallback(scorers: Sequence[Any], **options: Any) -> Scorer:
    return combinators.Fallback(*map(load_scorer, scorers), **options)


def _cascade(stages: Sequence[Any]) -> Scorer:
    *cheap, strong = stages
    pairs = [(load_scorer(scorer), keep) for scorer, keep in cheap]
    return combinators.Cascade([*pairs, load_scorer(strong)])


def _cached(scorer: Any, path: str | None = None) -> Scorer:
    store = None if path is None else combinators.DiskStore(path)
    return combinators.Cached(load_scorer(scorer), store)


def _windowed(scorer: Any, **options: Any) -> Scorer:
    return combinators.Windowed(load_scorer(scorer), **options)


def _deadline(scorer: Any, seconds: float) -> Scorer:
    return combinators.Deadline(load_scorer(scorer), seconds)


_MAKERS: Mapping[str, Callable[..., Scorer]] = {
    "hub": HubCrossEncoder,
    "fallback": _fallback,
    "cascade": _cascade,
    "cached": _cached,
    "windowed": _windowed,
    "deadline": _deadline,
}


def _help() -> str:
    from rerank_core.scorers.onnx import EMBEDDED

    names = ", ".join(f'"{name}"' for name in EMBEDDED)
    return (
        f'what works: {names} (embedded), "onnx:PATH_OR_HUB_ID", "torch:PATH_OR_HUB_ID", '
        '"bi:PATH_OR_HUB_ID", '
        '"cohere:MODEL" such as "cohere:rerank-v3.5", "tei:http://HOST:PORT", a folder, '
        'or a hub id such as "cross-encoder/ms-marco-MiniLM-L6-v2"'
    )
