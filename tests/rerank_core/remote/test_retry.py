"""The retry policy: what is tried again, how often, and after which wait."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState, Retrying

from rerank_core import HttpScorer, RateLimitError, ServiceError
from rerank_core._remote import retry
from rerank_core._remote.retry import parse_retry_after, retry_delay
from rerank_core.testing import Reply, ScriptedServer
from support.cohere_runs import failure, run
from support.remote import Service


def test_a_passing_failure_is_retried_and_counted(
    scorer: HttpScorer, server: ScriptedServer, mode: str
) -> None:
    server.script(Reply({"message": "busy"}, status=503), Reply(drop=True))
    scoring = run(scorer, mode)
    assert scoring.scores == (1.0, 0.0)
    assert scoring.usage.requests == 3


def test_no_retries_when_none_are_wanted(
    service: Service, server: ScriptedServer, mode: str
) -> None:
    server.script(Reply({"message": "busy"}, status=503))
    assert failure(service.scorer(max_retries=0), mode).retryable
    assert len(server.requests) == 1


def test_a_long_retry_after_is_raised_at_once(
    scorer: HttpScorer, server: ScriptedServer, mode: str
) -> None:
    server.script(Reply({"message": "slow down"}, status=429, headers={"Retry-After": "61"}))
    error = failure(scorer, mode)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 61
    assert len(server.requests) == 1


@pytest.mark.usefixtures("pauses")
def test_retry_after_decides_the_wait(
    service: Service,
    scorer: HttpScorer,
    server: ScriptedServer,
    mode: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "rerank_core")
    past = format_datetime(datetime.now(UTC) - timedelta(minutes=1), usegmt=True)
    for value in ("0", past):
        server.script(Reply({"message": "wait"}, status=429, headers={"Retry-After": value}))
    assert run(scorer, mode).usage.requests == 3
    waits = [vars(record).get("rerank.pause") for record in caplog.records]
    assert [wait for wait in waits if wait is not None] == [0.0, 0.0]


def test_a_retry_is_logged_without_the_services_words(
    scorer: HttpScorer, server: ScriptedServer, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script(Reply({"message": "no room for: private words"}, status=503))
    run(scorer, mode)
    told = [record for record in caplog.records if "rerank.pause" in vars(record)]
    assert [record.getMessage() for record in told] == [
        f"{scorer.provider}: attempt 1 ended with ServiceError; the next in 0.0 s"
    ]
    assert not any("private" in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(("attempt", "least"), [(1, 0.5), (3, 2.0), (30, 10.0)])
@pytest.mark.usefixtures("pauses")
def test_without_retry_after_waits_grow_and_are_spread(attempt: int, least: float) -> None:
    wait = retry._policy(5)["wait"]
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = attempt
    error = ServiceError("x", retryable=True)
    state.set_exception((ServiceError, error, None))
    waits = {wait(state) for _ in range(50)}
    assert all(least <= seconds <= least + 1 for seconds in waits)
    assert len(waits) > 1


def test_the_delay_follows_the_error() -> None:
    def limited(seconds: float | None) -> RateLimitError:
        return RateLimitError("x", retryable=True, retry_after=seconds)

    assert retry_delay(ValueError("x"), 3) is None
    assert retry_delay(ServiceError("x", retryable=False, retry_after=1), 3) is None
    assert retry_delay(limited(None), 3) == 3
    assert retry_delay(limited(60.5), 3) is None
    asked = [retry_delay(limited(10), 3) for _ in range(50)]
    assert all(delay is not None and 10 <= delay <= 11 for delay in asked)
    assert len(set(asked)) > 1  # jitter


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", None),
        ("nan", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
        ("99999999999 Jan 2024 00:00:00", None),
        ("1" * 5000, None),
    ],
)
def test_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    seconds = parse_retry_after(format_datetime(later, usegmt=True))
    assert seconds is not None
    assert 20 < seconds <= 30


@given(st.text(max_size=40))
def test_any_retry_after_can_be_read(header: str) -> None:
    seconds = parse_retry_after(header)
    assert seconds is None or 0 <= seconds < float("inf")
