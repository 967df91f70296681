"""`Fallback`: search must not die with its reranker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rerank_core._checks import check_flag, check_number, check_whole, describe
from rerank_core._concurrency import ProcessLock
from rerank_core._errors import (
    AllScorersFailed,
    AuthenticationError,
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    RerankError,
    ServiceError,
)
from rerank_core._scorer import Scorer
from rerank_core._telemetry import log
from rerank_core._types import CIRCUIT_OPEN, Progress, Scale, Scoring, unique
from rerank_core._usage import Usage

__all__ = ["Fallback"]


class Fallback(Scorer):
    """Tries scorers in turn until one answers; the last resort is first-stage order.

    The scoring says in `degraded` who failed and why, and its scale is that of the scorer that
    answered. A scorer that fails several times in a row is left alone for a while, then probed.
    A failure that waiting cannot mend (a wrong key, an unknown model, a missing extra) is logged
    once for each scorer, as an error; that one is left alone or works again, as a warning or
    information. The records hold no words of a service's, as those may quote a text.

    Args:
        *scorers: In the order to try them.
        on: What counts as a failure of a scorer. Anything else is raised at once, and so is
            `InvalidInputError`: another scorer would not understand the input either. Default:
            every other error of this library.
        keep_order: Whether, when all fail, the texts stay unscored and so in first-stage order.
            False raises `AllScorersFailed`. Default: True.
        failures: Failures in a row after which a scorer is left alone. Default: 3.
        cooldown: Seconds until it is probed again. Default: 30.

    Raises:
        ConfigurationError: If there is no scorer, or an option is wrong.
    """

    def __init__(
        self,
        *scorers: Scorer,
        on: type[Exception] | tuple[type[Exception], ...] = RerankError,
        keep_order: bool = True,
        failures: int = 3,
        cooldown: float = 30.0,
    ) -> None:
        if not scorers or not all(isinstance(scorer, Scorer) for scorer in scorers):
            raise ConfigurationError(f"scorers must be one or more Scorers, not {scorers!r}")
        kinds = on if isinstance(on, tuple) else (on,)
        if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
            raise ConfigurationError(
                f"on must be an Exception class or a tuple of them, not {describe(on)}"
            )
        self._scorers = scorers
        self._on = on
        self._keep_order = check_flag(keep_order, "keep_order")
        self._limits = (
            check_whole(failures, "failures"),
            check_number(cooldown, "cooldown", least=0),
        )
        self._reset()

    def _reset(self) -> None:
        self._breakers = [_Breaker(*self._limits) for _ in self._scorers]
        self._reported: set[int] = set()

    @property
    def name(self) -> str:
        """The scorers' names, such as ``"fallback(rerank-v3.5, nano)"``."""
        return f"fallback({', '.join(scorer.name for scorer in self._scorers)})"

    @property
    def scale(self) -> Scale:
        """The first scorer's scale; a scoring says its own where another answered."""
        return self._scorers[0].scale

    @property
    def fingerprint(self) -> str:
        """The first scorer's: what others answer is degraded, and degraded scores are not kept."""
        return self._scorers[0].fingerprint

    @property
    def max_length(self) -> int | None:
        """The first scorer's; None where it cannot be found out."""
        with suppress(RerankError):
            return self._scorers[0].max_length
        return None

    def _inner(self) -> Sequence[Scorer]:
        return self._scorers

    def load(self) -> None:
        """Load what can be loaded; a scorer that cannot be shows when it is asked to score.

        Raises:
            AllScorersFailed: If none can be loaded, and `keep_order` is False.
        """
        causes: list[Exception] = []
        for scorer in self._scorers:
            try:
                scorer.load()
            except self._on as error:
                causes.append(error)
        if len(causes) == len(self._scorers) and not self._keep_order:
            raise AllScorersFailed("no scorer can be loaded", causes)

    def to_config(self) -> dict[str, Any]:
        """The scorers' configurations and the options, with ``"type": "fallback"``.

        Raises:
            ConfigurationError: If a scorer cannot be written, or `on` was set.
        """
        if self._on is not RerankError:
            raise ConfigurationError("a Fallback with its own `on` cannot be written")
        failures, cooldown = self._limits
        return {
            "type": "fallback",
            "scorers": [dict(scorer.to_config()) for scorer in self._scorers],
            "keep_order": self._keep_order,
            "failures": failures,
            "cooldown": cooldown,
        }

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Fallback:
        """Make one from what `to_config` returned, but its ``"type"``."""
        others = dict(options)
        return cls(*map(load, others.pop("scorers")), **others)

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        causes: list[Exception] = []
        for position in self._willing(causes):
            try:
                scoring = self._scorers[position].score(query, texts, progress=progress)
            except self._on as error:
                self._note(position, error, causes)
            else:
                return self._answer(position, scoring, causes)
        return self._give_up(texts, causes)

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        causes: list[Exception] = []
        for position in self._willing(causes):
            try:
                scoring = await self._scorers[position].ascore(query, texts, progress=progress)
            except self._on as error:
                self._note(position, error, causes)
            else:
                return self._answer(position, scoring, causes)
        return self._give_up(texts, causes)

    def _willing(self, causes: list[Exception]) -> Iterator[int]:
        """Positions of the scorers to try, but for those left alone, which become causes."""
        for position, breaker in enumerate(self._breakers):
            if breaker.allows():
                yield position
            else:
                name = self._scorers[position].name
                causes.append(_CircuitOpen("left alone after repeated failures", provider=name))

    def _note(self, position: int, error: Exception, causes: list[Exception]) -> None:
        if isinstance(error, InvalidInputError):
            raise error
        name, kind = self._scorers[position].name, type(error).__name__
        facts = {"rerank.scorer": name, "error.type": kind}
        causes.append(error)
        if self._breakers[position].failed():
            failures, cooldown = self._limits
            log.warning(
                "%s is left alone for %g s after %d failures in a row, the last a %s",
                *(name, cooldown, failures, kind),
                extra=facts,
            )
        lasting = isinstance(error, ConfigurationError | MissingExtraError | AuthenticationError)
        if lasting and position not in self._reported:
            self._reported.add(position)
            log.error("%s cannot work: %s", name, _loggable(error), extra=facts)

    def _answer(self, position: int, scoring: Scoring, causes: list[Exception]) -> Scoring:
        scorer = self._scorers[position]
        if self._breakers[position].succeeded():
            log.info("%s works again", scorer.name, extra={"rerank.scorer": scorer.name})
        if not causes:
            return scoring
        usage = _spent(causes) + scoring.usage
        reasons = [f"{_sentence(causes)}; scored by {scorer.name}"]
        if scoring.degraded:
            reasons.append(scoring.degraded)
        return replace(
            scoring,
            usage=usage,
            degraded="; ".join(reasons),
            scale=scoring.scale or scorer.scale,
            causes=unique((*map(_code, causes), *scoring.causes)),
        )

    def _give_up(self, texts: Sequence[str], causes: list[Exception]) -> Scoring:
        if not self._keep_order:
            failure = AllScorersFailed("every scorer failed", causes)
            failure.add_usage(_spent(causes))
            raise failure
        why = f"{_sentence(causes)}; first-stage order kept"
        codes = unique(map(_code, causes))
        return Scoring((None,) * len(texts), _spent(causes), why, causes=codes)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_scorers", "_on", "_keep_order", "_limits")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __repr__(self) -> str:
        return f"Fallback({', '.join(map(repr, self._scorers))})"


class _Breaker:
    """Opens after some failures in a row; then lets one call a cooldown through to probe.

    Nygard, "Release It!", 2nd edition, 2018, chapter 5. Safe from several threads.

    Args:
        failures: Failures in a row that open it.
        cooldown: Seconds until a probe, from the last failure or probe on.
    """

    def __init__(self, failures: int, cooldown: float) -> None:
        self._limit = failures
        self._cooldown = cooldown
        self._lock = ProcessLock()
        self._failed = 0
        self._next_probe = 0.0

    def allows(self) -> bool:
        """Say whether to call now; where it is open, only one caller a cooldown may."""
        with self._lock:
            if self._failed < self._limit:
                return True
            now = time.monotonic()
            if now < self._next_probe:
                return False
            self._next_probe = now + self._cooldown
            return True

    def succeeded(self) -> bool:
        """Close it, and say whether it was open."""
        with self._lock:
            was_open = self._failed >= self._limit
            self._failed = 0
            return was_open

    def failed(self) -> bool:
        """Count a failure, and say whether it opened it."""
        with self._lock:
            self._failed += 1
            self._next_probe = time.monotonic() + self._cooldown
            return self._failed == self._limit


class _CircuitOpen(ServiceError):
    """A scorer was not asked, because it keeps failing."""


def _code(error: Exception) -> str:
    """Return the code that stands for an error among the causes of a scoring."""
    return CIRCUIT_OPEN if isinstance(error, _CircuitOpen) else type(error).__name__


def _loggable(error: Exception) -> str:
    """Say what happened; a service's own words, which may quote a text, stay out of logs."""
    status = getattr(error, "status_code", None)
    if status is None:
        return str(error)
    said = f"{type(error).__name__}, status {status}"
    return f"{said}. {hint}" if (hint := getattr(error, "hint", None)) else said


def _spent(causes: Sequence[Exception]) -> Usage:
    """Add up what the failures cost."""
    known = (cause.usage for cause in causes if isinstance(cause, RerankError))
    return sum((usage for usage in known if usage), Usage())


def _sentence(causes: Sequence[Exception]) -> str:
    shown = (ServiceError if isinstance(cause, _CircuitOpen) else type(cause) for cause in causes)
    return "; ".join(f"{kind.__name__}: {cause}" for kind, cause in zip(shown, causes, strict=True))
