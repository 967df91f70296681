"""`CohereScorer`: Cohere's rerank service, and servers that speak its wire format."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self
from uuid import uuid4

from rerank_core.errors import ConfigurationError
from rerank_core.scorer import Progress, Scorer, StopScoring
from rerank_core.scorers.cohere._access import ApiKey, Keyring, base_url_or_default
from rerank_core.scorers.cohere._checks import check_model, check_timeout, check_whole
from rerank_core.scorers.cohere._client import Connections, require_sdk
from rerank_core.scorers.cohere._errors import exchange
from rerank_core.scorers.cohere._response import read_answer
from rerank_core.scorers.cohere._retry import attempts
from rerank_core.scorers.cohere._split import Tally, chunks
from rerank_core.types import Scale, Scoring
from rerank_core.validation import describe

__all__ = ["CohereScorer"]

_MAX_CONCURRENT = 4  # requests of one ascore call
_DEFAULT_TIMEOUT = 30.0
_DEFAULT_RETRIES = 2


class CohereScorer(Scorer):
    """Scores with Cohere's rerank service, or a server with the same ``/v2/rerank``.

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
        timeout: Seconds to wait for a connection, and between two pieces of an answer, in each
            attempt. Default: 30.
        max_retries: Attempts after the first, for status 408, 409, 429 and 500 or more, timeouts
            and broken connections. Waits grow from 0.5 to 10 s with jitter, or last as long as
            ``Retry-After`` says; one above 60 s is raised at once. Default: 2.
        max_tokens_per_doc: Where the service cuts a text. Default: the service's, 4,096.
        priority: How early a loaded service handles the request; 0 is first. Needs an SDK that
            has it. Default: the service's.
        relevant_spans: Ask for the best passage of each text. Needs a v5 model and an SDK that
            has it. Default: False.
        client: A ready ``cohere.ClientV2``, ``AsyncClientV2``, ``BedrockClientV2`` or
            ``SagemakerClientV2`` instead of `api_key` and `base_url`; its key, address and HTTP
            settings apply, and closing it stays with you. With a sync one, `ascore` works in a
            thread; with an async one there is only `ascore`, in that client's event loop.

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
        timeout: float = _DEFAULT_TIMEOUT,
        max_retries: int = _DEFAULT_RETRIES,
        max_tokens_per_doc: int | None = None,
        priority: int | None = None,
        relevant_spans: bool = False,
        client: Any = None,
    ) -> None:
        self._model = check_model(model)
        self._timeout = check_timeout(timeout)
        self._max_retries = check_whole(max_retries, "max_retries", at_least=0)
        self._options: dict[str, Any] = {}
        if max_tokens_per_doc is not None:
            self._options["max_tokens_per_doc"] = check_whole(
                max_tokens_per_doc, "max_tokens_per_doc", at_least=1
            )
        if priority is not None:
            self._options["priority"] = check_whole(priority, "priority", at_least=0)
        if not isinstance(relevant_spans, bool):
            raise ConfigurationError(
                f"relevant_spans must be True or False, not {describe(relevant_spans)}"
            )
        self._relevant_spans = relevant_spans
        self._client = client
        if client is None:
            self._base_url = base_url_or_default(base_url)
            self._connect(Keyring(api_key, self._base_url))
            return
        if api_key is not None or base_url is not None:
            raise ConfigurationError("set api_key and base_url on the client, not beside it")
        if not callable(getattr(client, "rerank", None)):
            raise ConfigurationError(
                f"client must be a client object of the Cohere SDK, not a {type(client).__name__}"
            )
        self._base_url = None
        # Where a ready client points is its own affair: nothing else may share its cache.
        self._client_id = uuid4().hex

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model

    @property
    def scale(self) -> Scale:
        """`UNIT`."""
        return Scale.UNIT

    @property
    def fingerprint(self) -> str:
        """Address, model and options; with a ready client, this scorer only."""
        place = f"client-{self._client_id}" if self._client is not None else self._base_url
        return (
            f"cohere:{self._model}@{place or 'default'}"
            f":max_tokens_per_doc={self._options.get('max_tokens_per_doc')}"
            f":relevant_spans={self._relevant_spans}"
        )

    def to_config(self) -> dict[str, Any]:
        """The constructor's arguments that were set, the key excepted, with ``"type": "cohere"``.

        Raises:
            ConfigurationError: If the scorer was made with a ready client.
        """
        if self._client is not None:
            self._refuse_to_travel()
        defaults = {
            "base_url": None,
            "timeout": _DEFAULT_TIMEOUT,
            "max_retries": _DEFAULT_RETRIES,
            "relevant_spans": False,
        }
        chosen = {
            name: getattr(self, f"_{name}")
            for name, default in defaults.items()
            if getattr(self, f"_{name}") != default
        }
        if self._keyring.disabled:
            chosen["api_key"] = False
        return {"type": "cohere", "model": self._model, **self._options, **chosen}

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones."""
        if self._client is None:
            self._connections.close()

    async def aclose(self) -> None:
        """Close this process's connections and the running event loop's.

        Not needed at the end of ``asyncio.run``, which closes them.
        """
        if self._client is None:
            await self._connections.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _connect(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._connections = Connections(keyring, self._base_url, self._timeout)

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        require_sdk()
        client = self._client or self._connections.sync_client()
        if inspect.iscoroutinefunction(client.rerank):
            raise ConfigurationError(
                "this scorer was made with an async client; call ascore or arerank, or pass a "
                "cohere.ClientV2"
            )
        tally = Tally(texts, progress)
        for start, chunk in chunks(texts):
            request = self._request(client.rerank, query, chunk)
            for attempt in attempts(self._max_retries):
                with attempt, exchange(self._model, self._client_key) as watched:
                    response = client.rerank(**request)
                    answer = read_answer(response, chunk, watched.request_id)
            try:
                tally.add(start, answer, requests=attempt.num)
            except StopScoring:
                break
        return tally.scoring(with_spans=self._relevant_spans)

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        if self._client is not None:
            require_sdk()
        client = self._client or await self._connections.async_client()
        if not inspect.iscoroutinefunction(client.rerank):
            return await super()._ascore(query, texts, progress)
        tally = Tally(texts, progress)
        limit = asyncio.Semaphore(_MAX_CONCURRENT)

        async def ask(start: int, chunk: Sequence[str]) -> None:
            request = self._request(client.rerank, query, chunk)
            async with limit:
                async for attempt in attempts(self._max_retries):
                    with attempt, exchange(self._model, self._client_key) as watched:
                        response = await client.rerank(**request)
                        answer = read_answer(response, chunk, watched.request_id)
            tally.add(start, answer, requests=attempt.num)

        tasks = [asyncio.create_task(ask(start, chunk)) for start, chunk in chunks(texts)]
        try:
            await asyncio.gather(*tasks)
        except StopScoring:
            pass  # what has come is kept
        finally:
            # After a failure or a cancellation no request outlives this call.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return tally.scoring(with_spans=self._relevant_spans)

    def _request(
        self, rerank: Callable[..., Any], query: str, texts: Sequence[str]
    ) -> dict[str, Any]:
        """Put the arguments together: what is not set is left out, as None would be sent."""
        options = dict(self._options)
        if self._relevant_spans:
            options["relevant_spans"] = {"mode": "enabled", "max_spans": 1}
        known = inspect.signature(rerank).parameters
        for option in options:
            if option not in known:
                raise ConfigurationError(
                    f"{option} is not known to the installed Cohere SDK or the client's rerank; "
                    "leave it out, or pip install -U cohere"
                )
        return {
            "model": self._model,
            "query": query,
            "documents": list(texts),
            # Retrying is this scorer's own affair; "timeout" is not read by SDK 5.
            "request_options": {"max_retries": 0, "timeout_in_seconds": self._timeout},
            **options,
        }

    @property
    def _client_key(self) -> str:
        """The key of a ready client, to keep it out of messages; our own clients report theirs."""
        key = getattr(getattr(self._client, "_client_wrapper", None), "_token", "")
        return key if isinstance(key, str) else ""

    def _refuse_to_travel(self) -> NoReturn:
        raise ConfigurationError(
            "a CohereScorer made with a ready client can be neither pickled nor written as a "
            "configuration; make it with base_url and a key from the environment instead"
        )

    # A scorer is immutable and thread-safe: a copy is the same one, its key included.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        if self._client is not None:
            self._refuse_to_travel()
        return {name: value for name, value in self.__dict__.items() if name != "_connections"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect(self._keyring)

    def __repr__(self) -> str:
        base_url = f", base_url={self._base_url!r}" if self._base_url else ""
        client = f", client={type(self._client).__name__}" if self._client is not None else ""
        return f"CohereScorer({self._model!r}{base_url}{client})"
