"""What a service may send: heads, headers and bodies."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import math
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.strategies import KEY, damaged, json_text, leaks, odd_scalars, outcome
from rerank_core import (
    CohereScorer,
    HttpScorer,
    NimScorer,
    Scale,
    ScorerError,
    Scoring,
    SglangScorer,
    TeiScorer,
    VoyageScorer,
)
from rerank_core._remote.retry import parse_retry_after
from support.faults import RawServer
from support.secrets import all_of

TEXTS = ("water", "river", "storm")
few = settings(max_examples=settings().max_examples // 2)
COHERE = {
    "id": "7",
    "results": [
        {
            "index": index,
            "relevance_score": 0.5,
            "relevant_spans": [{"start": 0, "end": 3, "score": 1.0}],
        }
        for index in (2, 0, 1)
    ],
    "meta": {
        "api_version": {"version": "2"},
        "billed_units": {"search_units": 1, "input_tokens": 9},
        "tokens": {"input_tokens": 9},
    },
    "usage": {"total_tokens": 9},
}
TEI = [{"index": 2, "score": 0.9}, {"index": 0, "score": 0.1}, {"index": 1, "score": 0.5}]
VOYAGE = {
    "data": [{"index": index, "relevance_score": 0.5} for index in (2, 0, 1)],
    "usage": {"total_tokens": 9},
}
SGLANG = [
    {"score": 2.5, "document": None, "index": index, "meta_info": {"prompt_tokens": 3}}
    for index in (2, 0, 1)
]
NIM = {
    "rankings": [{"index": index, "logit": -1.5} for index in (2, 0, 1)],
    "usage": {"prompt_tokens": 9, "total_tokens": 9},
}
ERROR = {"message": "no", "detail": [{"msg": "no"}], "error": {"message": f"{KEY} is no key"}}
BODIES = json_text(COHERE, TEI, ERROR, {"max_client_batch_size": 4, "model_id": "m"})
OTHERS = json_text(VOYAGE, SGLANG, NIM, ERROR)
ECHO = {"id": KEY, "results": KEY, "error": KEY, "meta": {"billed_units": {KEY: 1, "x" * 5000: 2}}}

_HEADERS = {
    "Content-Type": "application/json",
    "Retry-After": "1",
    "x-request-id": "r-1",
    "x-compute-tokens": "12",
    "Content-Encoding": "identity",
    "Transfer-Encoding": "identity",
    "Set-Cookie": "a=b",
    "Location": "http://127.0.0.1:9/",
}
_VALUES = (
    *("", "0", "9" * 400, "-1", "nan", "1e400", "\u0661", KEY, "x" * 9000, "gzip", "gzip, gzip"),
    *("deflate", "GZIP", "x-gzip", "identity, gzip", "zstd", "1"),
    *("chunked", "br", "utf-16", "application/json; charset=utf-7", "text/html; charset=\xff"),
    *("99999999999 Jan 2024 00:00:00", "Fri, 31 Dec 9999 23:59:59 GMT", "a\x1b[31m"),
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([200, 200, 200, 201, 204, 302, 401, 404, 422, 429, 500, 999]))
    lines = [f"HTTP/1.1 {status} OK"]
    for name in draw(st.lists(st.sampled_from(list(_HEADERS)), max_size=4)):
        value = draw(st.one_of(st.just(_HEADERS[name]), st.sampled_from(_VALUES)))
        lines.append(f"{name}: {value}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n"


def chunked(body: bytes) -> bytes:
    """Return a body in chunks, with an extension and a trailer."""
    return b"%x;a=b\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(body), body)


def packed(body: bytes) -> bytes:
    return gzip.compress(body, 1, mtime=0)


BOMB = packed(packed(bytes(2**28)))  # a kilobyte that becomes 256 MiB if it is unpacked twice
ENCODED = st.one_of(
    BODIES,
    BODIES.map(chunked),
    damaged(BODIES.map(chunked)),
    BODIES.map(packed),
    damaged(BODIES.map(packed)),
    BODIES.map(packed).map(chunked),
    st.sampled_from([BOMB, gzip.decompress(BOMB), chunked(BOMB), zlib.compress(bytes(2**26), 9)]),
)


@pytest.fixture(scope="module")
def server() -> Iterator[RawServer]:
    with RawServer(b"", hang_up=True) as running:
        yield running


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


OPTIONS: dict[str, Any] = {
    "api_key": KEY,
    "timeout": 1,
    "max_retries": 0,
    "prices": {"search_unit": 0.002, "million_tokens": 1},
}


@pytest.fixture(scope="module", params=["cohere", "tei"])
def scorer(request: pytest.FixtureRequest, server: RawServer) -> HttpScorer:
    if request.param == "cohere":
        return CohereScorer("m", base_url=server.url, relevant_spans=True, **OPTIONS)
    return TeiScorer(server.url, batch_size=3, **OPTIONS)


@pytest.fixture(scope="module", params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def check(server: RawServer, scorer: HttpScorer, runner: asyncio.Runner, mode: str) -> None:
    """Score once, and check that what comes back is whole, or an error of the service."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[assignment,method-assign]
    log = logging.getLogger()
    log.addHandler(handler)
    try:
        if mode == "sync":
            found = outcome(lambda: scorer.score("river", TEXTS))
        else:
            found = outcome(lambda: runner.run(scorer.ascore("river", TEXTS)))
    finally:
        log.removeHandler(handler)
    if isinstance(found, Scoring):
        assert len(found.scores) == len(TEXTS)
        low, high = (-math.inf, math.inf) if scorer.scale is Scale.LOGIT else (0, 1)
        assert all(score is not None and low <= score <= high for score in found.scores)
        assert math.isfinite(found.usage.cost or 0)
        assert len(found.usage.billed_units) <= 16
        for text, spans in zip(TEXTS, found.spans or [()] * 3, strict=True):
            assert all(0 <= span.start < span.end <= len(text) for span in spans)
    else:
        assert isinstance(found, ScorerError)
        assert not leaks(all_of(found))
    for record in records:
        assert not leaks(str(vars(record)))


@few
@given(body=st.one_of(BODIES, damaged(BODIES)), status=st.sampled_from([200, 200, 200, 429, 500]))
@example(body=json.dumps(ECHO).encode(), status=200)
@example(body=b"[" * 5000, status=500)
@example(body=b'{"results": 1, "id": "' + b"x" * 100_000 + b'"}', status=200)
def test_bodies(
    server: RawServer,
    scorer: HttpScorer,
    runner: asyncio.Runner,
    mode: str,
    body: bytes,
    status: int,
) -> None:
    server.content = b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    check(server, scorer, runner, mode)


@pytest.mark.parametrize(
    "make",
    [
        lambda url: VoyageScorer("m", base_url=url, **OPTIONS),
        lambda url: SglangScorer(url, **OPTIONS),
        lambda url: NimScorer("m", base_url=url, **OPTIONS),
    ],
    ids=["voyage", "sglang", "nim"],
)
@few
@given(body=st.one_of(OTHERS, damaged(OTHERS)), status=st.sampled_from([200, 200, 200, 400]))
@example(body=json.dumps(ECHO).encode(), status=200)
def test_bodies_of_others(
    server: RawServer,
    runner: asyncio.Runner,
    make: Callable[[str], HttpScorer],
    body: bytes,
    status: int,
) -> None:
    server.content = b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    check(server, make(server.url), runner, "sync")


@few
@given(head=st.one_of(heads(), damaged(heads())), body=ENCODED)
@example(head=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\n", body=BOMB)
@example(head=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n", body=gzip.decompress(BOMB))
@example(head=b"HTTP/1.1 200 OK\r\nx-compute-tokens: " + b"9" * 400 + b"\r\n", body=b"")
@example(head=b"HTTP/1.1 200 " + KEY.encode() + b"\x00\r\n", body=b"")
@example(head=b"HTTP/1.1 200 OK\r\n" + KEY.encode() + b"\r\n", body=b"")
def test_heads(
    server: RawServer,
    scorer: HttpScorer,
    runner: asyncio.Runner,
    mode: str,
    head: bytes,
    body: bytes,
) -> None:
    server.content = head + b"\r\n" + body
    check(server, scorer, runner, mode)


@few
@given(body=st.one_of(BODIES, damaged(BODIES)), status=st.sampled_from([200, 404, 500]))
def test_info(server: RawServer, runner: asyncio.Runner, body: bytes, status: int) -> None:
    server.content = b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    scorer = TeiScorer(server.url, **OPTIONS)  # asks for it once
    check(server, scorer, runner, "sync")
    scorer.close()


_DATES = st.datetimes(timezones=st.just(UTC)).map(format_datetime).map(str.encode)


@given(st.one_of(damaged(_DATES), st.binary(), odd_scalars().map(lambda odd: ascii(odd).encode())))
@example(b"99999999999 Jan 2024 00:00:00")
@example(b"Mon, 01 Jan 0001 00:00:00 +2359")
def test_retry_after(value: bytes) -> None:
    seconds = parse_retry_after(value.decode("latin-1"))
    assert seconds is None or 0 <= seconds < math.inf
