"""Fixtures for the tests of scorers that ask a service; a conftest imports them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from rerank_core.testing import no_waiting

__all__ = ["mode", "pauses", "surroundings", "without_proxies"]


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
