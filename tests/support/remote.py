"""Fixtures for the tests of scorers that ask a service; a conftest imports them."""

from __future__ import annotations

import pytest

from rerank_core._remote import retry

__all__ = ["mode", "surroundings", "without_pauses"]


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests be sent again at once."""
    monkeypatch.setattr(retry, "_wait", lambda *_: 0.0)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    without_pauses(monkeypatch)


@pytest.fixture(params=["score", "ascore"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)
