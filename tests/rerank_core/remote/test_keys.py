"""Keys: where they come from, where they may go, and where they never show."""

from __future__ import annotations

import asyncio
import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest

from rerank_core import (
    AuthenticationError,
    ConfigurationError,
    HttpScorer,
    ServiceError,
    load_scorer,
)
from rerank_core._remote.connections import is_loopback
from rerank_core.testing import Reply, Request, ScriptedServer
from support.cohere_runs import KEY, run
from support.remote import SERVICES, Service


def sent_key(server: ScriptedServer) -> str | None:
    return server.requests[-1].headers.get("authorization")


@pytest.mark.parametrize(
    ("argument", "environment", "expected"),
    [
        ("from-argument", "from-environment", "from-argument"),
        (lambda: "from-call", "from-environment", "from-call"),
        (None, "from-environment", "from-environment"),
        (None, " from-environment\n", "from-environment"),
        ("  ", "from-environment", "from-environment"),
        (lambda: "", "from-environment", "from-environment"),
        (None, "", None),
        (None, None, None),
        (False, "from-environment", None),
    ],
)
def test_where_the_key_comes_from(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    argument: Any,
    environment: str | None,
    expected: str | None,
) -> None:
    scorer = service.scorer(api_key=argument)
    if environment is not None:  # after construction: looked up at use
        monkeypatch.setenv(service.variable, environment)
    scorer.score("a", ["a"])
    assert sent_key(service.server) == (f"Bearer {expected}" if expected else None)
    asyncio.run(scorer.ascore("a", ["a"]))
    assert sent_key(service.server) == (f"Bearer {expected}" if expected else None)


def test_a_key_function_is_asked_for_every_request(
    service: Service, server: ScriptedServer
) -> None:
    keys = iter(["first-key", "second-key"])
    scorer = service.scorer(api_key=lambda: next(keys))
    scorer.score("a", ["a"])
    scorer.score("a", ["a"])
    assert [r.headers["authorization"] for r in server.requests] == [
        "Bearer first-key",
        "Bearer second-key",
    ]


def test_a_refused_request_without_key_says_so(service: Service, server: ScriptedServer) -> None:
    server.script(Reply({"message": "who are you"}, status=401))
    with pytest.raises(AuthenticationError, match=rf"request without a key.*{service.variable}"):
        service.scorer(api_key=None).score("a", ["a"])


@pytest.mark.parametrize("key", ["two words", "schlüssel-0123", "line\nbreak-0123", "nul\0-0123"])
def test_a_key_that_no_header_can_carry(
    service: Service, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with pytest.raises(AuthenticationError, match="the key from api_key") as early:
        service.scorer(api_key=key)
    monkeypatch.setattr("os.environ", {service.variable: key})  # a real one refuses a NUL
    with pytest.raises(AuthenticationError, match=f"the key from {service.variable}") as late:
        service.scorer(api_key=None).score("a", ["a"])
    assert key not in f"{early.value} {late.value}"
    assert server.requests == []


def test_a_broken_key_function(service: Service, server: ScriptedServer) -> None:
    def broken() -> str:
        raise LookupError("vault sealed")

    with pytest.raises(AuthenticationError, match="raised LookupError") as caught:
        service.scorer(api_key=broken).score("a", ["a"])
    assert isinstance(caught.value.__cause__, LookupError)
    odd: Any = lambda: 7  # noqa: E731
    with pytest.raises(AuthenticationError, match="returned a int"):
        service.scorer(api_key=odd).score("a", ["a"])


def test_a_key_never_goes_over_plain_http(
    service: Service, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)  # sees whatever would leave this machine
    with pytest.raises(ConfigurationError, match="plain http") as caught:
        service.scorer(base_url="http://rerank.example")
    assert KEY not in str(caught.value)
    monkeypatch.setenv(service.variable, KEY)
    for key in (None, lambda: KEY):
        scorer = service.scorer(api_key=key, base_url="http://rerank.example")
        with pytest.raises(ConfigurationError, match="plain http"):
            scorer.score("a", ["a"])
        with pytest.raises(ConfigurationError, match="plain http"):
            asyncio.run(scorer.ascore("a", ["a"]))
    assert server.requests == []


def test_without_a_key_plain_http_and_the_proxy_are_as_the_user_set_them(
    service: Service, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relay(request: Request) -> Reply:
        assert request.path.startswith("http://rerank.example/prefix/")
        path = request.path.removeprefix("http://rerank.example/prefix")
        return service.answer(replace(request, path=path))

    monkeypatch.setenv(service.variable, KEY)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    server.script(relay, relay)
    scorer = service.scorer(api_key=False, base_url="http://rerank.example/prefix/")
    assert scorer.score("a", ["a"]).scores == (1.0,)
    assert asyncio.run(scorer.ascore("a", ["a"])).scores == (1.0,)
    assert len(server.requests) == 2
    assert sent_key(server) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_never_sees_what_stays_on_this_machine(
    service: Service, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with SERVICES[service.provider]() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.server.url)
        monkeypatch.setenv("ALL_PROXY", proxy.server.url)
        scorer = service.scorer(base_url=f"http://{host}:{server.url.rpartition(':')[2]}")
        scorer.score("a", ["a"])
        asyncio.run(scorer.ascore("a", ["a"]))
        assert len(server.requests) == 2
        assert proxy.server.requests == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(
    service: Service, server: ScriptedServer, mode: str, status: int
) -> None:
    with SERVICES[service.provider]() as elsewhere:
        location = {"Location": f"{elsewhere.server.url}/v2/rerank"}
        server.script(Reply(b"", status=status, headers=location))
        with pytest.raises(ServiceError, match="redirect"):
            run(service.scorer(), mode)
        assert elsewhere.server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "rerank.example",
        "ftp://rerank.example",
        "https://",
        "https://h/?q=1",
        "https://h/#f",
        "https://h :80",
        "https://h\\x",
        "https://h:port",
        "https://[::1",
        7,
    ],
)
def test_addresses_that_cannot_work(service: Service, url: Any) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        service.scorer(base_url=url)


def test_a_password_in_the_address_is_refused_and_not_shown(service: Service) -> None:
    with pytest.raises(ConfigurationError, match="user or password") as caught:
        service.scorer(base_url="https://user:hunter2@rerank.example")
    assert "hunter2" not in str(caught.value)


def test_a_pickle_holds_no_key(
    service: Service, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = service.scorer(timeout=7)
    scorer.score("a", ["a"])  # with open connections
    data = pickle.dumps(scorer)
    assert KEY.encode() not in data
    copied = pickle.loads(data)
    assert copied.to_config() == scorer.to_config()
    assert copied.fingerprint == scorer.fingerprint
    monkeypatch.setenv(service.variable, "from-environment")
    assert copied.score("a", ["a"]).scores == (1.0,)
    assert sent_key(server) == "Bearer from-environment"


def test_false_as_a_key_survives_pickle_and_configuration(
    service: Service, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(service.variable, KEY)
    scorer = service.scorer(api_key=False)
    for copied in (pickle.loads(pickle.dumps(scorer)), load_scorer(scorer.to_config())):
        copied.score("a", ["a"])
        assert sent_key(server) is None


def test_a_copy_is_the_same_scorer(scorer: HttpScorer, server: ScriptedServer) -> None:
    copy.deepcopy(scorer).score("a", ["a"])
    copy.copy(scorer).score("a", ["a"])
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
