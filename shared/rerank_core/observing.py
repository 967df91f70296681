"""One log record and one span for each `rerank`; neither holds a text, a query or a key.

Records go to the logger ``rerank_core``, with the fields below as attributes of the record: at
DEBUG for every call, at WARNING for degraded ones, but once a minute for each scorer and cause.
Spans need the extra ``otel`` and an application that has set OpenTelemetry up.

| field | what |
| --- | --- |
| ``rerank.scorer`` | name of the scorer |
| ``rerank.candidates`` | how many candidates came |
| ``rerank.kept`` | how many stayed |
| ``rerank.degraded`` | whether the ranking is less than was asked for |
| ``rerank.degraded_by`` | if so, why: the codes of `Ranking.causes` |
| ``rerank.usage.*`` | what it cost: the fields of `Usage` |
| ``error.type`` | if it failed, the error's class |

OpenTelemetry has no convention for reranking; the span's name follows that for calls of models,
"{operation} {model}", and those are at
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md.
``error.type``: https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from rerank_core._version import __version__
from rerank_core.locking import ProcessLock
from rerank_core.scorer import Scorer
from rerank_core.types import Ranking, Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

__all__ = ["observe", "warn_seldom"]

_log = logging.getLogger("rerank_core")
_log.addHandler(logging.NullHandler())

_Facts: TypeAlias = dict[str, Any]


@contextmanager
def observe(scorer: Scorer, candidates: int) -> Iterator[Callable[[Ranking], Ranking]]:
    """Watch one call: log it, and span it if the application traces.

    Args:
        scorer: What scores.
        candidates: How many candidates there are.

    Yields:
        A function to pass the ranking through.
    """
    facts: _Facts = {"rerank.scorer": scorer.name, "rerank.candidates": candidates}
    with _span(facts) as span:

        def finish(ranking: Ranking) -> Ranking:
            if ranking.degraded or span or _log.isEnabledFor(logging.DEBUG):
                facts.update(_outcome(ranking))
            return ranking

        try:
            yield finish
        except BaseException as error:
            facts["error.type"] = type(error).__name__
            raise
        finally:
            if span:
                _describe(span, facts)
            _write(facts)


def warn_seldom(kind: str, message: str, *arguments: object, facts: _Facts | None = None) -> None:
    """Log a warning, but at most once a minute for its kind.

    Args:
        kind: What counts as the same warning.
        message: The message, with a place for each argument.
        *arguments: What goes there.
        facts: Attributes of the record.
    """
    held_back = _warnings.admit(kind)
    if held_back is not None:
        more = f" (and {held_back} times since that was last said)" if held_back else ""
        _log.warning(message + "%s", *arguments, more, extra=facts)


def _outcome(ranking: Ranking) -> _Facts:
    return {
        "rerank.kept": len(ranking),
        "rerank.degraded": ranking.degraded is not None,
        **({"rerank.degraded_by": list(ranking.causes)} if ranking.degraded else {}),
        **dict(_usage_fields(ranking.usage)),
    }


def _usage_fields(usage: Usage) -> Iterator[tuple[str, float]]:
    for field in fields(usage):
        value = getattr(usage, field.name)
        parts = value if isinstance(value, Mapping) else {"": value}
        for part, amount in parts.items():
            if isinstance(amount, int | float):  # what is unknown is left out
                yield f"rerank.usage.{field.name}.{part}".rstrip("."), amount


def _write(facts: _Facts) -> None:
    scorer = facts["rerank.scorer"]
    if "error.type" in facts:
        _log.debug("%s failed with %s", scorer, facts["error.type"], extra=facts)
        return
    if _log.isEnabledFor(logging.DEBUG):
        kept, came = facts["rerank.kept"], facts["rerank.candidates"]
        _log.debug("%s ranked %d candidates and kept %d", scorer, came, kept, extra=facts)
    if facts.get("rerank.degraded"):
        causes = ", ".join(facts["rerank.degraded_by"])
        warn_seldom(
            f"{scorer}: {causes}",
            "the ranking by %s is degraded: %s; ranking.degraded has the details",
            *(scorer, causes),
            facts=facts,
        )


class _Throttle:
    """Lets through one of a kind in so many seconds, and counts those it held back."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = ProcessLock()
        self._kinds: dict[str, tuple[float, int]] = {}  # when the next may pass; held back

    def admit(self, kind: str) -> int | None:
        """Return how many were held back since the last, or None to hold this one back too."""
        now = time.monotonic()
        with self._lock:
            due, held_back = self._kinds.get(kind, (now, 0))
            if now < due:
                self._kinds[kind] = (due, held_back + 1)
                return None
            if len(self._kinds) >= 1000:  # scorers made by the thousand must not fill memory
                self._kinds.clear()
            self._kinds[kind] = (now + self._seconds, 0)
            return held_back


_warnings = _Throttle(60)


@contextmanager
def _span(facts: _Facts) -> Iterator[Span | None]:
    # An application that traces has imported the API: nobody else pays for doing so.
    if "opentelemetry.trace" not in sys.modules:
        yield None
        return
    with _tracer().start_as_current_span(
        f"rerank {facts['rerank.scorer']}",
        attributes=facts,
        # An error's message may hold a service's own words, and those a text.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        yield span if span.is_recording() else None


@cache
def _tracer() -> Tracer:
    from opentelemetry import trace

    return trace.get_tracer("rerank_core", __version__)


def _describe(span: Span, facts: _Facts) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attributes(facts)
    if "error.type" in facts:
        span.set_status(StatusCode.ERROR)
