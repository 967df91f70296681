"""Log records and spans; neither holds a text, a query or a key.

Each `rerank` is one record of the logger ``rerank_core``, at DEBUG, with the fields below as
attributes; a degraded one is also a WARNING, but once a minute for each scorer and cause. Where
the application traces with OpenTelemetry (extra ``otel``), each `rerank` is a span, and within it
each scorer's call, so that every scorer of a combinator is a child span with its own usage.

| field | what |
| --- | --- |
| ``rerank.scorer`` | name of the scorer |
| ``rerank.candidates`` | how many candidates came; in a scorer's span ``rerank.texts`` |
| ``rerank.kept`` | how many stayed |
| ``rerank.text_tokens.before`` | if trimmers ran, tokens of the texts without them |
| ``rerank.text_tokens.after`` | tokens that they left |
| ``rerank.degraded`` | whether the result is less than was asked for |
| ``rerank.degraded_by`` | if so, why: the codes of `Ranking.causes` |
| ``rerank.usage.*`` | what it cost: the fields of `Usage`; of billed units, documented ones only |
| ``error.type`` | if it failed, the error's class |

OpenTelemetry has no convention for reranking; the spans' names follow that for calls of models,
"{operation} {model}", and those are at
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md.
``error.type``: https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from rerank_core._concurrency import ProcessLock, waits
from rerank_core._types import Ranking, Scoring
from rerank_core._usage import KNOWN_UNITS, Usage
from rerank_core._version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

__all__ = ["log", "observe_ranking", "observe_scoring", "warn_seldom"]

log = logging.getLogger("rerank_core")
log.addHandler(logging.NullHandler())

_Facts: TypeAlias = dict[str, Any]


@contextmanager
def observe_ranking(scorer: str, candidates: int) -> Iterator[Callable[[Ranking], Ranking]]:
    """Log one call of `rerank`, and span it if the application traces.

    Args:
        scorer: Name of the scorer.
        candidates: How many candidates there are.

    Yields:
        A function to pass the ranking through.
    """
    facts: _Facts = {"rerank.scorer": scorer, "rerank.candidates": candidates}
    try:
        with _span("rerank", facts) as recorded:

            def finish(ranking: Ranking) -> Ranking:
                if ranking.degraded or recorded or log.isEnabledFor(logging.DEBUG):
                    facts["rerank.kept"] = len(ranking)
                    if ranking.tokens_before is not None and ranking.tokens_after is not None:
                        facts["rerank.text_tokens.before"] = ranking.tokens_before
                        facts["rerank.text_tokens.after"] = ranking.tokens_after
                    facts.update(_outcome(ranking.degraded, ranking.causes, ranking.usage))
                return ranking

            yield finish
    finally:
        _write(facts)


@contextmanager
def observe_scoring(
    name: Callable[[], str], texts: int
) -> Iterator[Callable[[Iterable[Scoring]], None]]:
    """Span one call of a scorer, if the application traces.

    Args:
        name: Returns the scorer's name; called only if the application traces.
        texts: How many texts are scored.

    Yields:
        A function to tell the scorings to.
    """
    if not _tracing():
        yield lambda _: None
        return
    facts: _Facts = {"rerank.scorer": name(), "rerank.texts": texts}
    with _span("score", facts) as recorded:

        def finish(scorings: Iterable[Scoring]) -> None:
            if recorded:
                found = list(scorings)
                causes = [cause for scoring in found for cause in scoring.causes]
                usage = sum((scoring.usage for scoring in found), Usage())
                facts.update(_outcome("degraded" if causes else None, dict.fromkeys(causes), usage))

        yield finish


def warn_seldom(kind: str, message: str, *arguments: object, facts: _Facts | None = None) -> None:
    """Log a warning, but at most once a minute for its kind, except within `no_waiting`.

    Args:
        kind: What counts as the same warning.
        message: The message, with a place for each argument.
        *arguments: What goes there.
        facts: Attributes of the record.
    """
    held_back = _warnings.admit(kind) if waits() else 0
    if held_back is not None:
        more = f" (and {held_back} times since that was last said)" if held_back else ""
        log.warning(message + "%s", *arguments, more, extra=facts)


def _outcome(degraded: str | None, causes: Iterable[str], usage: Usage) -> _Facts:
    return {
        "rerank.degraded": degraded is not None,
        **({"rerank.degraded_by": list(causes)} if degraded else {}),
        **dict(_usage_fields(usage)),
    }


def _usage_fields(usage: Usage) -> Iterator[tuple[str, float]]:
    for field in fields(usage):
        value = getattr(usage, field.name)
        # A service names its units, and an odd one would write what it likes into the log.
        parts = value if isinstance(value, Mapping) else {"": value}
        for part, amount in parts.items():
            if (not part or part in KNOWN_UNITS) and isinstance(amount, int | float):
                yield f"rerank.usage.{field.name}.{part}".rstrip("."), amount


def _write(facts: _Facts) -> None:
    scorer = facts["rerank.scorer"]
    if "error.type" in facts:
        log.debug("%s failed with %s", scorer, facts["error.type"], extra=facts)
        return
    if log.isEnabledFor(logging.DEBUG):
        kept, came = facts["rerank.kept"], facts["rerank.candidates"]
        log.debug("%s ranked %d candidates and kept %d", scorer, came, kept, extra=facts)
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


def _tracing() -> bool:
    # An application that traces has imported the API and set a provider: nobody else pays.
    api = sys.modules.get("opentelemetry.trace")
    return api is not None and not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)


@contextmanager
def _span(operation: str, facts: _Facts) -> Iterator[bool]:
    """Put a span around the block if the application traces; note the class of an error.

    Yields:
        Whether the span is recorded, with `facts` as its attributes at the end of the block.
    """
    recorded = False
    with ExitStack() as stack:
        if _tracing():
            span = stack.enter_context(
                _tracer().start_as_current_span(
                    f"{operation} {facts['rerank.scorer']}",
                    # An error's message may hold a service's own words, and those a text.
                    record_exception=False,
                    set_status_on_exception=False,
                )
            )
            recorded = span.is_recording()
            if recorded:
                stack.callback(_describe, span, facts)
        try:
            yield recorded
        except BaseException as error:
            facts["error.type"] = type(error).__name__
            raise


@cache
def _tracer() -> Tracer:
    from opentelemetry import trace

    return trace.get_tracer("rerank_core", __version__)


def _describe(span: Span, facts: _Facts) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attributes(facts)
    if "error.type" in facts:
        span.set_status(StatusCode.ERROR)
