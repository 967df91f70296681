"""`NimScorer`: NVIDIA's reranking NIMs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from rerank_core._checks import check_flag, check_name
from rerank_core._remote.answers import counts, read_field
from rerank_core._remote.base import HttpOptions, HttpScorer
from rerank_core._remote.keys import check_path, check_url
from rerank_core._types import Scoring
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import httpx

__all__ = ["NimScorer"]

_DEFAULT_PATH = "/v1/ranking"


class NimScorer(HttpScorer):
    """Scores with an NVIDIA NIM for reranking: a container of your own, or NVIDIA's service.

    The scores are logits. More than 512 texts are split over several requests. A pair that is
    longer than the model reads is cut at its end, unless `truncate` is False. The service does not
    report it: ``usage.truncated`` and ``usage.truncated_queries`` stay 0.

    The key is the argument, else ``NVIDIA_API_KEY``, as in `HttpScorer`, else none is sent. The
    API: https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/using-reranking.html.

    Args:
        model: The service's name of the model, such as ``"nvidia/llama-nemotron-rerank-1b-v2"``.
        base_url: Address of the container, such as ``"http://127.0.0.1:8000"``.
        path: What is added to it, or ``""`` if `base_url` is the whole address, as NVIDIA's service
            has one for each model. Default: ``"/v1/ranking"``.
        truncate: Cut pairs that are too long, instead of refusing them. Default: True.
        raw_scores: The service sends logits: the scale is `LOGIT`. Default: True.
        **options: `api_key`, `timeout`, `max_retries`, `prices` and `scale`, as in `HttpScorer`.

    Raises:
        ConfigurationError: If an option is out of range, or an explicit key would go over plain
            http.
        AuthenticationError: If the key cannot be one.

    Example:
        ```python
        from rerank_core import NimScorer

        scorer = NimScorer("nvidia/llama-nemotron-rerank-1b-v2", base_url="http://127.0.0.1:8000")
        assert scorer.scale == "logit"
        ```
    """

    provider = "nim"
    key_variables = ("NVIDIA_API_KEY",)
    max_texts = 512

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        path: str = _DEFAULT_PATH,
        truncate: bool = True,
        raw_scores: bool = True,
        **options: Unpack[HttpOptions],
    ) -> None:
        self._path = check_path(path, "'/v1/ranking', '/ranking'")
        model = check_name(model, "model", "nvidia/llama-nemotron-rerank-1b-v2")
        super().__init__(model, base_url=base_url, raw_scores=raw_scores, **options)
        self._truncate = check_flag(truncate, "truncate")

    def _find_url(self, base_url: str | None) -> str:
        return check_url(base_url, query=self._path == "")

    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        return self._path, {
            "model": self._model,
            "query": {"text": query},
            "passages": [{"text": text} for text in texts],
            "truncate": "END" if self._truncate else "NONE",
        }

    def _read(self, response: httpx.Response, texts: Sequence[str]) -> Scoring:
        body = response.json()
        scores = self._match(read_field(body, "rankings"), texts, "logit")
        tokens = counts(read_field(body, "usage")).get("total_tokens", 0)
        return Scoring(scores, Usage(tokens=int(tokens)))
