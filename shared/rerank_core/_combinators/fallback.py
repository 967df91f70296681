"""`Fallback`: other scorers, or first-stage order, in place of a scorer that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
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
from rerank_core._types import CIRCUIT_OPEN, STOPPED, Progress, Scale, Scoring, unique
from rerank_core._usage import Usage

__all__ = ["Fallback"]


class Fallback(Scorer):
    """Tries scorers in turn until one succeeds, and keeps first-stage order if none does.

    The scoring's `degraded` lists the failures, and its scale is that of the scorer that
    succeeded. A scorer that fails several times in a row is skipped for a while (a circuit
    breaker), then tried again. A skipped scorer is logged as a warning, one that works again as
    information, and a permanent failure (a wrong key, an unknown model, a missing extra) as an
    error, once for each scorer. Log records hold no service's message, which may quote a text.

    Args:
        *scorers: The scorers, in the order to try them.
        on: Exceptions that count as failures; others are raised at once, and so is
            `InvalidInputError`. Default: every other error of this library.
        keep_order: Whether texts stay unscored, and so in first-stage order, when all scorers
            fail. False raises `AllScorersFailed`. Default: True.
        failures: Failures in a row after which a scorer is skipped. Default: 3.
        cooldown: Seconds until it is tried again. Default: 30.

    Raises:
        ConfigurationError: If there is no scorer, or an option is invalid.

    Example:
        ```python
        from rerank_core import Fallback, OnnxCrossEncoder

        fallback = Fallback(OnnxCrossEncoder("./no-such-model"), OnnxCrossEncoder("nano"))
        scoring = fallback.score("How do plants eat?", ["Plants use light.", "Cats purr."])
        assert scoring.causes == ("ConfigurationError",)  # of the first scorer
        assert scoring.scores[0] > scoring.scores[1]  # by the second
        ```
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
        if not kinds or not all(
            isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds
        ):
            raise ConfigurationError(
                f"on must be an Exception class or a tuple of them, not {describe(on)}"
            )
        self._scorers = scorers
        self._on = on
        self._keep_order = check_flag(keep_order, "keep_order")
        self._failures = check_whole(failures, "failures")
        self._cooldown = check_number(cooldown, "cooldown", least=0)
        self._breakers = [_Breaker(self._failures, self._cooldown) for _ in scorers]
        self._logged: set[int] = set()  # positions of scorers with a logged permanent failure

    @property
    def name(self) -> str:
        """The scorers' names, such as ``"fallback(rerank-v5.0-fast, nano)"``."""
        return f"fallback({', '.join(scorer.name for scorer in self._scorers)})"

    @property
    def scale(self) -> Scale:
        """The scale of the first scorer that knows its own; a stand-in's scoring has its own."""
        for scorer in self._scorers:
            with suppress(RerankError):  # its model is missing, for instance
                return scorer.scale
        return Scale.LOGIT  # of no score at all

    @property
    def fingerprint(self) -> str:
        """The first scorer's fingerprint: other scorers' scorings are degraded, so never cached."""
        return self._scorers[0].fingerprint

    @property
    def max_length(self) -> int | None:
        """The maximum length of the first scorer that knows whether it has one."""
        for scorer in self._scorers:
            with suppress(RerankError):
                return scorer.max_length
        return None

    def load(self) -> None:
        """Load every scorer that can be loaded; the others fail when they are asked to score.

        Raises:
            AllScorersFailed: If none can be loaded, and `keep_order` is False.
        """
        errors: list[Exception] = []
        for scorer in self._scorers:
            try:
                scorer.load()
            except self._on as error:
                errors.append(error)
        if len(errors) == len(self._scorers) and not self._keep_order:
            raise AllScorersFailed("no scorer can be loaded", errors)

    def to_config(self) -> dict[str, Any]:
        """Return the scorers' configurations and the options, with ``"type": "fallback"``.

        Raises:
            ConfigurationError: If a scorer has no configuration, or `on` was set.
        """
        if self._on is not RerankError:
            raise ConfigurationError("a Fallback with its own `on` cannot be written")
        scorers = [dict(scorer.to_config()) for scorer in self._scorers]
        return {"type": "fallback", "scorers": scorers, **self._options()}

    @classmethod
    def from_config(cls, options: Mapping[str, Any], load: Callable[[Any], Scorer]) -> Fallback:
        """Create a fallback from the output of `to_config`, without its ``"type"``."""

        def make(scorers: Sequence[Any], **others: Any) -> Fallback:
            if isinstance(scorers, str):
                raise ConfigurationError(f"scorers must be a list, not {describe(scorers)}")
            return cls(*map(load, scorers), **others)

        return make(**options)

    def _options(self) -> dict[str, Any]:
        return {
            "keep_order": self._keep_order,
            "failures": self._failures,
            "cooldown": self._cooldown,
        }

    def _inner(self) -> Sequence[Scorer]:
        return self._scorers

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        errors: list[Exception] = []
        for position in self._available(errors):
            try:
                scoring = self._scorers[position].score(query, texts, progress=progress)
            except self._on as error:
                self._failed(position, error, errors)
            else:
                return self._succeeded(position, scoring, errors)
        return self._all_failed(texts, errors)

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        errors: list[Exception] = []
        for position in self._available(errors):
            try:
                scoring = await self._scorers[position].ascore(query, texts, progress=progress)
            except self._on as error:
                self._failed(position, error, errors)
            else:
                return self._succeeded(position, scoring, errors)
        return self._all_failed(texts, errors)

    def _available(self, errors: list[Exception]) -> Iterator[int]:
        """Yield the positions of the scorers to try; add an error for each skipped one."""
        for position, breaker in enumerate(self._breakers):
            if breaker.allows():
                yield position
            else:
                name = self._scorers[position].name
                errors.append(_CircuitOpen("skipped after repeated failures", provider=name))

    def _failed(self, position: int, error: Exception, errors: list[Exception]) -> None:
        """Record the failure of one scorer, and log it if the scorer is skipped from now on."""
        if isinstance(error, InvalidInputError):
            raise error
        errors.append(error)
        name, kind = self._scorers[position].name, type(error).__name__
        facts = {"rerank.scorer": name, "error.type": kind}
        if self._breakers[position].failed():
            log.warning(
                "%s is skipped for %g s after %d failures in a row, the last a %s",
                *(name, self._cooldown, self._failures, kind),
                extra=facts,
            )
        permanent = isinstance(error, ConfigurationError | MissingExtraError | AuthenticationError)
        if permanent and position not in self._logged:
            self._logged.add(position)
            log.error("%s cannot work: %s", name, _log_text(error), extra=facts)

    def _succeeded(self, position: int, scoring: Scoring, errors: list[Exception]) -> Scoring:
        """Return one scorer's scoring, degraded by the failures of those before it."""
        scorer = self._scorers[position]
        # One that a time limit or the caller stopped may not work at all.
        if STOPPED not in scoring.causes and self._breakers[position].succeeded():
            log.info("%s works again", scorer.name, extra={"rerank.scorer": scorer.name})
        if not errors:
            return scoring
        # Without a score, the model may still be loading: it is not asked.
        scored = any(score is not None for score in scoring.scores)
        reasons = [f"{_reason(errors)}; scored by {scorer.name}"]
        if scoring.degraded:
            reasons.append(scoring.degraded)
        return replace(
            scoring,
            usage=_usage(errors) + scoring.usage,
            degraded="; ".join(reasons),
            scale=scoring.scale or (scorer.scale if scored else None),
            causes=unique((*_codes(errors), *scoring.causes)),
        )

    def _all_failed(self, texts: Sequence[str], errors: list[Exception]) -> Scoring:
        """Return a scoring without scores, or raise, as `keep_order` says."""
        usage = _usage(errors)
        if not self._keep_order:
            failure = AllScorersFailed("every scorer failed", errors)
            failure.add_usage(usage)
            raise failure
        reason = f"{_reason(errors)}; first-stage order kept"
        return Scoring((None,) * len(texts), usage, reason, causes=unique(_codes(errors)))

    def __reduce__(self) -> tuple[Any, ...]:
        # Locks cannot be pickled: a copy starts with its circuit breakers closed.
        return partial(type(self), on=self._on, **self._options()), self._scorers

    def __repr__(self) -> str:
        return f"Fallback({', '.join(map(repr, self._scorers))})"


class _Breaker:
    """Circuit breaker: opens after some failures in a row, then allows one call per cooldown.

    Nygard, "Release It!", 2nd edition, 2018, chapter 5. Safe from several threads.
    """

    def __init__(self, failures: int, cooldown: float) -> None:
        self._limit = failures
        self._cooldown = cooldown
        self._lock = ProcessLock()
        self._failed = 0
        self._next_probe = 0.0

    def allows(self) -> bool:
        """Return whether to call now; if it is open, one caller per cooldown may."""
        with self._lock:
            if self._failed < self._limit:
                return True
            now = time.monotonic()
            if now < self._next_probe:
                return False
            self._next_probe = now + self._cooldown
            return True

    def succeeded(self) -> bool:
        """Close it, and return whether it was open."""
        with self._lock:
            was_open = self._failed >= self._limit
            self._failed = 0
            return was_open

    def failed(self) -> bool:
        """Count a failure, and return whether this one opened it."""
        with self._lock:
            self._failed += 1
            self._next_probe = time.monotonic() + self._cooldown
            return self._failed == self._limit


class _CircuitOpen(ServiceError):
    """A scorer was skipped, because it keeps failing."""


def _codes(errors: Iterable[Exception]) -> Iterator[str]:
    """Yield the codes of errors among the causes of a scoring; of a group, those of its members."""
    for error in errors:
        if isinstance(error, AllScorersFailed):
            yield from _codes(error.exceptions)
        else:
            yield CIRCUIT_OPEN if isinstance(error, _CircuitOpen) else type(error).__name__


def _log_text(error: Exception) -> str:
    """Describe an error for the log, without a service's message, which may quote a text."""
    status = getattr(error, "status_code", None)
    if status is None:
        return str(error)
    text = f"{type(error).__name__}, status {status}"
    return f"{text}. {hint}" if (hint := getattr(error, "hint", None)) else text


def _usage(errors: Sequence[Exception]) -> Usage:
    """Add up the usage of failed attempts."""
    known = (error.usage for error in errors if isinstance(error, RerankError) and error.usage)
    return sum(known, Usage())


def _reason(errors: Sequence[Exception]) -> str:
    kinds = (ServiceError if isinstance(error, _CircuitOpen) else type(error) for error in errors)
    return "; ".join(f"{kind.__name__}: {error}" for kind, error in zip(kinds, errors, strict=True))
