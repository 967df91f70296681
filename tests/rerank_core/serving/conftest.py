from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from rerank_core import (
    AllScorersFailed,
    AuthenticationError,
    DeadlineExceeded,
    RateLimitError,
    Scoring,
    ServiceError,
    Span,
)
from rerank_core.testing import OverlapScorer, ScriptedScorer
from support.remote import without_proxies
from support.serving import records, served

__all__ = ["address", "client", "records"]

FAILURES = {
    "busy": RateLimitError("slow down, says a secret place", provider="p", retry_after=6.5),
    "late": DeadlineExceeded("no answer from a secret place", provider="p"),
    "locked": AuthenticationError("a secret place refused", provider="p", status_code=401),
    "down": ServiceError("a secret place is down", provider="p", status_code=503),
    "all": AllScorersFailed("all failed", [ServiceError("x", provider="p"), ValueError("y")]),
}


def spans(query: str, texts: tuple[str, ...]) -> Scoring:
    found = tuple((Span(0, 2, 1.0), Span(1, 3, -1.0)) for _ in texts)
    return Scoring(tuple(-float(i) for i, _ in enumerate(texts)), spans=found)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The address of a server with many models."""
    models = {
        "overlap": OverlapScorer(),
        "nano": "nano",
        "cut": {"type": "deadline", "seconds": 60, "scorer": "nano"},
        "spans": ScriptedScorer(spans),
        "half": ScriptedScorer(lambda _, texts: [None, *[float(-len(t)) for t in texts[1:]]]),
        **{name: ScriptedScorer(error) for name, error in FAILURES.items()},
        "bug": ScriptedScorer(KeyError("the text of a document")),
    }
    with served(models, max_documents=50, max_characters=20_000, max_body=100_000) as running:
        yield running.url


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as client:
        yield client
