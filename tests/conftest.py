from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # some tests fork

import pytest
from hypothesis import settings

from support.models import (
    TinyModel,
    build_causal_model,
    build_modular_model,
    build_tiny_model,
    quantise,
)

settings.register_profile("default", deadline=None, derandomize=True)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-outputs",
        action="store_true",
        help="rewrite the outputs below the code blocks of pages and docstrings",
    )


@pytest.fixture(scope="session")
def update_outputs(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-outputs"))


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on, or uses up, a developer's own keys."""
    for name in ("CO_API_KEY", "COHERE_API_KEY", "CO_API_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TinyModel]:
    """Builds a tiny cross-encoder of a family, once for each."""
    built: dict[tuple[str, int], TinyModel] = {}

    def build(family: str = "bert", labels: int = 1) -> TinyModel:
        if (family, labels) not in built:
            folder = tmp_path_factory.mktemp(f"{family}-{labels}")
            built[family, labels] = build_tiny_model(folder, family, labels)
        return built[family, labels]

    return build


@pytest.fixture(scope="session")
def modular(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds a tiny modular cross-encoder with a pooling and an activation, once for each."""

    @cache
    def build(pooling: str | tuple[str, ...] = "cls", activation: str = "GELU") -> Path:
        return build_modular_model(tmp_path_factory.mktemp("modular"), pooling, activation)

    return build


@pytest.fixture(scope="session")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal reranker with a chat template."""
    return build_causal_model(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="session")
def int8_model(tiny: Callable[..., TinyModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dynamically quantised tiny cross-encoder."""
    return quantise(tiny().onnx, tmp_path_factory.mktemp("int8") / "int8")
