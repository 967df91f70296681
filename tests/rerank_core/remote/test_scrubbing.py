"""What comes from a service is cleaned of the key, cut and made printable."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

import httpx
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core import (
    AuthenticationError,
    Fallback,
    HttpScorer,
    MalformedResponseError,
    ScorerError,
    Scoring,
    ServiceError,
    rerank,
)
from rerank_core._remote.scrubbing import Scrubber
from rerank_core.testing import OverlapScorer, Reply, ScriptedServer
from support.cohere_runs import KEY, failure, run
from support.faults import RawServer
from support.remote import Service
from support.secrets import all_of

ODD_KEY = "sk/te+st\"'&<0123>=\\9"
BASIC = base64.b64encode(f"user:{KEY}".encode()).decode()
BEARER = base64.urlsafe_b64encode(f"Bearer {KEY}".encode()).decode()


@pytest.mark.parametrize("key", [KEY, ODD_KEY, "x" * 8, "ey" + "Jh0.b_-" * 200])
@pytest.mark.parametrize(
    "form",
    [
        str,
        str.upper,
        repr,
        json.dumps,
        lambda key: json.dumps(json.dumps(key)),
        lambda key: json.dumps(key).replace("/", "\\/"),
        lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
        quote,
        lambda key: quote(key, safe=""),
        escape,
        lambda key: base64.b64encode(key.encode()).decode(),
        lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
        lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
        lambda key: base64.urlsafe_b64encode(f"me:{key}".encode()).decode(),
        lambda key: key[: max(8, len(key) * 2 // 3)] + "...",
        lambda key: f"{key[:12]}...{key[-12:]}",
        lambda key: f"{key[:12]}\u2026{key[-12:]}",
    ],
)
def test_a_key_is_removed_in_any_form(key: str, form: Callable[[str], str]) -> None:
    written = form(key)
    scrubber = Scrubber(key)
    assert scrubber.holds_key(written)
    middle = written[len(written) // 2 :][1:7]
    for limit in range(10, 80):  # wherever it is cut
        cleaned = scrubber.clean(f"no such key: {written} (sorry)", limit)
        assert len(cleaned) <= limit
        assert middle not in cleaned
    assert scrubber.clean(f"no such key: {written} (sorry)").endswith("(sorry)")


def test_a_placeholder_is_no_key() -> None:
    assert Scrubber("n/a").clean("n/a is no key") == "n/a is no key"
    assert Scrubber("").clean("nothing to hide") == "nothing to hide"


@given(st.text(max_size=500), st.integers(10, 300))
def test_words_are_one_printable_line(words: str, limit: int) -> None:
    cleaned = Scrubber(KEY).clean(words, limit)
    assert cleaned.isprintable()
    assert len(cleaned) <= limit


def test_words_keep_their_sense() -> None:
    clean = Scrubber(KEY).clean
    assert clean("no\r\n\x1b[31mmodel\u202e \u00abx\u00bb\x00") == "no [31mmodel \u00abx\u00bb"
    assert clean("x" * 201) == "x" * 197 + "..."
    assert clean("\u6a21\u578b") == "\u6a21\u578b"


def test_cleaning_takes_no_time() -> None:
    scrubber = Scrubber("\\" * 20 + KEY)
    started = time.process_time()
    for words in ("\\" * 10**7, "&#0" * 10**6, KEY * 10**5, [KEY] * 10**5):
        error = ValueError(words)
        scrubber.clean_exception(error)
        assert len(str(error)) < 10**6
    assert time.process_time() - started < 5


def test_an_exception_is_cleaned_with_all_it_holds() -> None:
    request = httpx.Request("POST", "http://h/", headers={"Authorization": KEY}, json=["text"])
    response = httpx.Response(
        401, headers=[(b"X", f"\u00e9 {KEY}".encode())], json={"said": KEY}, request=request
    )
    error = httpx.HTTPStatusError(f"refused {KEY}", request=request, response=response)
    error.add_note(f"with {KEY}")
    error.__context__ = json.JSONDecodeError("odd", f"[{KEY}", 1)
    error.__context__.__cause__ = UnicodeDecodeError("utf-8", KEY.encode(), 0, 1, KEY)
    group = ExceptionGroup("several", [OSError(2, KEY, KEY), error])
    group.__cause__ = group.exceptions[0]
    group.exceptions[0].__context__ = group  # a circle
    assert Scrubber(KEY).clean_exception(group) is group
    assert KEY not in all_of(group)
    assert error.response.status_code == 401
    assert error.response.json() == {"said": "[key]"}
    assert error.request.headers["authorization"] == "[key]"
    assert isinstance(error.__context__, json.JSONDecodeError)


def test_what_cannot_be_cleaned_has_a_stand_in() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Answer(count=KEY)  # type: ignore[arg-type]
    error = ValueError("odd")
    error.__cause__ = caught.value
    Scrubber(KEY).clean_exception(error)
    stand_in: BaseException = error.__cause__
    assert type(stand_in) is RuntimeError
    assert str(stand_in).startswith("ValidationError: 1 validation error for Answer")
    assert KEY not in all_of(error)


class Answer(pydantic.BaseModel):
    count: int


class Validating(HttpScorer):
    """A provider of one's own that has pydantic read the answer."""

    provider = "validating"

    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        return "/rerank", {"query": query, "documents": texts}

    def _read(self, response: httpx.Response, texts: Sequence[str]) -> Scoring:
        return Scoring((float(Answer.model_validate(response.json()).count),) * len(texts))


@pytest.mark.parametrize("key", [KEY, KEY * 10])
def test_an_error_in_reading_is_as_clean(server: ScriptedServer, mode: str, key: str) -> None:
    server.script(Reply({"count": key}))
    error = failure(Validating(base_url=server.url, api_key=key), mode)
    assert type(error) is MalformedResponseError
    assert "ValidationError" in str(error)
    assert error.__context__ is error.__cause__
    told = all_of(error)
    assert (KEY[:12] in told, KEY[-12:] in told) == (False, False)


def test_what_the_caller_handles_stays_as_it_is(scorer: HttpScorer, server: ScriptedServer) -> None:
    server.script(Reply({"message": KEY}, status=400))
    mine = ValueError(f"my\nown {KEY}")
    try:
        raise mine
    except ValueError:
        error = failure(scorer, "score")
    assert str(mine) == f"my\nown {KEY}"
    assert KEY not in str(error)


HEAD = f"HTTP/1.1 200 OK\r\nX-Request-Id: {KEY}\r\nContent-Type: application/json\r\n"
RAW = [
    f"HTTP/1.1 {KEY} no\r\n\r\n",
    f"{KEY}\r\n\r\n",
    f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n",
    f"HTTP/1.1 200 OK\r\nX {KEY}: 1\r\n\r\n",
    f"HTTP/1.1 200 OK\r\nX: \x01{KEY}\r\n\r\n",
    f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n",
    f"HTTP/1.1 401 {KEY}\r\nContent-Length: 0\r\n\r\n",
    f"HTTP/1.1 307 {KEY}\r\nLocation: {KEY}\r\nContent-Length: 0\r\n\r\n",
    f"{HEAD}Content-Encoding: {KEY}\r\nContent-Length: 2\r\n\r\n[]",
    f"{HEAD}Transfer-Encoding: chunked\r\n\r\n{KEY}\r\n",
    f"{HEAD}Content-Length: 999\r\n\r\n{KEY}",
]


@pytest.mark.parametrize("sent", RAW)
def test_a_key_echoed_on_the_wire_shows_nowhere(
    service: Service, mode: str, sent: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with RawServer(sent.encode()) as server:
        scorer = service.scorer(base_url=server.url, max_retries=1, timeout=0.3)
        error = failure(scorer, mode)
    assert KEY not in all_of(error)
    assert error.__cause__ is not None or isinstance(error, MalformedResponseError)
    assert not [record for record in caplog.records if KEY in str(vars(record))]


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
@pytest.mark.parametrize(
    "body",
    [
        {"error": f"invalid key {KEY}", "id": KEY},
        {"message": [{KEY: {"authorization": f"Bearer {KEY}"}}], "detail": KEY},
        [KEY, KEY],
        f"{'x' * 190} {KEY} <- no such key",
        {"results": [{"index": KEY, "relevance_score": 1}], "id": f"{KEY}\n\x1b[0m" * 10_000},
        {"results": KEY},
        {"message": f"Authorization: Basic {BASIC}, {BEARER}, {quote(ODD_KEY)}"},
        json.dumps({"message": KEY}).replace("-", "\\u002d"),
    ],
)
def test_a_key_echoed_in_a_body_shows_nowhere(
    service: Service, mode: str, body: object, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"X-Request-Id": f"Bearer {KEY}"}
    service.server.script(*[Reply(body, status=status, headers=headers)] * 2)
    error = failure(service.scorer(max_retries=0), mode)
    told = all_of(error)
    for secret in (KEY, KEY[:12], BASIC[8:], BEARER[12:]):
        assert secret not in told
    assert len(str(error)) < 700
    assert error.request_id == "Bearer [key]"
    kinds = {200: MalformedResponseError, 401: AuthenticationError}
    if status != 429:
        assert type(error) is kinds.get(status, ServiceError)
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (str(copied), vars(copied)) == (str(error), vars(error))
    chain = Fallback(service.scorer(max_retries=0), OverlapScorer())
    ranking = rerank("a", ["a", "b"], chain)
    assert KEY[:12] not in f"{ranking.degraded} {ranking.causes} {ranking!r}"
    assert type(error).__name__ in str(ranking.degraded)
    assert not [record for record in caplog.records if KEY in str(vars(record))]


def test_a_key_in_an_odd_form_is_removed_from_an_answer(service: Service, mode: str) -> None:
    service.server.script(Reply({"error": f"key {ODD_KEY} or {quote(ODD_KEY)}"}))
    told = all_of(failure(service.scorer(api_key=ODD_KEY), mode))
    assert ODD_KEY not in told
    assert "0123" not in told


@pytest.mark.parametrize(
    ("said", "kind"),
    [("\x1b[2J\u202eevil\r\nFAKE LOG", ServiceError), ("word " * 10**5, ServiceError)],
)
def test_words_of_a_service_are_cut_and_printable(
    service: Service, mode: str, said: str, kind: type[ScorerError]
) -> None:
    service.server.script(
        Reply({"message": said, "id": said}, status=400),
        Reply({"results": said, "id": said, "meta": said}),
    )
    for _ in range(2):
        error = failure(service.scorer(), mode)
        assert str(error).isprintable()
        assert len(str(error)) < 900
        assert len(error.request_id or "") <= 200
        assert len(all_of(error)) < 10**6
    assert run(service.scorer(), mode).scores == (1.0, 0.0)
