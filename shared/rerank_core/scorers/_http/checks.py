"""Checks of the arguments that scorers of services have in common."""

from __future__ import annotations

import math

from rerank_core.errors import ConfigurationError
from rerank_core.validation import describe

__all__ = ["check_flag", "check_timeout", "check_whole"]


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


def check_flag(value: bool, argument: str) -> bool:
    """Return True or False, or raise `ConfigurationError`."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{argument} must be True or False, not {describe(value)}")
    return value
