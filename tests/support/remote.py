"""Fixtures for the tests of scorers that ask a service; a conftest imports them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest

from rerank_core import CohereScorer, HttpScorer, TeiScorer
from rerank_core.testing import Reply, Request, ScriptedServer, no_waiting
from support.cohere_runs import KEY
from support.cohere_server import CohereServer
from support.cohere_server import answer as cohere_answer
from support.tei_server import TeiServer

__all__ = ["SERVICES", "Service", "mode", "pauses", "surroundings", "without_proxies"]


@dataclass(frozen=True)
class Service:
    """A stand-in service, and what differs between one and another.

    Attributes:
        provider: Its name.
        variable: The environment variable that may hold its key.
        server: The running server.
        answer: Answers a request as the service does.
        scorer_type: The class of its scorers.
        options: Arguments that have the scorer ask for scores only, 1,000 at a time.
        texts: Name of the request's field that holds the texts.
        body: Makes the body of an answer with these scores, in this order.
    """

    provider: str
    variable: str
    server: ScriptedServer
    answer: Callable[[Request], Reply]
    scorer_type: Callable[..., HttpScorer]
    options: dict[str, Any]
    texts: str
    body: Callable[[Sequence[dict[str, Any]]], Any]

    def scorer(self, **options: Any) -> HttpScorer:
        """Make a scorer for it, with a key unless the options say otherwise."""
        given = {"api_key": KEY, "base_url": self.server.url, **self.options, **options}
        return self.scorer_type(**given)

    def first_text(self, request: Request) -> str:
        """Return the first text of a request."""
        return str(request.body[self.texts][0])


@contextmanager
def _cohere() -> Iterator[Service]:
    def body(results: Sequence[dict[str, Any]]) -> Any:
        return {"results": [{**_named(result, "relevance_score")} for result in results]}

    with CohereServer() as server:
        yield Service(
            *("cohere", "CO_API_KEY", server, cohere_answer, CohereScorer, {"model": "m"}),
            *("documents", body),
        )


@contextmanager
def _tei() -> Iterator[Service]:
    def body(results: Sequence[dict[str, Any]]) -> Any:
        return [{**_named(result, "score")} for result in results]

    with TeiServer(limit=1000) as server:
        yield Service(
            *("tei", "TEI_API_KEY", server, server.answer, TeiScorer, {"batch_size": 1000}),
            *("texts", body),
        )


def _named(result: dict[str, Any], name: str) -> dict[str, Any]:
    return {name if key == "score" else key: value for key, value in result.items()}


SERVICES = {"cohere": _cohere, "tei": _tei}


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests go to this machine, whatever proxy the environment names."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """No proxies, and no pauses before retries unless the test asks for `pauses`."""
    without_proxies(monkeypatch)
    with nullcontext() if "pauses" in request.fixturenames else no_waiting():
        yield


@pytest.fixture
def pauses() -> None:
    """Keep the pauses between the attempts of a request."""


@pytest.fixture(params=["score", "ascore"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)
