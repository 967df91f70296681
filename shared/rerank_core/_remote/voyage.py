"""`VoyageScorer`: Voyage AI's rerank service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from rerank_core._checks import check_flag, check_name, check_whole, optional
from rerank_core._remote.answers import counts, read_field
from rerank_core._remote.base import HttpOptions, HttpScorer
from rerank_core._types import Scoring
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import httpx

__all__ = ["VoyageScorer"]


class VoyageScorer(HttpScorer):
    """Scores with Voyage AI's rerank service; its SDK is not needed.

    `rerank-2.5` and `rerank-2.5-lite` read 32,000 tokens of query and text together, 8,000 of them
    the query's. What is longer is cut, unless `truncation` is False. The service does not report
    it: ``usage.truncated`` and ``usage.truncated_queries`` stay 0.

    The key is the argument, else ``VOYAGE_API_KEY``, as in `HttpScorer`. The API:
    https://docs.voyageai.com/reference/reranker-api.

    Args:
        model: The service's name of the model, such as ``"rerank-2.5"``.
        base_url: Address of the service. Default: Voyage's.
        truncation: Cut queries and texts that are too long, instead of refusing them. Default:
            True.
        instruction: A criterion of relevance, in plain words. It is sent as a line before the
            query, which is how the 2.5 models take it. Default: none.
        batch_size: Texts of one request, which may hold 600,000 tokens with the query counted for
            each text. Default: 1,000, the service's limit.
        **options: `api_key`, `timeout`, `max_retries`, `prices` and `scale`, as in `HttpScorer`.

    Raises:
        ConfigurationError: If an option is out of range, or an explicit key would go over plain
            http.
        AuthenticationError: If the key cannot be one.

    Example:
        ```python
        from rerank_core import VoyageScorer

        scorer = VoyageScorer("rerank-2.5-lite", instruction="Prefer the newest law.", timeout=10)
        assert scorer.to_config()["instruction"] == "Prefer the newest law."
        ```
    """

    provider = "voyage"
    default_url = "https://api.voyageai.com"
    key_variables = ("VOYAGE_API_KEY",)
    hints = {  # noqa: RUF012 - never changed
        400: "A request that holds too many tokens needs a lower batch_size",
    }

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        truncation: bool = True,
        instruction: str | None = None,
        batch_size: int = HttpScorer.max_texts,
        **options: Unpack[HttpOptions],
    ) -> None:
        super().__init__(check_name(model, "model", "rerank-2.5"), base_url=base_url, **options)
        self._truncation = check_flag(truncation, "truncation")
        self._instruction = optional(check_name, instruction, "instruction", "Prefer the newest.")
        self._batch_size = check_whole(batch_size, "batch_size")

    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        return "/v1/rerank", {
            "model": self._model,
            "query": f"{self._instruction}\nQuery: {query}" if self._instruction else query,
            "documents": texts,
            "truncation": self._truncation,
        }

    def _read(self, response: httpx.Response, texts: Sequence[str]) -> Scoring:
        body = response.json()
        scores = self._match(read_field(body, "data"), texts)
        tokens = counts(read_field(body, "usage")).get("total_tokens", 0)
        return Scoring(scores, Usage(tokens=int(tokens)))

    def _start(self) -> int:
        return min(super()._start(), self._batch_size)

    async def _astart(self) -> int:
        return min(await super()._astart(), self._batch_size)
