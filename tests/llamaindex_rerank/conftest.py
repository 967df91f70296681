"""Quiet for what LlamaIndex imports of its own accord."""

from __future__ import annotations

import warnings
from contextlib import suppress

import pytest


@pytest.fixture(scope="session", autouse=True)
def _imported_once() -> None:
    # Where langchain is installed, LlamaIndex tries langchain-community, which warns of its end.
    with warnings.catch_warnings(), suppress(ImportError):
        warnings.filterwarnings("ignore", "`langchain-community`", DeprecationWarning)
        import llama_index.core.bridge.langchain  # noqa: F401 - for its side effect
