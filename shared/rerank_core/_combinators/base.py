"""Base class for combinators around a single scorer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from rerank_core._checks import describe
from rerank_core._errors import ConfigurationError
from rerank_core._scorer import Scorer
from rerank_core._types import Scale

__all__ = ["Wrapper"]


class Wrapper(Scorer):
    """Base class that has the name, scale, fingerprint and maximum length of one inner scorer.

    Args:
        scorer: The inner scorer.

    Raises:
        ConfigurationError: If `scorer` is not a `Scorer`, or is `listwise` where each text must
            have a score of its own.
    """

    _text_by_text = False  # reads a part of the list, or other texts

    def __init__(self, scorer: Scorer) -> None:
        if not isinstance(scorer, Scorer):
            raise ConfigurationError(f"scorer must be a Scorer, not {describe(scorer)}")
        if self._text_by_text and scorer.listwise:
            kind = type(self).__name__
            raise ConfigurationError(
                f"what {scorer.name!r} gives a text depends on the whole list, so {kind} cannot be "
                f"around it: put it inside, as in Calibrated({kind}(scorer), calibration)"
            )
        self._scorer = scorer

    @property
    def name(self) -> str:
        """The inner scorer's name."""
        return self._scorer.name

    @property
    def scale(self) -> Scale:
        """The inner scorer's scale."""
        return self._scorer.scale

    @property
    def fingerprint(self) -> str:
        """The inner scorer's fingerprint, since the scores are the same."""
        return self._scorer.fingerprint

    @property
    def max_length(self) -> int | None:
        """The inner scorer's maximum length."""
        return self._scorer.max_length

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Self:
        """Create an instance from the output of `to_config`, without its ``"type"``."""
        return cls(**{**options, "scorer": load(options["scorer"])})

    def _inner(self) -> Sequence[Scorer]:
        return (self._scorer,)
