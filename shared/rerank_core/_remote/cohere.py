"""`CohereScorer`: Cohere's rerank service, and servers that speak its wire format."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from functools import lru_cache, partial
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from rerank_core._checks import (
    check_name,
    check_number,
    check_whole,
    describe,
    optional,
    suggest,
)
from rerank_core._concurrency import score_in_thread
from rerank_core._errors import ConfigurationError
from rerank_core._remote.answers import counts, read_field, read_spans
from rerank_core._remote.base import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    Call,
    HttpScorer,
    UnitScale,
)
from rerank_core._remote.errors import Exchange, translate_errors
from rerank_core._remote.keys import ApiKey, check_path, check_url
from rerank_core._remote.prices import Prices
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scoring, Span
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import httpx

__all__ = ["CohereScorer"]

T = TypeVar("T")

_DEFAULT_PATH = "/v2/rerank"
_URL_VARIABLE = "CO_API_URL"  # the SDK's
_DOMAINS = ("cohere.com", "cohere.ai")
_OPTIONS = ("max_tokens_per_doc", "priority", "relevant_spans")  # not every SDK knows them
# https://docs.cohere.com/docs/deprecations
_RETIRED = ("rerank-english-v2.0", "rerank-multilingual-v2.0")


class CohereScorer(HttpScorer):
    """Scores with Cohere's rerank service, or a server that speaks its wire format.

    Nothing is imported or connected before the first scoring. More than 1,000 texts are split
    over several requests, which `ascore` sends four at a time. Redirects are not followed.

    Cohere cuts texts at `max_tokens_per_doc`, even where a model reads more, and long queries at a
    limit of the model (2,048 tokens for its v3 models). It does not report it: ``usage.truncated``
    and ``usage.truncated_queries`` stay 0.

    The key is the argument, else ``CO_API_KEY``, else ``COHERE_API_KEY``, as in `HttpScorer`. A
    server other than Cohere's is asked without a key if there is none.

    Args:
        model: The service's name of the model, such as ``"rerank-v5.0-fast"``.
        api_key: The key, a function that returns it, or False to send none.
        base_url: Address of the service. Default: ``CO_API_URL`` as it is now, else Cohere's.
        path: What is added to it: ``"/v2/rerank"`` (Cohere, vLLM, LiteLLM), ``"/v1/rerank"``
            (Jina, llama.cpp, vLLM, LiteLLM), ``"/rerank"`` (Infinity, vLLM, LiteLLM), or ``""`` if
            `base_url` is the whole address, which may then have a query. It is shown and
            written, so it must hold no secret. Default: ``"/v2/rerank"``.
        timeout: Seconds, as in `HttpScorer`. Default: 30.
        max_retries: Attempts after the first, as in `HttpScorer`. Default: 2.
        max_tokens_per_doc: Length at which the service cuts a text. Cohere's v4 and v5 models read
            32,768 tokens of query and text together. Default: the service's; Cohere's is 4,096.
        priority: How early a loaded service handles the request; 0 is first. Needs an SDK that
            has it. Default: the service's.
        relevant_spans: Ask for the relevant passages of each text, as ``spans`` with a score each,
            best first (Cohere's Context Focus). ``{"threshold": 0.3, "max_spans": 3}`` asks for
            those with a score above one from 0 to 1 (Cohere's default: 0.1), and for so many of
            each text at most (default: all). Needs a v5 model and an SDK that has it. Default:
            False.
        instruction: A criterion of relevance, in plain words, for a server of your own that takes
            ``instruction``, such as vLLM with Qwen3-Reranker. Cohere's service takes none. Default:
            the server's.
        raw_scores: The server sends logits: the scale is `LOGIT`, and any number is valid. Most
            must be asked to, in `extra_body`. Default: False, scores from 0 to 1.
        extra_body: Further fields of the request, as the server knows them: ``{"raw_scores":
            True}`` for Infinity, ``{"use_activation": False}`` for vLLM, ``{"return_documents":
            False}`` for Jina. Default: none.
        prices: As in `HttpScorer`. Default: not known.
        scale: As in `HttpScorer`. Cohere calls the scores of its v5 models calibrated; that is its
            own claim, so they are ``"unit"`` until you declare them ``"probability"``.
        client: A ready ``cohere.ClientV2``, ``AsyncClientV2``, ``BedrockClientV2`` or
            ``SagemakerClientV2`` instead of `api_key`, `base_url` and `path`; its key, address
            and HTTP settings apply, and closing it stays with you. The SDK reads its answers,
            without a limit on their size, and takes ``"index": "1"`` for 1. `timeout` is then the
            longest wait for a connection and for each piece of an answer, and the call as a whole
            has no limit: put a `Deadline` around it. With a sync one, `ascore` works in a thread;
            with an async one there is only `ascore`, in that client's event loop.

    Raises:
        ConfigurationError: If an option is out of range, the model is retired, or an explicit
            key would go over plain http.
        AuthenticationError: If the key cannot be one.

    Example:
        ```python
        from rerank_core import CohereScorer

        scorer = CohereScorer(
            "rerank-v5.0-fast", relevant_spans={"max_spans": 3}, prices={"million_tokens": 0.02}
        )
        assert scorer.to_config()["relevant_spans"] == {"max_spans": 3}
        ```
    """

    provider = "cohere"
    default_url = "https://api.cohere.com"
    # The SDK reads the same variables, but takes an empty one for a key.
    key_variables = ("CO_API_KEY", "COHERE_API_KEY")
    # "We recommend against sending more than 1,000 documents in a single request":
    # https://docs.cohere.com/reference/rerank
    max_texts = 1000
    extra = "cohere"
    packages = ("cohere", "cohere.client_v2")

    def __init__(
        self,
        model: str,
        *,
        api_key: ApiKey = None,
        base_url: str | None = None,
        path: str = _DEFAULT_PATH,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        max_tokens_per_doc: int | None = None,
        priority: int | None = None,
        relevant_spans: bool | Mapping[str, float] = False,
        instruction: str | None = None,
        raw_scores: bool = False,
        extra_body: Mapping[str, Any] | None = None,
        prices: Prices | Mapping[str, float] | None = None,
        scale: UnitScale | None = None,
        client: Any = None,
    ) -> None:
        self._path = check_path(path, "'/v2/rerank', '/v1/rerank', '/rerank'")
        self._client = client
        # Nothing else may share a ready client's cache: its address is not known.
        self._client_id = uuid4().hex
        if client is not None:
            if api_key is not None or base_url is not None or path != _DEFAULT_PATH:
                raise ConfigurationError("set api_key and base_url on the client, not beside it")
            if not callable(getattr(client, "rerank", None)):
                kind = type(client).__name__
                raise ConfigurationError(
                    f"client must be a client object of the Cohere SDK, not a {kind}"
                )
            ready = "Check the ready client's credentials"
            self.hints = {401: ready, 403: ready}
        super().__init__(
            _check_model(model),
            base_url=base_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            raw_scores=raw_scores,
            prices=prices,
            scale=scale,
        )
        self._max_tokens_per_doc = optional(check_whole, max_tokens_per_doc, "max_tokens_per_doc")
        self._priority = optional(check_whole, priority, "priority", least=0)
        self._relevant_spans = _check_spans(relevant_spans)
        self._extra_body = optional(_check_extra_body, extra_body, "extra_body")
        self._instruction = optional(check_name, instruction, "instruction", "Find the law.")
        self._fields = dict(self._extra_body or {})
        if self._instruction is not None:
            if self._needs_key():
                raise ConfigurationError(
                    "Cohere's service takes no instruction; a server that takes one, such as "
                    "vLLM, needs base_url"
                )
            if "instruction" in self._fields:
                raise ConfigurationError("instruction is in extra_body, too; leave it out there")
            self._fields["instruction"] = self._instruction

    @property
    def fingerprint(self) -> str:
        """Address, model and options; with a ready client, this scorer only."""
        own = f"client-{self._client_id}"
        extra = sorted(self._fields.items())
        return (
            f"cohere:{self._model}@{self._address + self._path if self._client is None else own}"
            f":max_tokens_per_doc={self._max_tokens_per_doc}"
            f":relevant_spans={self._relevant_spans}"
            f":raw_scores={self._raw_scores}:extra_body={extra}"
        )

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments that are not at their defaults, without the key.

        Raises:
            ConfigurationError: If the scorer was made with a ready client.
        """
        self._refuse_ready_client()
        return super().to_config()

    def sentence_scorer(self, elapsed: float) -> Scorer | None:  # noqa: ARG002
        """Return None where the relevant spans of the texts were asked for, else itself."""
        return None if self._relevant_spans else self

    def _find_url(self, base_url: str | None) -> str | None:
        argument = "base_url"
        if base_url is None and self._client is None:
            argument, base_url = _URL_VARIABLE, os.environ.get(_URL_VARIABLE, "").strip() or None
        if base_url is not None:
            return check_url(base_url, argument, query=self._path == "")
        if self._path == "":
            raise ConfigurationError("path='' needs base_url, which then is the whole address")
        return None

    def _needs_key(self) -> bool:
        host = urlsplit(self._address).hostname or ""
        return any(host == domain or host.endswith(f".{domain}") for domain in _DOMAINS)

    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        # The base class retries; "timeout" is not read by SDK 5.
        sending: dict[str, Any] = {"max_retries": 0, "timeout_in_seconds": self._timeout}
        if self._fields:
            sending["additional_body_parameters"] = self._fields
        options = {
            "max_tokens_per_doc": self._max_tokens_per_doc,
            "priority": self._priority,
            "relevant_spans": self._spans_wanted(),
        }
        return self._path, {
            "model": self._model,
            "query": query,
            "documents": list(texts),
            "request_options": sending,
            **{name: value for name, value in options.items() if value is not None},
        }

    def _spans_wanted(self) -> dict[str, Any] | None:
        if not self._relevant_spans:
            return None
        options = {} if self._relevant_spans is True else self._relevant_spans
        return {"mode": "enabled", **options}

    def _read(self, response: Any, texts: Sequence[str]) -> Scoring:
        """Read the JSON as it came, or what the SDK of a ready client made of it."""
        results = read_field(response, "results")
        scores = self._match(results, texts)
        spans: list[tuple[Span, ...]] = [()] * len(texts)
        for result in results:
            index = read_field(result, "index")
            own = read_field(result, "relevant_spans")
            spans[index] = read_spans(own, texts[index], index)
        meta = read_field(response, "meta")
        billed = counts(read_field(meta, "billed_units"))
        # Cohere and LiteLLM have the tokens in "meta", the others in "usage".
        used = counts(read_field(response, "usage"))
        used |= billed | counts(read_field(meta, "tokens"))
        names = ("input_tokens", "total_tokens", "prompt_tokens")
        tokens = next((int(used[name]) for name in names if name in used), 0)
        usage = Usage(tokens=tokens, billed_units=billed)
        return Scoring(scores, usage, spans=tuple(spans) if self._relevant_spans else None)

    def _start(self) -> int:
        if self._client is None:
            return super()._start()
        self._require()
        if inspect.iscoroutinefunction(self._client.rerank):
            raise ConfigurationError(
                "this scorer was made with an async client; call ascore or arerank, or pass a "
                "cohere.ClientV2"
            )
        return self.max_texts

    async def _astart(self) -> int:
        if self._client is None:
            return await super()._astart()
        self._require()
        return self.max_texts

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        if self._client is None or inspect.iscoroutinefunction(self._client.rerank):
            return await super()._ascore(query, texts, progress)
        return await score_in_thread(partial(self._score, query, texts), progress, self)

    # The SDK writes the request and raises the errors of a status; the base sends. Its coroutine
    # is run by hand up to the request, and from the answer on: in the caller's thread, or in
    # another if the answer is large. Scores are read from the JSON itself, as the SDK would take
    # "1" or true for an index.

    def _prepare(self, exchange: Exchange) -> Callable[[httpx.Response], Any]:
        client = _sdk()(
            "", base_url=self._address, timeout=self._timeout, httpx_client=_Sender(exchange)
        )
        work: Coroutine[Any, Any, Any] = self._known(client.rerank, exchange)(**exchange.body)
        work.send(None)

        def open_answer(response: httpx.Response) -> Any:
            try:
                work.send(_Answer(response, exchange))
            except StopIteration as end:
                exchange.answer_id = getattr(end.value, "id", None)
                return exchange.answer
            raise RuntimeError("the SDK sends a second request")

        return open_answer

    # A ready client makes its own requests, in the caller's thread or event loop.

    def _ask(self, call: Call[T]) -> T:
        if self._client is None:
            return super()._ask(call)
        exchange = self._exchange(call)
        with translate_errors(exchange):
            answer = self._known(self._client.rerank, exchange)(**exchange.body)
            exchange.answer_id = getattr(answer, "id", None)
            return call.read(answer, exchange)

    async def _aask(self, call: Call[T]) -> T:
        if self._client is None:
            return await super()._aask(call)
        exchange = self._exchange(call)
        with translate_errors(exchange):
            answer = await self._known(self._client.rerank, exchange)(**exchange.body)
            exchange.answer_id = getattr(answer, "id", None)
            return call.read(answer, exchange)

    def _known(self, rerank: Callable[..., Any], exchange: Exchange) -> Callable[..., Any]:
        """Return the SDK's function, or raise an error if it does not know an option."""
        options = [name for name in exchange.body if name in _OPTIONS]
        known = inspect.signature(rerank).parameters if options else ()
        for name in options:
            if name not in known:
                raise ConfigurationError(
                    f"{name} is not known to the installed Cohere SDK or the client's rerank; "
                    "leave it out, or pip install -U cohere"
                )
        return rerank

    def _key(self) -> str:
        if self._client is None:
            return super()._key()
        key = getattr(getattr(self._client, "_client_wrapper", None), "_token", "")
        return key if isinstance(key, str) else ""

    def _refuse_ready_client(self) -> None:
        if self._client is not None:
            raise ConfigurationError(
                "a CohereScorer made with a ready client can be neither pickled nor written as a "
                "configuration; make it with base_url and a key from the environment instead"
            )

    def __getstate__(self) -> dict[str, Any]:
        self._refuse_ready_client()
        return self.__dict__

    def __repr__(self) -> str:
        base_url = f", base_url={self._base_url!r}" if self._base_url else ""
        path = f", path={self._path!r}" if self._path != _DEFAULT_PATH else ""
        client = f", client={type(self._client).__name__}" if self._client is not None else ""
        return f"CohereScorer({self._model!r}{base_url}{path}{client})"


class _Sender:
    """The part of an HTTP client that the SDK uses, for one request.

    The SDK hands nothing of a call on to its HTTP client, so each call has its own client, whose
    making takes microseconds.
    """

    def __init__(self, exchange: Exchange) -> None:
        # The SDK's client refers to itself: what it holds lives until the garbage collector comes.
        self._once = [exchange]

    async def request(self, *, json: Any, headers: Mapping[str, str], **_: Any) -> Any:
        exchange = self._once.pop()
        exchange.body = json
        # The SDK has no key, and would send "Bearer ", which is no valid header.
        kept = {name: headers[name] for name in headers if name.lower() != "authorization"}
        exchange.request_headers = {**kept, **exchange.request_headers}
        del exchange
        return await _next_sent()


@coroutine
def _next_sent() -> Generator[None, Any, Any]:
    """Return what is sent to the coroutine that awaits this."""
    return (yield)


class _Answer:
    """An ``httpx.Response`` whose results the SDK does not see."""

    def __init__(self, response: httpx.Response, exchange: Exchange) -> None:
        self._response = response
        self._exchange = exchange

    def json(self) -> Any:
        """Parse the body, keep it, and hide the results, which the SDK would take time to coerce.

        Raises:
            json.JSONDecodeError: If it cannot be parsed; the SDK expects no other error.
        """
        try:
            body = self._response.json()
        except (ValueError, RecursionError) as error:
            raise json.JSONDecodeError(str(error), "", 0) from error
        if not self._response.is_success:
            return body
        self._exchange.answer = body
        return {**body, "results": []} if isinstance(body, dict) else body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


@lru_cache
def _sdk() -> Callable[..., Any]:
    from cohere import AsyncClientV2

    return AsyncClientV2


def _check_model(model: object) -> str:
    name = check_name(model, "model", "rerank-v5.0-fast")
    if name in _RETIRED:
        raise ConfigurationError(
            f"model {name!r} was retired by Cohere; use 'rerank-v5.0-fast', 'rerank-v5.0-pro' or "
            f"{name.replace('v2', 'v3')!r} instead"
        )
    return name


def _check_spans(spans: object) -> bool | dict[str, float]:
    if isinstance(spans, bool):
        return spans
    if not isinstance(spans, Mapping):
        raise ConfigurationError(
            "relevant_spans must be True, False, or a mapping such as {'threshold': 0.3, "
            f"'max_spans': 3}}, not {describe(spans)}"
        )
    checks: dict[str, Callable[[object, str], float]] = {
        "threshold": partial(check_number, least=0, most=1),
        "max_spans": check_whole,
    }
    for name in spans:
        if name not in checks:
            raise ConfigurationError(
                f"relevant_spans has no {describe(name)}{suggest(str(name), checks)}; "
                "it has threshold and max_spans"
            )
    return {
        name: check(spans[name], f"relevant_spans: {name}")
        for name, check in checks.items()
        if spans.get(name) is not None
    } or True


def _check_extra_body(extra: object, argument: str) -> dict[str, Any]:
    try:
        copied = json.loads(json.dumps(extra, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        copied = None
    if not isinstance(copied, dict) or copied != extra:
        raise ConfigurationError(
            f"{argument} must be a mapping of names to JSON values, not a {type(extra).__name__}"
        )
    if taken := copied.keys() & {"model", "query", "documents", "top_n"}:
        raise ConfigurationError(f"{argument} must not hold {min(taken)!r}: the scorer sets it")
    return copied
