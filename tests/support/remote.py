"""Fixtures for the tests of scorers that ask a service; a conftest imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina

__all__ = ["mode", "surroundings"]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with stamina.set_testing(True, attempts=10, cap=True):  # no waiting between attempts
        yield


@pytest.fixture(params=["score", "ascore"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)
