"""`TeiScorer`: Hugging Face's Text Embeddings Inference, by its own ``/rerank``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from rerank_core._checks import check_choice, check_flag, check_whole, optional
from rerank_core._errors import ScorerError
from rerank_core._remote.base import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    Call,
    HttpScorer,
    UnitScale,
)
from rerank_core._remote.keys import ApiKey
from rerank_core._remote.prices import Prices
from rerank_core._types import Scoring
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import httpx

    from rerank_core._remote.errors import Exchange

__all__ = ["TeiScorer"]

Direction = Literal["left", "right"]

_LARGEST_BATCH = 1000  # whatever the server allows: its limit on bytes is a separate one


class TeiScorer(HttpScorer):
    """Scores with a Text Embeddings Inference server and the re-ranker it serves.

    Nothing is imported or connected before the first scoring. Texts are split over requests of
    `batch_size`, which `ascore` sends four at a time. Redirects are not followed.

    A pair of query and text that is longer than the model reads is cut by the server, unless
    `truncate` is False. The server does not report it: ``usage.truncated`` and
    ``usage.truncated_queries`` stay 0.

    The key is the argument, else ``TEI_API_KEY``, as in `HttpScorer`, else none is sent. Tokens of
    the usage are those that the server says it read. The API:
    https://huggingface.github.io/text-embeddings-inference.

    Args:
        base_url: Address of the server, such as ``"http://127.0.0.1:8080"``.
        model: Name of the model that it serves, such as ``"BAAI/bge-reranker-base"``: the scorer's
            name, and part of its fingerprint, so that caches tell two models at one address apart.
            The server does not read it. Default: ``"tei"``.
        api_key: The key; a function that returns it; or False to send none, whatever the
            environment holds.
        batch_size: Texts of one request. Default: as many as the server's ``/info`` allows, which
            is asked for until it answers, and not counted as a request; 32 where it does not say.
        truncate: Cut pairs that are too long, instead of refusing them. Default: True.
        truncation_direction: End that is cut, ``"right"`` or ``"left"``. Default: ``"right"``.
        raw_scores: Ask for logits: the scale is `LOGIT`. Default: False, sigmoids.
        timeout: Seconds, as in `HttpScorer`. The request for ``/info`` has as many of its own, so
            that a server that hangs takes twice as long to fail; with a `batch_size` there is none.
            Default: 30.
        max_retries: Attempts after the first, as in `HttpScorer`. Default: 2.
        prices: As in `HttpScorer`. Default: not known.
        scale: As in `HttpScorer`. Default: ``"unit"``.

    Raises:
        ConfigurationError: If an option is out of range, or an explicit key would go over plain
            http.
        AuthenticationError: If the key cannot be one.

    Example:
        ```python
        from rerank_core import TeiScorer

        scorer = TeiScorer("http://127.0.0.1:8080", model="BAAI/bge-reranker-base", batch_size=64)
        assert scorer.name == "BAAI/bge-reranker-base"
        assert scorer.to_config()["batch_size"] == 64
        ```
    """

    provider = "tei"
    key_variables = ("TEI_API_KEY",)
    # The server's own default for --max-client-batch-size:
    # https://huggingface.co/docs/text-embeddings-inference/cli_arguments
    max_texts = 32
    hints = {  # noqa: RUF012 - never changed
        404: "Check base_url: '/rerank' is added to it",
        413: "Set a lower batch_size, or the server's --max-client-batch-size or --payload-limit "
        "higher",
        422: "A text too long is refused with truncate=False",
        424: "The server's log says more; its model must be a re-ranker",
    }

    def __init__(
        self,
        base_url: str,
        *,
        model: str | None = None,
        api_key: ApiKey = None,
        batch_size: int | None = None,
        truncate: bool = True,
        truncation_direction: Direction = "right",
        raw_scores: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        prices: Prices | Mapping[str, float] | None = None,
        scale: UnitScale | None = None,
    ) -> None:
        super().__init__(
            model,
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            raw_scores=raw_scores,
            prices=prices,
            scale=scale,
        )
        self._batch_size = optional(check_whole, batch_size, "batch_size")
        self._truncate = check_flag(truncate, "truncate")
        self._truncation_direction = check_choice(
            truncation_direction, "truncation_direction", get_args(Direction)
        )
        self._limit = self._batch_size

    @property
    def fingerprint(self) -> str:
        """Address, model and options."""
        cut = self._truncation_direction if self._truncate else None
        return f"tei:{self._model}@{self._base_url}:cut={cut}:raw_scores={self._raw_scores}"

    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        body = {
            "query": query,
            "texts": texts,
            "raw_scores": self._raw_scores,
            "return_text": False,
            "truncate": self._truncate,
        }
        if self._truncation_direction == "left":  # older servers do not know it
            body["truncation_direction"] = "Left"
        return "/rerank", body

    def _read(self, response: httpx.Response, texts: Sequence[str]) -> Scoring:
        tokens = response.headers.get("x-compute-tokens", "")
        read = int(tokens) if tokens.isascii() and tokens.isdecimal() and len(tokens) < 16 else 0
        return Scoring(self._match(response.json(), texts, "score"), Usage(tokens=read))

    def _start(self) -> int:
        super()._start()
        if self._limit is None:
            try:
                self._limit = self._ask(Call("/info", None, self._read_limit))
            except ScorerError as error:
                self._do_without_info(error)
        return self._limit or self.max_texts

    async def _astart(self) -> int:
        await super()._astart()
        if self._limit is None:
            try:
                self._limit = await self._aask(Call("/info", None, self._read_limit))
            except ScorerError as error:
                self._do_without_info(error)
        return self._limit or self.max_texts

    def _read_limit(self, response: httpx.Response, _: Exchange) -> int:
        info = response.json()
        limit = info.get("max_client_batch_size") if isinstance(info, Mapping) else None
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            return self.max_texts
        return min(limit, _LARGEST_BATCH)

    def _do_without_info(self, error: ScorerError) -> None:
        # Whatever is wrong shows when scores are asked for; a gateway may just not pass it on.
        if not error.retryable:
            self._limit = self.max_texts

    def __repr__(self) -> str:
        model = f", model={self._model!r}" if self._model else ""
        return f"TeiScorer({self._base_url!r}{model})"
