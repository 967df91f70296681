"""Checks of the constructor's arguments."""

from __future__ import annotations

import math

from rerank_core.errors import ConfigurationError
from rerank_core.validation import describe

__all__ = ["check_model", "check_timeout", "check_whole"]

# https://docs.cohere.com/docs/deprecations
_RETIRED = {
    "rerank-english-v2.0": "'rerank-v4.0-fast', 'rerank-v4.0-pro' or 'rerank-english-v3.0'",
    "rerank-multilingual-v2.0": (
        "'rerank-v4.0-fast', 'rerank-v4.0-pro' or 'rerank-multilingual-v3.0'"
    ),
}


def check_model(model: str) -> str:
    """Return the model's name, or raise `ConfigurationError` if it is blank or retired."""
    if not isinstance(model, str) or not model.strip():
        raise ConfigurationError(
            f"model must be a name such as 'rerank-v4.0-fast', not {describe(model)}"
        )
    model = model.strip()
    if model in _RETIRED:
        raise ConfigurationError(
            f"model {model!r} was retired by Cohere; use {_RETIRED[model]} instead"
        )
    return model


def check_timeout(timeout: float) -> float:
    """Return the seconds as a float, or raise `ConfigurationError`."""
    number = timeout if isinstance(timeout, int | float) else math.nan
    if isinstance(timeout, bool) or not (math.isfinite(number) and number > 0):
        raise ConfigurationError(
            f"timeout must be a number of seconds above 0, not {describe(timeout)}"
        )
    return float(number)


def check_whole(value: int, argument: str, *, at_least: int) -> int:
    """Return a whole number that is large enough, or raise `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigurationError(
            f"{argument} must be a whole number of at least {at_least}, not {describe(value)}"
        )
    return value
