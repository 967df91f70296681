"""Recommended models, with published facts and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["RecommendedModel", "RunsOn", "list_models"]

RunsOn: TypeAlias = Literal["embedded", "ONNX Runtime", "torch", "service"]
"""Runtime of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendedModel:
    """A model worth trying. A fact for which no published source was found is None.

    Attributes:
        name: The name to give to `load_scorer`, an adapter or ``--scorer``.
        languages: Languages it is made for.
        parameters: Size in parameters; None for services.
        max_length: Longest pair of a query and a text, in tokens of the model.
        licence: SPDX identifier of the licence of the weights; None for services.
        runs_on: ``"embedded"`` (in this package), ``"ONNX Runtime"`` (no torch needed),
            ``"torch"`` (needs the extra of that name) or ``"service"``.
        quality: A published figure. Only figures of the same benchmark can be compared.
        benchmark: The benchmark on which it was measured, and by whom.
        source: Where it is published.
        note: What else to know.

    Example:
        ```python
        from rerank_core import RecommendedModel, list_models

        def free_and_long(model: RecommendedModel) -> bool:
            return model.licence is not None and (model.max_length or 0) > 4000

        assert any(map(free_and_long, list_models()))
        ```
    """

    name: str
    languages: str | None
    parameters: int | None
    max_length: int | None
    licence: str | None
    runs_on: RunsOn
    quality: str | None = None
    benchmark: str | None = None
    source: str | None = None
    note: str | None = None


_APACHE = "Apache-2.0"
_MTEB = "MTEB(eng, v2) retrieval, top 100 of six embedding models, by sentence-transformers"
_MTEB_SOURCE = "https://huggingface.co/blog/ettin-reranker"
_VOYAGE = "93 retrieval sets, by Voyage"
_VOYAGE_SOURCE = (
    "https://www.mongodb.com/company/blog/product-release-announcements/"
    "rerank-2-5-and-rerank-2-5-lite-instruction-following-rerankers"
)


def _on_mteb(
    name: str,
    ndcg: str,
    parameters: int,
    max_length: int,
    runs_on: RunsOn,
    languages: str = "English",
    note: str | None = None,
) -> RecommendedModel:
    return RecommendedModel(
        name=name,
        languages=languages,
        parameters=parameters,
        max_length=max_length,
        licence=_APACHE,
        runs_on=runs_on,
        quality=f"nDCG@10 {ndcg}",
        benchmark=_MTEB,
        source=_MTEB_SOURCE,
        note=note,
    )


def _service(name: str, languages: str | None, quality: str | None = None) -> RecommendedModel:
    return RecommendedModel(
        name=name,
        languages=languages,
        parameters=None,
        max_length=32_000,
        licence=None,
        runs_on="service",
        quality=quality,
        benchmark=quality and _VOYAGE,
        source=quality and _VOYAGE_SOURCE,
        note=None if quality else "no published figure, and no list of languages, was found",
    )


_MODELS = (
    RecommendedModel(
        name="nano",
        languages="English",
        parameters=27_100_000,
        max_length=256,
        licence=_APACHE,
        runs_on="embedded",
        quality="nDCG@10 0.687",
        benchmark="TREC DL 2019 passages, top 100 of BM25, by rerank-core",
        source="rerank_core/models/nano/README.md",
        note="ms-marco-MiniLM-L6-v2, which is smaller, is published with 0.743 on TREC DL 2019",
    ),
    _on_mteb("cross-encoder/ettin-reranker-17m-v1", "0.558", 17_600_000, 7999, "ONNX Runtime"),
    _on_mteb("cross-encoder/ettin-reranker-32m-v1", "0.578", 32_800_000, 7999, "ONNX Runtime"),
    _on_mteb("cross-encoder/ms-marco-MiniLM-L6-v2", "0.508", 22_700_000, 512, "ONNX Runtime"),
    _on_mteb("cross-encoder/ettin-reranker-68m-v1", "0.592", 68_600_000, 7999, "torch"),
    _on_mteb("cross-encoder/ettin-reranker-400m-v1", "0.609", 401_600_000, 7999, "torch"),
    _on_mteb("BAAI/bge-reranker-v2-m3", "0.553", 568_000_000, 8192, "torch", "multilingual"),
    _on_mteb(
        "Qwen/Qwen3-Reranker-0.6B",
        "0.594",
        596_000_000,
        32_768,
        "torch",
        "100+",
        "causal, through sentence-transformers 5.4 or newer; takes an instruction, and is not "
        "exported; rerank-core's tests run a miniature of its layout, not its weights",
    ),
    _service("cohere:rerank-v5.0-pro", None),
    _service("cohere:rerank-v5.0-fast", None),
    _service("voyage:rerank-2.5", "multilingual", "7.94% above Cohere Rerank v3.5"),
    _service("voyage:rerank-2.5-lite", "multilingual", "7.16% above Cohere Rerank v3.5"),
)


def list_models() -> tuple[RecommendedModel, ...]:
    """List recommended models: those that run without torch first, services last.

    The figures were published by those whom ``benchmark`` names. Measure on your own queries before
    you decide (see `rerank_core.evaluation`).

    Returns:
        The models.

    Example:
        ```python
        from rerank_core import list_models, load_scorer

        without_torch = [m.name for m in list_models() if m.runs_on in ("embedded", "ONNX Runtime")]
        scorer = load_scorer(without_torch[0])
        ```
    """
    return _MODELS
