"""Limits of an answer, and its scores, which are matched to the texts by their index."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rerank_core import (
    AuthenticationError,
    HttpScorer,
    MalformedResponseError,
    NonFiniteScoreError,
    ScorerError,
    ServiceError,
)
from rerank_core.testing import Reply, ScriptedServer
from support.cohere_runs import failure, run
from support.faults import RawServer
from support.remote import Service


def one(score: Any = 0.5, index: Any = 1) -> dict[str, Any]:
    return {"index": index, "score": score}


@pytest.mark.parametrize(
    ("results", "kind", "said"),
    [
        ([], MalformedResponseError, "0 scores came back for 2 texts"),
        ([one(index=0)], MalformedResponseError, "first without one is 1"),
        ([one(), one()], MalformedResponseError, "index 1 came back twice"),
        ([one(index=0), one(index=2)], MalformedResponseError, "index 2"),
        ([one(index=0), one(index=-1)], MalformedResponseError, "index -1"),
        ([one(index=None)], MalformedResponseError, "index is None"),
        ([one(index="x")], MalformedResponseError, "index is 'x'"),
        ([{"score": 0.5}], MalformedResponseError, "index is"),
        ([{"index": 0}], MalformedResponseError, "score of text 0 is"),
        ([one(None)], MalformedResponseError, "score of text 1 is None"),
        ([one("high")], MalformedResponseError, "score of text 1 is 'high'"),
        ([one(7.25)], MalformedResponseError, "outside 0 to 1"),
        ([one(-0.1)], MalformedResponseError, "outside 0 to 1"),
        ([one(float("nan"))], NonFiniteScoreError, "is nan"),
        ([one(float("inf"))], NonFiniteScoreError, "is inf"),
    ],
)
def test_scores_that_do_not_fit_are_refused(
    service: Service,
    mode: str,
    results: list[dict[str, Any]],
    kind: type[ScorerError],
    said: str,
) -> None:
    service.server.script(Reply(service.body(results), headers={"X-Request-Id": "r-1"}))
    error = failure(service.scorer(), mode)
    assert type(error) is kind
    assert said in str(error)
    assert error.request_id == "r-1"
    assert not error.retryable
    assert len(service.server.requests) == 1


def test_scores_are_matched_by_index(service: Service, mode: str) -> None:
    results = [one(0.25, index=2), one(0.75, index=0), one(1, index=1)]
    service.server.script(Reply(service.body(results)))
    assert run(service.scorer(), mode, "q", ["a", "b", "c"]).scores == (0.75, 1.0, 0.25)


@pytest.mark.parametrize("value", ["1", "\u0661", "1.0", 1.0, True, [1], {"1": 1}, 10**400])
def test_only_a_json_integer_is_an_index(service: Service, mode: str, value: Any) -> None:
    service.server.script(Reply(service.body([one(index=0), one(index=value)])))
    error = failure(service.scorer(), mode)
    assert type(error) is MalformedResponseError
    assert len(str(error)) < 500


@pytest.mark.parametrize("value", ["0.5", True, [0.5], {"score": 0.5}, ""])
def test_only_a_json_number_is_a_score(service: Service, mode: str, value: Any) -> None:
    service.server.script(Reply(service.body([one(index=0), one(value)])))
    assert type(failure(service.scorer(), mode)) is MalformedResponseError


def test_more_results_than_texts_are_refused_unread(service: Service, mode: str) -> None:
    service.server.script(Reply(service.body([one(index=0), one(), one(index="x")])))
    assert "3 scores came back for 2 texts" in str(failure(service.scorer(), mode))


@pytest.mark.parametrize("count", [10**400, 1e300, float("nan"), float("inf"), -1, True, "7", [7]])
def test_what_is_no_count_is_not_billed(service: Service, mode: str, count: Any) -> None:
    body = service.body([one(index=0), one()])
    if isinstance(body, dict):
        amounts = {"input_tokens": count, "search_units": 2}
        body |= {"meta": {"billed_units": amounts, "tokens": amounts}, "usage": amounts}
    service.server.script(Reply(body, headers={"x-compute-tokens": json.dumps(count)}))
    usage = run(service.scorer(prices={"million_tokens": 1}), mode).usage
    assert (usage.tokens, usage.cost) == (0, None)
    assert usage.billed_units == ({"search_units": 2.0} if isinstance(body, dict) else {})


def zeros(size: int) -> bytes:
    """Return so many zeros as one gzip, of a thousandth of the size."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(
        [*(packer.compress(bytes(2**20)) for _ in range(size // 2**20)), packer.flush()]
    )


BOMB = zeros(2**27)
LISTS = b"[" + b"[]," * 2**19 + b"[]]"
TOO_LARGE: list[tuple[bytes, dict[str, str]]] = [
    (LISTS, {}),
    (random.Random(0).randbytes(2**20), {"Content-Encoding": "gzip"}),
    (BOMB, {"Content-Encoding": "gzip"}),
    (BOMB, {"Content-Encoding": "X-GZIP"}),
    (zlib.compress(bytes(2**26)), {"Content-Encoding": "deflate"}),
    (zlib.compress(bytes(2**26))[2:-4], {"Content-Encoding": "deflate"}),  # without a header
    (gzip.compress(BOMB), {"Content-Encoding": "gzip"}),
]


@pytest.mark.parametrize(("status", "chunked"), [(200, False), (503, True)])
@pytest.mark.parametrize(("body", "headers"), TOO_LARGE)
def test_an_answer_too_large_fills_no_memory(
    service: Service, mode: str, body: bytes, headers: dict[str, str], status: int, chunked: bool
) -> None:
    with RawServer(raw(body, headers, status=status, chunked=chunked)) as server:
        scorer = service.scorer(base_url=server.url, max_retries=0)
        run_twice = [failure(scorer, mode)]
        tracemalloc.start()
        try:
            run_twice.append(failure(scorer, mode))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    error = run_twice[-1]
    assert peak < 4 * 2**20
    if status == 503:
        assert (type(error), error.status_code, error.retryable) == (ServiceError, 503, True)
    else:
        assert type(error) is MalformedResponseError
        assert not error.retryable


def test_values_are_bounded_before_they_are_parsed(service: Service, mode: str) -> None:
    service.server.script(Reply(LISTS))
    with pytest.raises(MalformedResponseError, match="more values than its request explains"):
        run(service.scorer(), mode, "q", ["a" * 100_000, "b" * 100_000])
    texts = [f"{number}{',[{' * 1000}" for number in range(100)]
    results = [{**one(index=i), "document": {"text": text}} for i, text in enumerate(texts)]
    service.server.script(Reply(service.body(results)))
    assert run(service.scorer(), mode, "q", texts).scores == (0.5,) * 100


def raw(
    body: bytes, headers: Mapping[str, str], *, status: int = 200, chunked: bool = False
) -> bytes:
    """Write an answer as it goes over the wire."""
    shown = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = f"HTTP/1.1 {status} Said\r\nConnection: close\r\n{shown}{length}\r\n\r\n".encode()
    if not chunked:
        return head + body
    pieces = (body[start : start + 1000] for start in range(0, len(body), 1000))
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


ENCODED = [
    ("identity", lambda body: body),
    ("", lambda body: body),
    ("gzip", gzip.compress),
    ("GZip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("identity, gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", lambda body: zlib.compress(body)[2:-4]),
]


@pytest.mark.parametrize(("encoding", "encode"), ENCODED)
def test_one_gzip_or_deflate_is_read_though_none_is_asked_for(
    service: Service, mode: str, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    body = encode(json.dumps(service.body([one(index=0), one(0.25)])).encode())
    with RawServer(raw(body, {"Content-Encoding": encoding})) as server:
        assert run(service.scorer(base_url=server.url), mode).scores == (0.5, 0.25)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Content-Encoding": "gzip, gzip"}, "encoded as gzip, gzip"),
        ({"Content-Encoding": "gzip", "content-encoding": "gzip"}, "encoded as gzip, gzip"),
        ({"Content-Encoding": "deflate,gzip"}, "encoded as deflate, gzip"),
        ({"Content-Encoding": "br"}, "encoded as br"),
        ({"Content-Encoding": "zstd"}, "encoded as zstd"),
        ({"Content-Encoding": "a" * 9999}, "encoded as aaa"),
        ({"Content-Encoding": "deflate"}, "no valid deflate"),
        ({"Content-Encoding": "gzip"}, "no valid gzip"),
    ],
)
def test_other_encodings_are_refused_undecoded(
    service: Service, mode: str, headers: dict[str, str], said: str
) -> None:
    body = gzip.compress(b"[]")[:-1]  # it lacks its last byte
    with RawServer(raw(body, headers)) as server:
        error = failure(service.scorer(base_url=server.url), mode)
    assert type(error) is MalformedResponseError
    assert said in str(error)
    assert len(str(error)) < 700


def test_a_request_asks_for_no_compression(scorer: HttpScorer, server: ScriptedServer) -> None:
    run(scorer, "score")
    assert server.requests[-1].headers["accept-encoding"] == "identity"


def test_texts_that_are_sent_back_fit(service: Service, mode: str) -> None:
    texts = [letter * 20_000 for letter in "\U0001f30a\u00e9\u4e2d"]
    results = [{**one(index=index), "document": {"text": text}} for index, text in enumerate(texts)]
    service.server.script(Reply(service.body(results)))
    assert run(service.scorer(), mode, "q", texts).scores == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 5000,
        b'{"error":' * 5000,
        b"1" * 5000,
        b'{"error":' * 400 + b"1" + b"}" * 400,
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_body_that_cannot_be_parsed_is_a_typed_error(
    service: Service, mode: str, body: bytes, status: int
) -> None:
    charset = {"Content-Type": "application/json; charset=undefined"}  # a codec that always fails
    service.server.script(Reply(body, status=status, headers=charset))
    error = failure(service.scorer(max_retries=0), mode)
    expected = {200: MalformedResponseError, 401: AuthenticationError, 500: ServiceError}
    assert type(error) is expected[status]
    assert error.status_code in (None if status == 200 else status, status)
