"""Checks of the constructor's arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rerank_core._checks import check_name, describe
from rerank_core._errors import ConfigurationError

__all__ = ["check_extra_body", "check_model", "check_path"]

# https://docs.cohere.com/docs/deprecations
_RETIRED = {
    "rerank-english-v2.0": "'rerank-v4.0-fast', 'rerank-v4.0-pro' or 'rerank-english-v3.0'",
    "rerank-multilingual-v2.0": (
        "'rerank-v4.0-fast', 'rerank-v4.0-pro' or 'rerank-multilingual-v3.0'"
    ),
}


def check_model(model: str) -> str:
    """Return the model's name, or raise `ConfigurationError` if it is blank or retired."""
    model = check_name(model, "model", "rerank-v5.0-fast")
    if model in _RETIRED:
        raise ConfigurationError(
            f"model {model!r} was retired by Cohere; use {_RETIRED[model]} instead"
        )
    return model


def check_path(path: str) -> str:
    """Return what is added to the address, or raise `ConfigurationError`."""
    odd = not isinstance(path, str) or any(c in "?#\\" or c.isspace() for c in path)
    if odd or not (path == "" or path.startswith("/")):
        raise ConfigurationError(
            "path must be '/v2/rerank', '/v1/rerank', '/rerank' or the like, or '' if base_url "
            f"is the whole address, not {describe(path)}"
        )
    return path


def check_extra_body(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of further fields for the request, or raise `ConfigurationError`."""
    if extra is None:
        return {}
    try:
        copied = json.loads(json.dumps(extra, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        copied = None
    if not isinstance(copied, dict) or copied != extra:
        raise ConfigurationError(
            f"extra_body must be a mapping of names to JSON values, not a {type(extra).__name__}"
        )
    for taken in ("model", "query", "documents", "top_n"):
        if taken in copied:
            raise ConfigurationError(f"extra_body must not hold {taken!r}: the scorer sets it")
    return copied
