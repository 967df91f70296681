from __future__ import annotations

from collections.abc import Iterator

import pytest

from rerank_core import CohereScorer
from support.cohere_runs import KEY
from support.cohere_server import CohereServer
from support.remote import mode, surroundings

__all__ = ["mode", "scorer", "server", "surroundings"]


@pytest.fixture
def server() -> Iterator[CohereServer]:
    with CohereServer() as running:
        yield running


@pytest.fixture
def scorer(server: CohereServer) -> CohereScorer:
    return CohereScorer("rerank-v3.5", api_key=KEY, base_url=server.url)
