"""Each test here that takes `service` runs for every service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rerank_core import HttpScorer
from rerank_core.testing import ScriptedServer
from support.remote import SERVICES, Service, mode, pauses, surroundings

__all__ = ["mode", "pauses", "scorer", "server", "service", "surroundings"]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with SERVICES[request.param]() as running:
        yield running


@pytest.fixture
def server(service: Service) -> ScriptedServer:
    return service.server


@pytest.fixture
def scorer(service: Service) -> HttpScorer:
    return service.scorer()
