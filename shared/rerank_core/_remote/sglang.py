"""`SglangScorer`: an SGLang server and the re-ranker it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from rerank_core._checks import check_name, optional
from rerank_core._remote.answers import counts, read_field
from rerank_core._remote.base import HttpOptions, HttpScorer
from rerank_core._types import Scoring
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import httpx

__all__ = ["SglangScorer"]


class SglangScorer(HttpScorer):
    """Scores with an SGLang server and the re-ranker it serves.

    A pair that is too long is cut or refused as the server was started to do. It does not report
    cuts: ``usage.truncated`` and ``usage.truncated_queries`` stay 0.

    The key is the argument, else ``SGLANG_API_KEY``, as in `HttpScorer`, else none is sent. The
    API: https://docs.sglang.io/supported_models/retrieval_ranking/rerank_models.html.

    Args:
        base_url: Address of the server, such as ``"http://127.0.0.1:30000"``.
        model: Name of the model that it serves, such as ``"BAAI/bge-reranker-v2-m3"``: the scorer's
            name, and part of its fingerprint, so that caches tell two models at one address apart.
            Default: ``"sglang"``.
        instruction: A criterion of relevance, in plain words, for models that take it, such as
            Qwen3-Reranker; sent as ``instruct``. Default: the server's.
        raw_scores: The server sends logits, as it does for most cross-encoders: the scale is
            `LOGIT`. False for models with scores from 0 to 1, such as Qwen3-Reranker. Default:
            True.
        **options: `api_key`, `timeout`, `max_retries`, `prices` and `scale`, as in `HttpScorer`.

    Raises:
        ConfigurationError: If an option is out of range, or an explicit key would go over plain
            http.
        AuthenticationError: If the key cannot be one.

    Example:
        ```python
        from rerank_core import SglangScorer

        scorer = SglangScorer("http://127.0.0.1:30000", model="BAAI/bge-reranker-v2-m3")
        assert scorer.name == "BAAI/bge-reranker-v2-m3"
        assert scorer.scale == "logit"
        ```
    """

    provider = "sglang"
    key_variables = ("SGLANG_API_KEY",)
    hints = {404: "Check base_url: '/v1/rerank' is added to it"}  # noqa: RUF012 - never changed

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        instruction: str | None = None,
        raw_scores: bool = True,
        **options: Unpack[HttpOptions],
    ) -> None:
        super().__init__(model, base_url=base_url, raw_scores=raw_scores, **options)
        self._instruction = optional(check_name, instruction, "instruction", "Find the law.")

    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        body = {"query": query, "documents": texts, "return_documents": False}
        given = {"model": self._model, "instruct": self._instruction}
        return "/v1/rerank", body | {name: value for name, value in given.items() if value}

    def _read(self, response: httpx.Response, texts: Sequence[str]) -> Scoring:
        results = response.json()
        scores = self._match(results, texts, "score")
        read = (counts(read_field(result, "meta_info")) for result in results)
        return Scoring(scores, Usage(tokens=sum(int(c.get("prompt_tokens", 0)) for c in read)))
