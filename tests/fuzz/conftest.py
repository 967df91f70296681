"""Profiles: a short run with fixed examples in the suite, and `make fuzz` with random ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.remote import without_proxies

settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=300,
    print_blob=True,
    # Each example has a time limit of its own, and fixtures hold what examples share.
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def _surroundings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_proxies(monkeypatch)
        yield
