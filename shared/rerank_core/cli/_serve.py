"""`rerank serve`: from options to a running server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rerank_core._errors import ConfigurationError
from rerank_core.cli._guard import to_stderr

__all__ = ["run_serve"]


def run_serve(file: Path | None, models: Sequence[str] | None, given: Mapping[str, Any]) -> None:
    """Serve until a signal comes.

    Args:
        file: The file of settings, if any.
        models: Scorers, each under a name if it has one.
        given: The other options, None where one is not given.

    Raises:
        MissingExtraError: If the extra is not installed.
        RerankError: If a setting does not fit, or a model cannot be loaded.
        OSError: If a file cannot be read.
    """
    from rerank_core.serving._run import run
    from rerank_core.serving._settings import read_settings

    named = _named(models) if models else None
    settings = read_settings(file, {**given, "models": named})
    if settings.allow_anyone:
        to_stderr("whoever reaches this server may use it, as --allow-anyone says")
    run(settings)


def _named(models: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for model in models:
        name, separator, scorer = model.partition("=")
        if not separator:
            scorer = name = model
        if name in found:
            raise ConfigurationError(f"--model has two scorers by the name {name!r}; rename one")
        found[name] = scorer
    return found
