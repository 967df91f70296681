"""Base class for combinators around a single scorer."""

from __future__ import annotations

from collections.abc import Sequence

from rerank_core._checks import describe
from rerank_core._errors import ConfigurationError
from rerank_core._scorer import Scorer
from rerank_core._types import Scale

__all__ = ["Wrapper"]


class Wrapper(Scorer):
    """Passes on a scorer's name, scale, fingerprint and longest pair.

    Args:
        scorer: The scorer.

    Raises:
        ConfigurationError: If it is none.
    """

    def __init__(self, scorer: Scorer) -> None:
        if not isinstance(scorer, Scorer):
            raise ConfigurationError(f"scorer must be a Scorer, not {describe(scorer)}")
        self._scorer = scorer

    @property
    def name(self) -> str:
        """The scorer's name."""
        return self._scorer.name

    @property
    def scale(self) -> Scale:
        """The scorer's scale."""
        return self._scorer.scale

    @property
    def fingerprint(self) -> str:
        """The scorer's fingerprint: the scores are the same."""
        return self._scorer.fingerprint

    @property
    def max_length(self) -> int | None:
        """The scorer's longest pair."""
        return self._scorer.max_length

    def _inner(self) -> Sequence[Scorer]:
        return (self._scorer,)
