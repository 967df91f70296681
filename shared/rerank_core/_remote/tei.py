"""`TeiScorer`: Hugging Face's Text Embeddings Inference, by its own ``/rerank``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from rerank_core._checks import (
    check_choice,
    check_flag,
    check_name,
    check_whole,
    describe,
    optional,
)
from rerank_core._errors import MalformedResponseError, MissingExtraError, ScorerError
from rerank_core._remote.answers import Answer, match_scores
from rerank_core._remote.base import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    AsyncSession,
    RemoteScorer,
    Session,
)
from rerank_core._remote.connections import Connections
from rerank_core._remote.errors import Exchange, exchange
from rerank_core._remote.keys import ApiKey, Keyring, check_url
from rerank_core._remote.prices import Prices
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import httpx

__all__ = ["TeiScorer"]

Direction = Literal["left", "right"]

_KEY_VARIABLE = "TEI_API_KEY"
# The server's own default for --max-client-batch-size:
# https://huggingface.co/docs/text-embeddings-inference/cli_arguments
_DEFAULT_BATCH = 32
_LARGEST_BATCH = 1000  # whatever the server allows: its limit on bytes is a separate one
_HINTS = {
    404: "Check base_url: '/rerank' is added to it",
    413: (
        "Set a lower batch_size, or the server's --max-client-batch-size or --payload-limit higher"
    ),
    422: "A text too long is refused with truncate=False",
    424: "The server's log says more; its model must be a re-ranker",
}


class TeiScorer(RemoteScorer):
    """Scores with a Text Embeddings Inference server and the re-ranker it serves.

    Nothing is imported or connected before the first scoring. Texts are split over requests of
    `batch_size`, which `ascore` sends four at a time. Redirects are not followed. A text longer
    than the model reads is cut, which the server does not report.

    The key is the argument, else ``TEI_API_KEY``, else none is sent. It goes by https or to this
    machine only, and is neither pickled nor part of the configuration. Tokens of the usage are
    what the server says it read. The API: https://huggingface.github.io/text-embeddings-inference.

    Args:
        base_url: Address of the server, such as ``"http://127.0.0.1:8080"``.
        model: What it serves, such as ``"BAAI/bge-reranker-base"``: the scorer's name, and part
            of its fingerprint, so that caches tell two models at one address apart. The server
            does not read it. Default: ``"tei"``.
        api_key: The key; a function that returns it; or False to send none, whatever the
            environment holds.
        batch_size: Texts of one request. Default: what the server's ``/info`` allows, which is
            asked for once and not counted as a request; 32 where it does not say.
        truncate: Cut texts that are too long, instead of refusing them. Default: True.
        truncation_direction: Which end is cut, ``"right"`` or ``"left"``. Default: ``"right"``.
        raw_scores: Ask for logits: the scale is `LOGIT`. Default: False, sigmoids.
        timeout: As in `CohereScorer`. Default: 30.
        max_retries: As in `CohereScorer`. Default: 2.
        prices: What the service charges, for ``usage.cost``; a mapping of `Prices`' arguments
            will do. Default: not known.

    Raises:
        ConfigurationError: If an option is out of range, or an explicit key would go over plain
            http.
        AuthenticationError: If the key cannot be one.
    """

    _connections: _Connections

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
    ) -> None:
        super().__init__(
            timeout=timeout, max_retries=max_retries, raw_scores=raw_scores, prices=prices
        )
        self._base_url = check_url(base_url)
        self._model = optional(check_name, model, "model", "BAAI/bge-reranker-base")
        self._batch_size = optional(check_whole, batch_size, "batch_size")
        self._truncate = check_flag(truncate, "truncate")
        self._truncation_direction = check_choice(
            truncation_direction, "truncation_direction", get_args(Direction)
        )
        self._keyring = Keyring(
            api_key, self._base_url, provider="tei", variables=(_KEY_VARIABLE,), needed=False
        )
        self._connections = self._connect()

    @property
    def name(self) -> str:
        """The model's name, or ``"tei"``."""
        return self._model or "tei"

    @property
    def fingerprint(self) -> str:
        """Address, model and options."""
        cut = self._truncation_direction if self._truncate else None
        return f"tei:{self._model}@{self._base_url}:cut={cut}:raw_scores={self._raw_scores}"

    def to_config(self) -> dict[str, Any]:
        """The constructor's arguments that were set, the key excepted, with ``"type": "tei"``."""
        chosen = self._chosen(
            {"model": None, "batch_size": None, "truncate": True, "truncation_direction": "right"}
        )
        if self._keyring.disabled:
            chosen["api_key"] = False
        return {"type": "tei", "base_url": self._base_url, **chosen}

    def _connect(self) -> _Connections:
        return _Connections(self._base_url, self._timeout)

    def _session(self) -> Session:
        http = self._connections.sync_client()

        def ask(query: str, texts: Sequence[str]) -> Answer:
            with exchange(self._watched()):
                return self._read(http.post(**self._request(query, texts)), len(texts))

        if self._limit is None:
            try:
                with exchange(self._watched()):
                    self._connections.limit = _read_limit(http.get(**self._info_request()))
            except ScorerError as error:
                self._do_without_info(error)
        return Session(ask, self._limit or _DEFAULT_BATCH)

    async def _asession(self) -> AsyncSession:
        await self._connections.prepare()

        async def ask(query: str, texts: Sequence[str]) -> Answer:
            with exchange(self._watched()):
                async with self._connections.async_client() as http:
                    return self._read(await http.post(**self._request(query, texts)), len(texts))

        if self._limit is None:
            try:
                with exchange(self._watched()):
                    async with self._connections.async_client() as http:
                        response = await http.get(**self._info_request())
                        self._connections.limit = _read_limit(response)
            except ScorerError as error:
                self._do_without_info(error)
        return AsyncSession(ask, self._limit or _DEFAULT_BATCH)

    @property
    def _limit(self) -> int | None:
        return self._batch_size or self._connections.limit

    def _do_without_info(self, error: ScorerError) -> None:
        # Whatever is wrong shows when scores are asked for; a gateway may just not pass it on.
        if not error.retryable:
            self._connections.limit = _DEFAULT_BATCH

    def _info_request(self) -> dict[str, Any]:
        return {"url": f"{self._base_url}/info", "headers": self._headers()}

    def _request(self, query: str, texts: Sequence[str]) -> dict[str, Any]:
        body = {
            "query": query,
            "texts": list(texts),
            "raw_scores": self._raw_scores,
            "return_text": False,
            "truncate": self._truncate,
        }
        if self._truncation_direction == "left":  # older servers do not know it
            body["truncation_direction"] = "Left"
        return {"url": f"{self._base_url}/rerank", "headers": self._headers(), "json": body}

    def _headers(self) -> dict[str, str]:
        key = self._keyring.key()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _watched(self) -> Exchange:
        return Exchange("tei", (_KEY_VARIABLE,), _HINTS)

    def _read(self, response: httpx.Response, count: int) -> Answer:
        response.raise_for_status()
        results = response.json()
        if not isinstance(results, list):
            raise MalformedResponseError(f"the answer is {describe(results)}, not a list")
        found = [
            (item.get("index"), item.get("score")) if isinstance(item, Mapping) else (item, None)
            for item in results
        ]
        scores = match_scores(found, count, raw_scores=self._raw_scores)
        tokens = response.headers.get("x-compute-tokens", "")
        read = int(tokens) if tokens.isascii() and tokens.isdecimal() else 0
        return Answer(scores, Usage(pairs=count, tokens=read))

    def __repr__(self) -> str:
        model = f", model={self._model!r}" if self._model else ""
        return f"TeiScorer({self._base_url!r}{model})"


class _Connections(Connections["httpx.Client", "httpx.AsyncClient"]):
    """HTTP clients as they are, and what the server said of itself."""

    limit: int | None = None

    def _require(self) -> None:
        try:
            import httpx  # noqa: F401
            import tenacity  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("tei", "TeiScorer") from error

    def _wrap(self, http: httpx.Client) -> httpx.Client:
        return http

    def _awrap(self, http: httpx.AsyncClient) -> httpx.AsyncClient:
        return http


def _read_limit(response: httpx.Response) -> int:
    response.raise_for_status()
    info = response.json()
    limit = info.get("max_client_batch_size") if isinstance(info, Mapping) else None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        return _DEFAULT_BATCH
    return min(limit, _LARGEST_BATCH)
