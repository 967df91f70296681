"""The systems that are compared, each with its environment and its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks._model import Models, ModularModels

__all__ = [
    "BASELINE",
    "NANO",
    "OUR_FP32",
    "OUR_INT8",
    "READY",
    "System",
    "all_systems",
    "modular_systems",
]

BASELINE = "sentence-transformers"
OUR_FP32 = "rerank-core fp32"
OUR_INT8 = "rerank-core int8"
NANO = "rerank-core nano"
READY = "rerank-core, the hub's file"


@dataclass(frozen=True)
class System:
    """A row of the comparison.

    Attributes:
        label: Its name in the tables.
        kind: Its kind in ``worker.py``.
        model: Folder or name of its model.
        environment: Name of its file in ``environments/``; None is the one that runs this.
        packages: What a user installs for it; they and what they need are its size.
        ours: Whether it is rerank-core.
        own_weights: Whether its model is another one than everybody else's.
    """

    label: str
    kind: str
    model: str
    environment: str | None
    packages: tuple[str, ...]
    ours: bool = False
    own_weights: bool = False


def _ours(label: str, model: str, own_weights: bool = False) -> System:
    return System(label, "rerank-core", model, None, ("rerank-core",), True, own_weights)


def all_systems(models: Models) -> list[System]:
    """Return every system, the baseline first.

    Args:
        models: Where the model lies, in each layout.
    """

    def on_torch(label: str, kind: str, *packages: str) -> System:
        return System(label, kind, str(models.torch), "torch", packages)

    def fastembed(precision: str, folder: Path) -> System:
        return System(
            f"fastembed {precision}", "fastembed", str(folder), "fastembed", ("fastembed",)
        )

    encoder = "sentence-transformers"
    return [
        on_torch(BASELINE, "sentence-transformers", encoder),
        _ours(OUR_FP32, f"onnx:{models.fp32}"),
        _ours(OUR_INT8, f"onnx:{models.int8}"),
        _ours("rerank-core, peers' int8 file", f"onnx:{models.plain_int8}"),
        _ours(NANO, "nano", own_weights=True),
        System("FlashRank int8", "flashrank", str(models.flashrank), "flashrank", ("FlashRank",)),
        fastembed("fp32", models.plain_fp32),
        fastembed("int8", models.plain_int8),
        on_torch("rerankers", "rerankers", "rerankers", "transformers", "torch"),
        on_torch(
            "LangChain CrossEncoderReranker",
            "langchain",
            "langchain-classic",
            "langchain-community",
            encoder,
        ),
        on_torch("LlamaIndex SentenceTransformerRerank", "llamaindex", "llama-index-core", encoder),
    ]


def modular_systems(models: ModularModels) -> list[System]:
    """Return the systems that run a model whose head is in modules, the baseline first.

    Args:
        models: Where the model lies, in each layout.
    """
    encoder = "sentence-transformers"
    return [
        System(BASELINE, encoder, str(models.hub), "torch", (encoder,)),
        _ours(READY, f"onnx:{models.hub}"),
        _ours(OUR_FP32, f"onnx:{models.fp32}"),
        _ours(OUR_INT8, f"onnx:{models.int8}"),
    ]
