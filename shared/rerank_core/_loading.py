"""From a name, or from what `Scorer.to_config` returned, to a `Scorer`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from rerank_core._checks import describe, suggest
from rerank_core._errors import ConfigurationError
from rerank_core._scorer import Scorer

__all__ = ["ScorerLike", "load_scorer", "shared_scorer"]

ScorerLike: TypeAlias = Scorer | Mapping[str, Any] | str | os.PathLike[str]
"""A scorer, or what `load_scorer` makes one from."""


class _Kind(NamedTuple):
    """A kind of scorer: where its class is, and an example of its names if it has any."""

    module: str
    name: str
    example: str | None = None


_KINDS = {
    "onnx": _Kind("_local.onnx", "OnnxCrossEncoder", "onnx:PATH_OR_HUB_ID"),
    "torch": _Kind("_local.torch", "TorchCrossEncoder", "torch:PATH_OR_HUB_ID"),
    "bi": _Kind("_local.bi_encoder", "BiEncoderScorer", "bi:PATH_OR_HUB_ID"),
    "hub": _Kind("_local.auto", "HubCrossEncoder"),
    "cohere": _Kind("_remote.cohere", "CohereScorer", "cohere:rerank-v5.0-fast"),
    "tei": _Kind("_remote.tei", "TeiScorer", "tei:http://HOST:PORT"),
    "voyage": _Kind("_remote.voyage", "VoyageScorer", "voyage:rerank-2.5"),
    "sglang": _Kind("_remote.sglang", "SglangScorer", "sglang:http://HOST:PORT"),
    "nim": _Kind("_remote.nim", "NimScorer"),
    "fallback": _Kind("_combinators.fallback", "Fallback"),
    "deadline": _Kind("_combinators.deadline", "Deadline"),
    "cascade": _Kind("_combinators.cascade", "Cascade"),
    "cached": _Kind("_combinators.cached", "Cached"),
    "windowed": _Kind("_combinators.windowed", "Windowed"),
    "calibrated": _Kind("_combinators.calibrated", "Calibrated", "calibrated:PATH"),
}
_VOYAGE = tuple(f"rerank-{start}" for start in ("lite", *range(1, 10)))  # Voyage's own names
_MOST_LEVELS, _MOST_SCORERS = 32, 1000
_LONGEST_NAME, _LONGEST_JSON = 4096, 100_000
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_scorer(spec: ScorerLike) -> Scorer:
    """Make a scorer from a name. No model is loaded and no service is asked before its first use.

    Args:
        spec: One of

            * ``"nano"``, the embedded model;
            * ``"onnx:PATH_OR_HUB_ID"``, a cross-encoder on ONNX Runtime;
            * ``"torch:PATH_OR_HUB_ID"``, one on sentence-transformers;
            * ``"bi:PATH_OR_HUB_ID"``, a bi-encoder's cosine, on sentence-transformers;
            * ``"cohere:MODEL"``, Cohere's rerank service;
            * ``"tei:ADDRESS"``, a Text Embeddings Inference server;
            * ``"voyage:MODEL"``, Voyage AI's rerank service;
            * ``"sglang:ADDRESS"``, an SGLang server;
            * ``"calibrated:PATH"``, the scorer of a calibration that ``rerank calibrate`` wrote,
              calibrated;
            * a folder, an ONNX file or a hub id such as ``"owner/model"``: on ONNX Runtime where
              it has an ONNX file that gives scores, alone or with the modules beside it (see
              `OnnxCrossEncoder`), else on sentence-transformers;
            * what `Scorer.to_config` returned;
            * a `Scorer`, which is returned as it is.

    Returns:
        The scorer.

    Raises:
        ConfigurationError: If the name is unknown, an option does not fit, or a configuration has
            more than 32 levels or 1000 scorers.

    Example:
        ```python
        from rerank_core import load_scorer

        scorer = load_scorer("nano")
        scores = scorer.score("How do plants eat?", ["Plants use light.", "Cats purr."]).scores
        assert scores[0] > scores[1]
        ```
    """
    return _load(spec, 0, count(1))


def _load(spec: object, depth: int, numbers: Iterator[int]) -> Scorer:
    """Make a scorer that is so deep within a configuration, and take a number for it."""
    if isinstance(spec, Scorer):
        return spec
    if isinstance(spec, os.PathLike):
        spec = os.fspath(spec)

    def load_inner(inner: object) -> Scorer:
        return _load(inner, depth + 1, numbers)

    if isinstance(spec, Mapping):
        if depth > _MOST_LEVELS or next(numbers) > _MOST_SCORERS:
            raise ConfigurationError(
                f"a scorer configuration must have at most {_MOST_LEVELS} levels and "
                f"{_MOST_SCORERS} scorers; this one has more, or holds itself"
            )
        return _from_config(spec, load_inner)
    if not isinstance(spec, str) or not spec.strip() or len(spec) > _LONGEST_NAME:
        raise ConfigurationError(f"scorer {describe(spec)} is no name; {_known_names()}")
    from rerank_core._local.files import EMBEDDED, local_path, looks_like_path

    there = local_path(spec) is not None
    prefix, _, model = spec.partition(":")
    kind = _KINDS.get(prefix)
    if kind is not None and kind.example and not there:
        if not model.strip():
            raise ConfigurationError(
                f"scorer {spec!r} names no model; did you mean {kind.example!r}? {_known_names()}"
            )
        try:
            return _class_of(kind).from_name(model.strip(), load_inner)
        except ConfigurationError as error:  # the rest of the name may hold a password
            raise ConfigurationError(f"scorer '{prefix}:…': {error}") from error
    if spec in EMBEDDED:
        return _class_of(_KINDS["onnx"]).from_name(spec, load_inner)
    if looks_like_path(spec) and not there:
        raise ConfigurationError(f"scorer {spec!r}: no such file or folder")
    if there or _HUB_ID.fullmatch(spec):
        return _class_of(_KINDS["hub"]).from_name(spec, load_inner)
    hint = _hint(spec, prefix) or suggest(spec, (*EMBEDDED, *_examples()))
    raise ConfigurationError(f"scorer {spec!r} is unknown{hint or ';'} {_known_names()}")


def _hint(spec: str, prefix: str) -> str:
    """Return what was probably meant, where the spelling alone does not tell."""
    if spec.startswith("rerank-"):
        service = "voyage" if spec.startswith(_VOYAGE) else "cohere"
        return f"; did you mean {f'{service}:{spec}'!r}?"
    kind = _KINDS.get(prefix)
    if kind is not None and not kind.example and prefix != "hub":
        return f": make a {kind.name} in code, or pass its configuration;"
    return ""


def shared_scorer(spec: str | os.PathLike[str] | Mapping[str, Any]) -> Scorer:
    """Return the scorer that this process keeps for a name or a configuration.

    The eight used last are kept, with their models. A name that may mean something else by now,
    because the working folder or ``CO_API_URL`` is another one, or the file of a calibration was
    written again, makes a new scorer.

    Args:
        spec: As for `load_scorer`.

    Raises:
        ConfigurationError: If the name is unknown, or an option does not fit.
    """
    written: object = os.fspath(spec) if isinstance(spec, os.PathLike) else spec
    is_name = isinstance(written, str)
    if isinstance(written, Mapping):
        written = _short_json(written)
    if not isinstance(written, str):
        return load_scorer(spec)
    version = _file_time(written) if is_name else None
    return _kept(written, is_name, os.environ.get("CO_API_URL"), str(Path.cwd()), version)


def _file_time(name: str) -> int | None:
    """Return when the calibration that a name means was written; None for other names."""
    kind, _, path = name.partition(":")
    if kind == "calibrated":
        with suppress(OSError, ValueError):
            return Path(path.strip()).stat().st_mtime_ns
    return None


def _short_json(config: Mapping[str, Any]) -> str | None:
    """Write a configuration as JSON; None if it is not plain JSON, or long."""
    import json

    written = ""
    with suppress(TypeError, ValueError, RecursionError):
        for part in json.JSONEncoder().iterencode(config):
            written += part
            if len(written) > _LONGEST_JSON:
                return None
        return written
    return None


@lru_cache(maxsize=8)
def _kept(
    written: str, is_name: bool, _address: str | None, _folder: str, _version: int | None
) -> Scorer:
    if is_name:
        return load_scorer(written)
    import json

    return load_scorer(json.loads(written))


def _from_config(config: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Scorer:
    options = dict(config)
    name = options.pop("type", None)
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        hint = suggest(name, _KINDS) if isinstance(name, str) else ""
        raise ConfigurationError(
            f"scorer configuration has type {describe(name)}{hint or ';'} "
            f"it must be one of {', '.join(map(repr, _KINDS))}"
        )
    try:
        return _class_of(kind).from_config(options, load)
    except KeyError as error:
        raise ConfigurationError(f"scorer configuration {name!r} lacks {error}") from error
    except ConfigurationError:
        raise
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"{error!s:.500}"
        raise ConfigurationError(f"scorer configuration {name!r} does not fit: {reason}") from error


def _class_of(kind: _Kind) -> type[Scorer]:
    found: type[Scorer] = getattr(import_module(f"rerank_core.{kind.module}"), kind.name)
    return found


def _examples() -> list[str]:
    return [kind.example for kind in _KINDS.values() if kind.example]


def _known_names() -> str:
    from rerank_core._local.files import EMBEDDED

    names = ", ".join(f'"{name}"' for name in _examples())
    return (
        f'what works: "{EMBEDDED[0]}" (embedded), {names}, a folder, '
        'or a hub id such as "cross-encoder/ms-marco-MiniLM-L6-v2"'
    )
