from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.remote import mode, surroundings
from support.tei_server import TeiServer

__all__ = ["mode", "server", "surroundings"]


@pytest.fixture
def server() -> Iterator[TeiServer]:
    with TeiServer() as running:
        yield running
