from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina

from rerank_core import CohereScorer
from support.cohere_runs import KEY
from support.cohere_server import CohereServer


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with stamina.set_testing(True, attempts=10, cap=True):  # no waiting between attempts
        yield


@pytest.fixture
def server() -> Iterator[CohereServer]:
    with CohereServer() as running:
        yield running


@pytest.fixture
def scorer(server: CohereServer) -> CohereScorer:
    return CohereScorer("rerank-v3.5", api_key=KEY, base_url=server.url)


@pytest.fixture(params=["score", "ascore"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)
