"""Which key a CohereScorer sends, and where to."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from rerank_core import AuthenticationError, CohereScorer, ConfigurationError, ServiceError
from rerank_core._remote.connections import is_loopback
from support.cohere_runs import KEY
from support.cohere_server import CohereServer, Reply


def sent_key(server: CohereServer) -> str | None:
    return server.requests[-1].headers.get("authorization")


@pytest.mark.parametrize(
    ("argument", "environment", "expected"),
    [
        ("from-argument", {"CO_API_KEY": "from-co", "COHERE_API_KEY": "from-c"}, "from-argument"),
        (lambda: "from-call", {"CO_API_KEY": "from-co"}, "from-call"),
        (None, {"CO_API_KEY": "from-co", "COHERE_API_KEY": "from-cohere"}, "from-co"),
        (None, {"CO_API_KEY": "", "COHERE_API_KEY": "from-cohere"}, "from-cohere"),
        (None, {"CO_API_KEY": " \n", "COHERE_API_KEY": "from-cohere\n"}, "from-cohere"),
        ("  ", {"CO_API_KEY": "from-co"}, "from-co"),
        (lambda: "", {"CO_API_KEY": "from-co"}, "from-co"),
        (None, {}, None),
        (False, {"CO_API_KEY": "from-co"}, None),
    ],
)
def test_where_the_key_comes_from(
    server: CohereServer,
    monkeypatch: pytest.MonkeyPatch,
    argument: Any,
    environment: dict[str, str],
    expected: str | None,
) -> None:
    scorer = CohereScorer("m", api_key=argument, base_url=server.url)
    for name, value in environment.items():  # after construction: looked up at use
        monkeypatch.setenv(name, value)
    scorer.score("a", ["a"])
    assert sent_key(server) == (f"Bearer {expected}" if expected else None)
    asyncio.run(scorer.ascore("a", ["a"]))
    assert sent_key(server) == (f"Bearer {expected}" if expected else None)


def test_a_key_function_is_asked_for_every_request(server: CohereServer) -> None:
    keys = iter(["first-key", "second-key"])
    scorer = CohereScorer("m", api_key=lambda: next(keys), base_url=server.url)
    scorer.score("a", ["a"])
    scorer.score("a", ["a"])
    assert [r.headers["authorization"] for r in server.requests] == [
        "Bearer first-key",
        "Bearer second-key",
    ]


def test_cohere_itself_needs_a_key() -> None:
    for scorer in (CohereScorer("m"), CohereScorer("m", base_url="https://eu.api.cohere.com")):
        with pytest.raises(AuthenticationError, match="CO_API_KEY") as caught:
            scorer.score("a", ["a"])
        assert not caught.value.retryable


def test_a_refused_request_without_key_says_so(server: CohereServer) -> None:
    server.script(Reply({"message": "who are you"}, status=401))
    with pytest.raises(AuthenticationError, match=r"request without key.*CO_API_KEY"):
        CohereScorer("m", base_url=server.url).score("a", ["a"])


@pytest.mark.parametrize("key", ["two words", "schlüssel-0123", "line\nbreak-0123", "nul\0-0123"])
def test_a_key_that_no_header_can_carry(
    server: CohereServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with pytest.raises(AuthenticationError, match="the key from api_key") as early:
        CohereScorer("m", api_key=key, base_url=server.url)
    monkeypatch.setattr("os.environ", {"CO_API_KEY": key})  # a real one refuses a NUL
    with pytest.raises(AuthenticationError, match="the key from CO_API_KEY") as late:
        CohereScorer("m", base_url=server.url).score("a", ["a"])
    assert key not in f"{early.value} {late.value}"
    assert server.requests == []


def test_a_broken_key_function(server: CohereServer) -> None:
    def broken() -> str:
        raise LookupError("vault sealed")

    with pytest.raises(AuthenticationError, match="raised LookupError") as caught:
        CohereScorer("m", api_key=broken, base_url=server.url).score("a", ["a"])
    assert isinstance(caught.value.__cause__, LookupError)
    odd: Any = lambda: 7  # noqa: E731
    with pytest.raises(AuthenticationError, match="returned a int"):
        CohereScorer("m", api_key=odd, base_url=server.url).score("a", ["a"])


def test_a_key_never_goes_over_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    with CohereServer() as proxy:  # sees whatever would leave this machine
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with pytest.raises(ConfigurationError, match="plain http") as caught:
            CohereScorer("m", api_key=KEY, base_url="http://rerank.example")
        assert KEY not in str(caught.value)
        monkeypatch.setenv("CO_API_KEY", KEY)
        scorer = CohereScorer("m", base_url="http://rerank.example")
        with pytest.raises(ConfigurationError, match="plain http"):
            scorer.score("a", ["a"])
        with pytest.raises(ConfigurationError, match="plain http"):
            asyncio.run(scorer.ascore("a", ["a"]))
        assert proxy.requests == []


def test_without_a_key_plain_http_and_the_proxy_are_as_the_user_set_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CO_API_KEY", KEY)
    with CohereServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        scorer = CohereScorer("m", api_key=False, base_url="http://rerank.example/prefix/")
        assert scorer.score("a", ["a"]).scores == (1.0,)
        assert asyncio.run(scorer.ascore("a", ["a"])).scores == (1.0,)
        assert {r.path for r in proxy.requests} == {"http://rerank.example/prefix/v2/rerank"}
        assert sent_key(proxy) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_never_sees_what_stays_on_this_machine(
    server: CohereServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with CohereServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        scorer = CohereScorer("m", api_key=KEY, base_url=f"http://{host}:{server.port}")
        scorer.score("a", ["a"])
        asyncio.run(scorer.ascore("a", ["a"]))
        assert len(server.requests) == 2
        assert proxy.requests == []


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
def test_redirects_are_not_followed(server: CohereServer, status: int) -> None:
    with CohereServer() as elsewhere:
        location = {"Location": f"{elsewhere.url}/v2/rerank"}
        server.script(*[Reply(b"", status=status, headers=location)] * 2)
        scorer = CohereScorer("m", api_key=KEY, base_url=server.url)
        with pytest.raises(ServiceError, match="redirect"):
            scorer.score("a", ["a"])
        with pytest.raises(ServiceError, match="redirect"):
            asyncio.run(scorer.ascore("a", ["a"]))
        assert elsewhere.requests == []


def test_the_address_from_the_environment_is_kept(
    server: CohereServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO_API_URL", server.url)
    scorer = CohereScorer("m", api_key=KEY)
    monkeypatch.setenv("CO_API_URL", "https://other.example")
    copied = pickle.loads(pickle.dumps(scorer))
    assert copied.to_config()["base_url"] == server.url
    assert copied.score("a", ["a"]).scores == (1.0,)
    monkeypatch.setenv("CO_API_URL", " ")
    assert "base_url" not in CohereScorer("m").to_config()


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
def test_addresses_that_cannot_work(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        CohereScorer("m", base_url=url)
    if url and isinstance(url, str):
        monkeypatch.setenv("CO_API_URL", url)
        with pytest.raises(ConfigurationError, match="CO_API_URL"):
            CohereScorer("m")


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="user or password") as caught:
        CohereScorer("m", base_url="https://user:hunter2@rerank.example")
    assert "hunter2" not in str(caught.value)
