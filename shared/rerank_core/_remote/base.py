"""Base class for scorers that ask a service over HTTP."""

from __future__ import annotations

import asyncio
import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypedDict, TypeVar, get_args

from rerank_core._background import requests
from rerank_core._checks import (
    check_choice,
    check_flag,
    check_name,
    check_number,
    check_whole,
    optional,
)
from rerank_core._concurrency import in_thread, no_forks
from rerank_core._errors import (
    ConfigurationError,
    MalformedResponseError,
    MissingExtraError,
    RerankError,
)
from rerank_core._planning import Tally
from rerank_core._remote.answers import largest_answer, match_scores
from rerank_core._remote.connections import Connections
from rerank_core._remote.errors import Exchange, translate_errors
from rerank_core._remote.keys import ApiKey, Keyring, check_url
from rerank_core._remote.prices import Prices, check_prices
from rerank_core._remote.retry import async_attempts, attempts
from rerank_core._scorer import Scorer
from rerank_core._time_limit import stoppable
from rerank_core._types import Progress, Scale, Scoring, StopScoring
from rerank_core._usage import Usage

__all__ = ["DEFAULT_RETRIES", "DEFAULT_TIMEOUT", "Call", "HttpOptions", "HttpScorer", "UnitScale"]

DEFAULT_TIMEOUT = 30.0
DEFAULT_RETRIES = 2
_MAX_CONCURRENT = 4  # requests of one ascore call
_LARGE = 2**18  # bytes of an answer that would hold up an event loop while it is read

T = TypeVar("T")
UnitScale = Literal["unit", "probability"]


class HttpOptions(TypedDict, total=False):
    """Options that mean the same for every service."""

    api_key: ApiKey
    timeout: float
    max_retries: int
    prices: Prices | Mapping[str, float] | None
    scale: UnitScale | None


class Call(NamedTuple, Generic[T]):
    """A request and how its answer is read; without a body it is a GET."""

    path: str
    body: Mapping[str, Any] | None
    read: Callable[[Any, Exchange], T]
    max_bytes: int = largest_answer()


class HttpScorer(Scorer):
    """Base class for scorers that ask a service over HTTP.

    A subclass implements two methods: `_request` returns what to send, and `_read` reads the
    answer. This class does the rest, for `score` and `ascore` alike: connections, the key,
    splitting over several requests (`ascore` sends four at a time), retries, limits on size and
    time, errors, prices, `to_config`, pickling and copies.

    The key is the argument, else the first of `key_variables` that is set and not blank, looked up
    for each request. It goes by https or to this machine only, and is neither pickled nor part of
    the configuration. Redirects are not followed.

    A subclass with arguments of its own keeps each as an attribute named after it with an
    underscore in front, from which `to_config` and `fingerprint` read it.

    Attributes:
        provider: Name of the service in errors, and the ``"type"`` of the configuration.
        default_url: Address of the service; empty if `base_url` must be given.
        key_variables: Environment variables that may hold the key, in this order.
        max_texts: Most texts of one request.
        hints: What the user can do about an HTTP status, such as ``{404: "Check the model"}``.
        extra: The extra of ``rerank-core`` that brings httpx, tenacity and the `packages`.
        packages: Further modules to import before the first request.

    Args:
        model: Name of the model, which is the scorer's `name`. Default: `provider`.
        base_url: Address of the service. Default: `default_url`.
        api_key: The key; a function that returns it (called for each request, so it should be
            quick); or False to send none, whatever the environment holds.
        timeout: Seconds for each attempt as a whole, from the look-up of the address to the end of
            the answer. Default: 30.
        max_retries: Attempts after the first, for status 408, 409, 429 and 500 or more, timeouts
            and broken connections. Waits grow from 0.5 to 10 s with jitter, or last as long as
            ``Retry-After`` says; one above 60 s is raised at once. Default: 2.
        raw_scores: The service sends logits: the scale is `LOGIT`, and any number is valid.
            Default: False, scores from 0 to 1.
        prices: What the service charges, for ``usage.cost``; a mapping of `Prices`' arguments
            works too. Default: not known.
        scale: What scores from 0 to 1 are. ``"probability"`` is your word for it, checked on labels
            of your own: no service's scores are taken for probabilities otherwise. Default:
            ``"unit"``.

    Raises:
        ConfigurationError: If an option is out of range, or an explicit key would go over plain
            http.
        AuthenticationError: If the key cannot be one.

    Example:
        ```python
        from rerank_core import HttpScorer, Scoring, Usage


        class ExampleScorer(HttpScorer):
            provider = "example"
            default_url = "https://rerank.example.com"
            key_variables = ("EXAMPLE_API_KEY",)
            max_texts = 500

            def _request(self, query, texts):
                return "/v1/rerank", {"model": self.name, "query": query, "documents": texts}

            def _read(self, response, texts):
                body = response.json()
                scores = self._match(body["data"], texts, score="relevance_score")
                return Scoring(scores, Usage(tokens=body["usage"]["total_tokens"]))


        scorer = ExampleScorer("rerank-2", timeout=10, prices={"million_tokens": 0.05})
        assert scorer.to_config()["timeout"] == 10
        ```
    """

    provider: ClassVar[str]
    default_url: ClassVar[str] = ""
    key_variables: ClassVar[tuple[str, ...]] = ()
    max_texts: ClassVar[int] = 1000
    hints: Mapping[int, str] = {}
    extra: ClassVar[str] = "tei"
    packages: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        model: str | None = None,
        *,
        base_url: str | None = None,
        api_key: ApiKey = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        raw_scores: bool = False,
        prices: Prices | Mapping[str, float] | None = None,
        scale: UnitScale | None = None,
    ) -> None:
        self._model = optional(check_name, model, "model", "BAAI/bge-reranker-base")
        self._timeout = check_number(timeout, "timeout", above=0)
        self._max_retries = check_whole(max_retries, "max_retries", least=0)
        self._raw_scores = check_flag(raw_scores, "raw_scores")
        self._prices = check_prices(prices)
        self._scale = optional(check_choice, scale, "scale", get_args(UnitScale))
        if self._raw_scores and self._scale:
            raise ConfigurationError("scale is for scores from 0 to 1, not for raw_scores=True")
        self._base_url = self._find_url(base_url)
        self._api_key = False if api_key is False else None  # a real one is only in the keyring
        self._keyring = Keyring(
            api_key, self._address, self.provider, self.key_variables, self._needs_key()
        )
        self._connections = Connections(self._address, self._timeout, self._require)

    @abstractmethod
    def _request(self, query: str, texts: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        """Return what to send: the path, which is added to the address, and the JSON body.

        Args:
            query: The query.
            texts: From one to `max_texts` texts.
        """

    @abstractmethod
    def _read(self, response: Any, texts: Sequence[str]) -> Scoring:
        """Read an answer; any error in it is raised as a `MalformedResponseError`.

        Args:
            response: An ``httpx.Response`` with a status from 200 to 299.
            texts: The texts of the request.

        Returns:
            A score for each text, in the order of the texts; and, where the service tells,
            tokens and billed units.
        """

    def _match(
        self, results: object, texts: Sequence[str], score: str = "relevance_score"
    ) -> tuple[float, ...]:
        """Return scores in the order of the texts.

        Args:
            results: A list of results as they came, each a mapping with the ``"index"`` of a text
                and a score.
            texts: The texts of the request.
            score: The score's name in a result.

        Raises:
            MalformedResponseError: If an index is missing, double, or out of range, or a score is
                not a number of the kind expected.
            NonFiniteScoreError: If a score is NaN or infinite.
        """
        return match_scores(results, len(texts), score, raw_scores=self._raw_scores)

    def _headers(self, key: str) -> dict[str, str]:
        """Return the headers that carry the key; there is none if it is empty."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    @property
    def name(self) -> str:
        """The model's name, else the provider's."""
        return self._model or self.provider

    @property
    def scale(self) -> Scale:
        """`LOGIT` with `raw_scores`, else as declared, else `UNIT`."""
        return Scale.LOGIT if self._raw_scores else Scale(self._scale or "unit")

    @property
    def remote(self) -> bool:
        """True."""
        return True

    @property
    def fingerprint(self) -> str:
        """Address, model and options."""
        options = self._options()
        for name in ("model", "base_url", "api_key", "timeout", "max_retries", "prices", "scale"):
            options.pop(name, None)
        return f"{self.provider}:{self._model}@{self._address}:{sorted(options.items())}"

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments that are not at their defaults, without the key."""
        return {"type": self.provider, **self._options()}

    def load(self) -> None:
        """Import what is needed and prepare the connections; nothing is sent.

        Raises:
            ConfigurationError: If certificates or a proxy of the environment cannot be used.
            MissingExtraError: If a package is not installed.
        """
        requests.run(self._connections.open())

    def close(self) -> None:
        """Close this process's connections; a later call opens new ones."""
        if self._connections.opened:
            requests.run(self._connections.close())

    async def aclose(self) -> None:
        """Close this process's connections, as `close` does."""
        if self._connections.opened:
            await requests.wait_for(self._connections.close())

    def _options(self) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        for kind in reversed(type(self).__mro__):
            if issubclass(kind, HttpScorer):
                _, *arguments = inspect.signature(kind.__init__).parameters.values()
                named = (a for a in arguments if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD))
                defaults |= {a.name: a.default for a in named}
        values = {name: getattr(self, f"_{name}") for name in defaults}
        if self._prices is not None:
            values["prices"] = self._prices.to_config()
        return {name: value for name, value in values.items() if value != defaults[name]}

    @property
    def _address(self) -> str:
        return self._base_url or self.default_url

    def _find_url(self, base_url: str | None) -> str | None:
        """Return the checked address that was set, or None for the default one."""
        return None if base_url is None and self.default_url else check_url(base_url)

    def _needs_key(self) -> bool:
        """Return whether the service refuses to work without a key."""
        return self._base_url is None and bool(self.key_variables)

    @classmethod
    def _require(cls) -> None:
        """Import what the extra brings, which may take seconds the first time.

        Raises:
            MissingExtraError: If it is not installed.
        """
        try:
            with no_forks():
                for package in ("httpx", "tenacity", *cls.packages):
                    import_module(package)
        except ImportError as error:
            raise MissingExtraError(cls.extra, cls.__name__) from error
        except Exception as error:  # releases that do not fit together, for instance
            raise ConfigurationError(
                f"{package} cannot be imported ({type(error).__name__}); install it anew: "
                f'pip install -U "rerank-core[{cls.extra}]"'
            ) from error

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        limit = self._start()
        with _tally(len(texts)) as tally:
            for start, chunk in _chunks(texts, limit):
                for attempt in attempts(self._max_retries).copy():
                    with attempt:
                        tally.usage += Usage(requests=1)
                        scoring = self._ask(self._call(query, chunk))
                self._add(tally, start, scoring)
                progress(tally.done, len(texts))
        return tally.scoring()

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        limit = await self._astart()
        few = asyncio.Semaphore(_MAX_CONCURRENT)

        async def work(start: int, chunk: Sequence[str]) -> None:
            async with few:
                async for attempt in async_attempts(self._max_retries).copy():
                    with attempt:
                        tally.usage += Usage(requests=1)
                        scoring = await self._aask(self._call(query, chunk))
            self._add(tally, start, scoring)
            progress(tally.done, len(texts))

        with _tally(len(texts)) as tally:
            tasks = [asyncio.create_task(work(*piece)) for piece in _chunks(texts, limit)]
            try:
                async with stoppable():
                    await asyncio.gather(*tasks)
            finally:
                # After a failure or a cancellation no request outlives this call.
                for task in tasks:
                    if not task.cancelling():  # twice would cut short how a connection is closed
                        task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return tally.scoring()

    def _add(self, tally: Tally, start: int, scoring: Scoring) -> None:
        cost = None if self._prices is None else self._prices.cost(scoring.usage)
        scores = [score for score in scoring.scores if score is not None]
        usage = replace(scoring.usage, pairs=len(scores), cost=cost)
        tally.add(range(start, start + len(scores)), scores, usage, scoring.spans)

    def _start(self) -> int:
        """Import what is needed, and return how many texts a request may hold."""
        if not self._connections.opened:
            requests.run(self._connections.open())
        return self.max_texts

    async def _astart(self) -> int:
        if not self._connections.opened:
            await requests.wait_for(self._connections.open())
        return self.max_texts

    def _call(self, query: str, texts: Sequence[str]) -> Call[Scoring]:
        def read(response: Any, exchange: Exchange) -> Scoring:
            scoring = self._read(response, texts)
            known = len(scoring.scores) - scoring.scores.count(None)
            if known != len(texts) or None in scoring.scores:
                raise MalformedResponseError(f"{known} scores came back for {len(texts)} texts")
            units = exchange.own_words(scoring.usage.billed_units)
            return replace(scoring, usage=replace(scoring.usage, billed_units=units))

        return Call(*self._request(query, texts), read, largest_answer(query, *texts))

    def _ask(self, call: Call[T]) -> T:
        """Send one request, and read its answer."""
        exchange = self._exchange(call)
        with translate_errors(exchange):
            open_answer = self._prepare(exchange)
            response = requests.run(self._connections.send(exchange))
            return call.read(open_answer(response), exchange)

    async def _aask(self, call: Call[T]) -> T:
        exchange = self._exchange(call)
        with translate_errors(exchange):
            open_answer = self._prepare(exchange)
            response = await requests.wait_for(self._connections.send(exchange))

            def read() -> T:
                return call.read(open_answer(response), exchange)

            return read() if len(response.content) < _LARGE else await in_thread(read)

    def _exchange(self, call: Call[T]) -> Exchange:
        key = self._key()
        added = f"{call.path!r} is added to it" if call.path else "it is used as it is"
        hint = f"Check that the service offers the model {self.name!r}, and base_url: {added}"
        return Exchange(
            provider=self.provider,
            key_variables=self.key_variables,
            hints={404: hint, 405: hint, **self.hints},
            key=key,
            url=self._address + call.path,
            body=call.body,
            request_headers=self._headers(key),
            max_bytes=call.max_bytes,
        )

    def _key(self) -> str:
        return self._keyring.key()

    def _prepare(self, exchange: Exchange) -> Callable[[Any], Any]:  # noqa: ARG002 - for others
        """Complete a request, and return what makes of its answer what `_read` reads.

        It raises whatever error the answer tells of.
        """
        return _check_status

    # A scorer is immutable and thread-safe: a copy is the same one, its key included.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _check_status(response: Any) -> Any:
    return response.raise_for_status()


@contextmanager
def _tally(total: int) -> Iterator[Tally]:
    """Collect scores; keep what has come if `StopScoring` ends it, and what an error has cost."""
    tally = Tally(total)
    try:
        yield tally
    except StopScoring:
        pass
    except RerankError as error:
        error.add_usage(tally.usage)
        raise


def _chunks(texts: Sequence[str], limit: int) -> list[tuple[int, Sequence[str]]]:
    """Cut into pieces of about equal size, each with the position of its first text."""
    count = math.ceil(len(texts) / limit)
    bounds = [len(texts) * piece // count for piece in range(count + 1)]
    return [(start, texts[start:end]) for start, end in pairwise(bounds)]
