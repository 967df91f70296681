"""`CohereScorer`: Cohere's rerank service, and servers that speak its wire format."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, NoReturn
from uuid import uuid4

from rerank_core._checks import check_flag, check_whole
from rerank_core._errors import ConfigurationError
from rerank_core._remote.answers import Answer
from rerank_core._remote.base import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    AsyncSession,
    RemoteScorer,
    Session,
)
from rerank_core._remote.cohere_checks import check_extra_body, check_model, check_path
from rerank_core._remote.cohere_client import SdkConnections, require_sdk
from rerank_core._remote.cohere_place import DEFAULT_PATH, find_place
from rerank_core._remote.cohere_response import read_answer
from rerank_core._remote.errors import Exchange, exchange
from rerank_core._remote.keys import ApiKey, Keyring
from rerank_core._remote.prices import Prices

__all__ = ["CohereScorer"]

# The SDK reads the same variables, but takes an empty one for a key.
_KEY_VARIABLES = ("CO_API_KEY", "COHERE_API_KEY")
# "We recommend against sending more than 1,000 documents in a single request":
# https://docs.cohere.com/reference/rerank
_MAX_TEXTS = 1000


class CohereScorer(RemoteScorer):
    """Scores with Cohere's rerank service, or a server that speaks its wire format.

    Nothing is imported or connected before the first scoring. More than 1,000 texts are split
    over several requests, which `ascore` sends four at a time. Redirects are not followed.

    The key is the argument, else ``CO_API_KEY``, else ``COHERE_API_KEY``; blank ones do not
    count, and it is looked up anew for each request. It goes to whatever `base_url` says, by
    https or to this machine only. A server other than Cohere's is asked without a key if there
    is none. An explicit key is neither pickled nor part of the configuration.

    Args:
        model: The service's name of the model, such as ``"rerank-v4.0-fast"``.
        api_key: The key; a function that returns it (called for each request, so it should be
            quick); or False to send none, whatever the environment holds.
        base_url: Address of the service. Default: ``CO_API_URL`` as it is now, else Cohere's.
        path: What is added to it: ``"/v2/rerank"`` (Cohere, vLLM, LiteLLM), ``"/v1/rerank"``
            (Jina, vLLM, LiteLLM), ``"/rerank"`` (Infinity, vLLM, LiteLLM), or ``""`` if
            `base_url` is the whole address, which may then have a query. It is shown and
            written, so it must hold no secret. Default: ``"/v2/rerank"``.
        timeout: Seconds to wait for a connection, for an answer to begin, and then for its end,
            each, in each attempt. Default: 30.
        max_retries: Attempts after the first, for status 408, 409, 429 and 500 or more, timeouts
            and broken connections. Waits grow from 0.5 to 10 s with jitter, or last as long as
            ``Retry-After`` says; one above 60 s is raised at once. Default: 2.
        max_tokens_per_doc: Where the service cuts a text. Default: the service's; Cohere's is
            4,096.
        priority: How early a loaded service handles the request; 0 is first. Needs an SDK that
            has it. Default: the service's.
        relevant_spans: Ask for the relevant passages of each text. Needs a v5 model and an SDK that
            has it. Default: False.
        raw_scores: The server sends logits: the scale is `LOGIT`, and any number will do. Most
            must be asked to, in `extra_body`. Default: False, scores from 0 to 1.
        extra_body: Further fields of the request, as the server knows them: ``{"raw_scores":
            True}`` for Infinity, ``{"use_activation": False}`` for vLLM, ``{"return_documents":
            False}`` for Jina. Default: none.
        prices: What the service charges, for ``usage.cost``; a mapping of `Prices`' arguments
            will do. Default: not known.
        client: A ready ``cohere.ClientV2``, ``AsyncClientV2``, ``BedrockClientV2`` or
            ``SagemakerClientV2`` instead of `api_key`, `base_url` and `path`; its key, address
            and HTTP settings apply, and closing it stays with you. With a sync one, `ascore`
            works in a thread; with an async one there is only `ascore`, in that client's event
            loop.

    Raises:
        ConfigurationError: If an option is out of range, the model is retired, or an explicit
            key would go over plain http.
        AuthenticationError: If the key cannot be one.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: ApiKey = None,
        base_url: str | None = None,
        path: str = DEFAULT_PATH,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        max_tokens_per_doc: int | None = None,
        priority: int | None = None,
        relevant_spans: bool = False,
        raw_scores: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        prices: Prices | Mapping[str, float] | None = None,
        client: Any = None,
    ) -> None:
        super().__init__(
            timeout=timeout, max_retries=max_retries, raw_scores=raw_scores, prices=prices
        )
        self._model = check_model(model)
        self._options: dict[str, Any] = {}
        if max_tokens_per_doc is not None:
            self._options["max_tokens_per_doc"] = check_whole(
                max_tokens_per_doc, "max_tokens_per_doc", least=1
            )
        if priority is not None:
            self._options["priority"] = check_whole(priority, "priority", least=0)
        self._relevant_spans = check_flag(relevant_spans, "relevant_spans")
        self._extra_body = check_extra_body(extra_body)
        self._path = check_path(path)
        self._client = client
        if client is None:
            self._place = find_place(base_url, self._path)
            self._base_url = self._place.base_url
            self._keyring = Keyring(
                api_key,
                self._place.url,
                provider="cohere",
                variables=_KEY_VARIABLES,
                needed=self._place.is_coheres,
            )
            self._connections = self._connect()
            return
        if api_key is not None or base_url is not None or path != DEFAULT_PATH:
            raise ConfigurationError("set api_key and base_url on the client, not beside it")
        if not callable(getattr(client, "rerank", None)):
            raise ConfigurationError(
                f"client must be a client object of the Cohere SDK, not a {type(client).__name__}"
            )
        self._connections = self._base_url = None
        # Where a ready client points is its own affair: nothing else may share its cache.
        self._client_id = uuid4().hex

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model

    @property
    def fingerprint(self) -> str:
        """Address, model and options; with a ready client, this scorer only."""
        place = self._place.address if self._client is None else f"client-{self._client_id}"
        return (
            f"cohere:{self._model}@{place}"
            f":max_tokens_per_doc={self._options.get('max_tokens_per_doc')}"
            f":relevant_spans={self._relevant_spans}"
            f":raw_scores={self._raw_scores}:extra_body={sorted(self._extra_body.items())}"
        )

    def to_config(self) -> dict[str, Any]:
        """The constructor's arguments that were set, the key excepted, with ``"type": "cohere"``.

        Raises:
            ConfigurationError: If the scorer was made with a ready client.
        """
        if self._client is not None:
            self._refuse_to_travel()
        chosen = self._chosen(
            {"base_url": None, "path": DEFAULT_PATH, "relevant_spans": False, "extra_body": {}}
        )
        if self._keyring.disabled:
            chosen["api_key"] = False
        return {"type": "cohere", "model": self._model, **self._options, **chosen}

    def _connect(self) -> SdkConnections:
        place = self._place
        return SdkConnections(place.url, self._timeout, exact=place.exact, keyring=self._keyring)

    def _session(self) -> Session:
        require_sdk()
        client = self._client or self._connections.sync_client()  # type: ignore[union-attr]
        if inspect.iscoroutinefunction(client.rerank):
            raise ConfigurationError(
                "this scorer was made with an async client; call ascore or arerank, or pass a "
                "cohere.ClientV2"
            )

        def ask(query: str, texts: Sequence[str]) -> Answer:
            request = self._request(client.rerank, query, texts)
            with exchange(self._watched()) as watched:
                return self._read(client.rerank(**request), texts, watched)

        return Session(ask, _MAX_TEXTS)

    async def _asession(self) -> AsyncSession | None:
        if self._connections is not None:
            await self._connections.prepare()
        else:
            require_sdk()
            if not inspect.iscoroutinefunction(self._client.rerank):
                return None

        async def ask(query: str, texts: Sequence[str]) -> Answer:
            with exchange(self._watched()) as watched:
                async with self._lend() as client:
                    request = self._request(client.rerank, query, texts)
                    return self._read(await client.rerank(**request), texts, watched)

        return AsyncSession(ask, _MAX_TEXTS)

    def _lend(self) -> AbstractAsyncContextManager[Any]:
        connections = self._connections
        return nullcontext(self._client) if connections is None else connections.async_client()

    def _read(self, response: Any, texts: Sequence[str], watched: Exchange) -> Answer:
        own_id = getattr(response, "id", None)
        watched.answer_id = own_id if isinstance(own_id, str) else None
        answer = read_answer(response, texts, raw_scores=self._raw_scores)
        return answer if self._relevant_spans else answer._replace(spans=None)

    def _watched(self) -> Exchange:
        added = f"{self._path!r} is added to it" if self._path else "it is used as it is"
        hint = f"Check that the service offers the model {self._model!r}, and base_url: {added}"
        hints = {404: hint, 405: hint}
        if self._client is None:
            return Exchange("cohere", _KEY_VARIABLES, hints)
        hints[401] = hints[403] = "Check the ready client's credentials"
        key = getattr(getattr(self._client, "_client_wrapper", None), "_token", "")
        return Exchange("cohere", _KEY_VARIABLES, hints, key if isinstance(key, str) else "")

    def _request(
        self, rerank: Callable[..., Any], query: str, texts: Sequence[str]
    ) -> dict[str, Any]:
        """Put the arguments together: what is not set is left out, as None would be sent."""
        options = dict(self._options)
        if self._relevant_spans:
            options["relevant_spans"] = {"mode": "enabled"}
        known = inspect.signature(rerank).parameters
        for option in options:
            if option not in known:
                raise ConfigurationError(
                    f"{option} is not known to the installed Cohere SDK or the client's rerank; "
                    "leave it out, or pip install -U cohere"
                )
        # Retrying is the base's affair; "timeout" is not read by SDK 5.
        sending: dict[str, Any] = {"max_retries": 0, "timeout_in_seconds": self._timeout}
        if self._extra_body:
            sending["additional_body_parameters"] = self._extra_body
        return {
            "model": self._model,
            "query": query,
            "documents": list(texts),
            "request_options": sending,
            **options,
        }

    def _refuse_to_travel(self) -> NoReturn:
        raise ConfigurationError(
            "a CohereScorer made with a ready client can be neither pickled nor written as a "
            "configuration; make it with base_url and a key from the environment instead"
        )

    def __getstate__(self) -> dict[str, Any]:
        if self._client is not None:
            self._refuse_to_travel()
        return super().__getstate__()

    def __repr__(self) -> str:
        base_url = f", base_url={self._base_url!r}" if self._base_url else ""
        path = f", path={self._path!r}" if self._path != DEFAULT_PATH else ""
        client = f", client={type(self._client).__name__}" if self._client is not None else ""
        return f"CohereScorer({self._model!r}{base_url}{path}{client})"
