"""Real faults of scorers: sockets, certificates, files, memory.

Each `Fault` opens what it needs on an `ExitStack` and returns a scorer that will meet it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import os
import resource
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeAlias
from unittest import mock

from rerank_core import (
    AuthenticationError,
    Cached,
    CohereScorer,
    ConfigurationError,
    DeadlineExceeded,
    DiskStore,
    MalformedResponseError,
    NimScorer,
    NonFiniteScoreError,
    OnnxCrossEncoder,
    Progress,
    RateLimitError,
    RerankError,
    Scale,
    Scorer,
    ScorerError,
    Scoring,
    ServiceError,
    SglangScorer,
    Store,
    TeiScorer,
    VoyageScorer,
)
from rerank_core.testing import OverlapScorer, Reply, Request, ScriptedScorer, ScriptedServer

__all__ = ["FAULTS", "KEY", "PRIVATE", "QUERY", "TEXTS", "Fault"]

KEY = "sk-fault-0123456789"
PRIVATE = "classified"
QUERY = "river water level"
TEXTS = ("water", f"{PRIVATE} report", "river water level", "river level", "storm")

_SELF_SIGNED = Path(__file__).with_name("self_signed.pem")  # for 127.0.0.1; protects nothing


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What it is.
        error: What the scorer raises by itself; None if it answers whole all the same.
        make: Opens what is needed and returns the scorer.
        cut: Whether a `Deadline` comes first: the fault lasts, or is retried after a pause.
    """

    name: str
    error: type[RerankError] | None
    make: Callable[[ExitStack, Path], Scorer]
    cut: bool = False


class RawServer:
    """Reads a request, sends some bytes, and keeps the connection until it is told to close.

    Args:
        content: What it sends to each request.
        piece: Send so many bytes at a time, a hundredth of a second apart. Default: all at once.
        tls: Speak TLS with a certificate that nobody signed.
        hang_up: Close the connection after a reply.

    Attributes:
        content: What it sends to the next request.
    """

    def __init__(
        self, content: bytes, piece: int | None = None, tls: bool = False, hang_up: bool = False
    ) -> None:
        self.content = content
        self._piece = piece
        self._hang_up = hang_up
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if self._context:
            self._context.load_cert_chain(_SELF_SIGNED)
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._threads[0].join()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as stream:
                while _read_request(stream):
                    content = self.content
                    piece = self._piece or len(content) or 1
                    for start in range(0, len(content), piece):
                        connection.sendall(content[start : start + piece])
                        if piece < len(content) and self._closing.wait(0.01):
                            return
                    if self._hang_up:
                        return


def _read_request(stream: BinaryIO) -> bool:
    """Read a whole request, so that one is answered once; return whether there was one."""
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return bool(line) and len(stream.read(length)) == length


@dataclass(frozen=True)
class Wire:
    """A way to ask a service.

    Attributes:
        name: Its name.
        scorer: Makes a scorer of an address and a timeout.
        results: The body of an answer with these indexes and scores, in this order.
    """

    name: str
    scorer: Callable[[str, float], Scorer]
    results: Callable[[Sequence[tuple[Any, Any]]], Any]


_PRICES = {"million_tokens": 1.0}
COHERE = Wire(
    "Cohere's SDK",
    lambda url, timeout: CohereScorer(
        "rerank-v3.5", api_key=KEY, base_url=url, timeout=timeout, max_retries=1, prices=_PRICES
    ),
    lambda results: {
        "id": "x",
        "results": [{"index": index, "relevance_score": score} for index, score in results],
    },
)
TEI = Wire(
    "the HTTP base",
    lambda url, timeout: TeiScorer(
        url, api_key=KEY, batch_size=100, timeout=timeout, max_retries=1, prices=_PRICES
    ),
    lambda results: [{"index": index, "score": score} for index, score in results],
)
VOYAGE = Wire(
    "Voyage",
    lambda url, timeout: VoyageScorer(
        "m", api_key=KEY, base_url=url, timeout=timeout, max_retries=1, prices=_PRICES
    ),
    lambda results: {"data": [{"index": i, "relevance_score": score} for i, score in results]},
)
SGLANG = Wire(
    "SGLang",
    lambda url, timeout: SglangScorer(
        url, api_key=KEY, timeout=timeout, max_retries=1, prices=_PRICES
    ),
    lambda results: [{"index": index, "score": score} for index, score in results],
)
NIM = Wire(
    "NIM",
    lambda url, timeout: NimScorer(
        "m", api_key=KEY, base_url=url, timeout=timeout, max_retries=1, prices=_PRICES
    ),
    lambda results: {"rankings": [{"index": index, "logit": score} for index, score in results]},
)
_Make: TypeAlias = Callable[[ExitStack, Path], Scorer]


class _Twice(Scorer):
    """Asks once more before, so that there is a connection, and what an answer left behind."""

    name = "twice"
    scale = Scale.UNIT
    fingerprint = "twice"

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        self._scorer.score("another query", texts)
        return self._scorer.score(query, texts, progress=progress)

    async def _ascore(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        await self._scorer.ascore("another query", texts)
        return await self._scorer.ascore(query, texts, progress=progress)

    def close(self) -> None:
        self._scorer.close()

    async def aclose(self) -> None:
        await self._scorer.aclose()


class _Service:
    """Faults of a service that is asked over one wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.whole = json.dumps(wire.results(list(enumerate((0.3, 0.0, 1.0, 0.7, 0.0))))).encode()

    def scorer(self, url: str, timeout: float = 20) -> Scorer:
        return self._wire.scorer(url, timeout)

    def at(self, url: str, timeout: float = 20) -> _Make:
        return lambda stack, _: self.scorer(url, timeout)

    def replying(self, reply: Reply | Callable[[Request], Reply], *, twice: bool = False) -> _Make:
        def make(stack: ExitStack, _: Path) -> Scorer:
            respond = (lambda _: reply) if isinstance(reply, Reply) else reply
            scorer = self.scorer(stack.enter_context(ScriptedServer(respond=respond)).url)
            return _Twice(scorer) if twice else scorer

        return make

    def raw(
        self, content: bytes, *, timeout: float = 20, twice: bool = False, **options: Any
    ) -> _Make:
        def make(stack: ExitStack, _: Path) -> Scorer:
            server = stack.enter_context(RawServer(content, **options))
            scorer = self.scorer(server.url, timeout)
            return _Twice(scorer) if twice else scorer

        return make

    def lasting(self, content: bytes, piece: int | None = None) -> _Make:
        return self.raw(content, timeout=0.05, piece=piece)

    def results(self, *results: tuple[Any, Any]) -> _Make:
        return self.replying(Reply(self._wire.results(results)))

    def echo(self, status: int, **headers: str) -> _Make:
        """Quote the key and the texts in a refusal, as some services do."""

        def respond(request: Request) -> Reply:
            said = f"{request.headers['authorization']} sent {request.body}"
            return Reply({"message": said}, status=status, headers=headers)

        return self.replying(respond)

    def no_cookie(self, request: Request) -> Reply:
        """Answer with a cookie, and refuse requests that bring one."""
        if "cookie" in request.headers:
            return Reply(status=431)
        return Reply(self.whole, headers={"Set-Cookie": f"session={'x' * 1000}; Path=/"})

    def nobody_listens(self, stack: ExitStack, _: Path) -> Scorer:
        taken = stack.enter_context(socket.socket())  # bound, not listening: nobody else gets it
        taken.bind(("127.0.0.1", 0))
        return self.scorer(f"http://127.0.0.1:{taken.getsockname()[1]}")

    def https_to_a_plain_port(self, stack: ExitStack, _: Path) -> Scorer:
        server = stack.enter_context(ScriptedServer())
        return self.scorer(server.url.replace("http:", "https:"))

    def used_in_a_closed_loop(self, stack: ExitStack, _: Path) -> Scorer:
        scorer = self.scorer(stack.enter_context(ScriptedServer()).url)
        asyncio.run(scorer.ascore(QUERY, TEXTS))
        return scorer

    def surrounded(self, variable: str, value: str) -> _Make:
        """Ask an address that is not on this machine, in an environment that is wrong."""

        def make(stack: ExitStack, _: Path) -> Scorer:
            stack.enter_context(mock.patch.dict(os.environ, {variable: value}))
            return self.scorer("https://rerank.invalid")

        return make

    def hung_look_up(self, stack: ExitStack, _: Path) -> Scorer:
        found, ended = socket.getaddrinfo, threading.Event()

        def look_up(host: Any, *others: Any, **options: Any) -> Any:
            if "hung.invalid" in str(host):
                ended.wait(60)
            return found(host, *others, **options)

        stack.enter_context(mock.patch.object(socket, "getaddrinfo", look_up))
        stack.callback(ended.set)
        return self.scorer("https://hung.invalid", 0.05)


class _OutOfMemory(OverlapScorer):
    """Needs more memory than there is, in its second batch."""

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        progress(1, len(texts))
        raise MemoryError(f"cannot allocate for {texts[1]}")


def _full_disk(stack: ExitStack, folder: Path) -> Scorer:
    cached = Cached(OverlapScorer(), DiskStore(folder / "scores.sqlite"))
    cached.score(QUERY, [f"text {number}" for number in range(2000)])
    # No file may grow beyond this, so the store's log of changes cannot hold what is new.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    return cached


def _garbage_for_a_cache(_: ExitStack, folder: Path) -> Scorer:
    path = folder / "scores.sqlite"
    path.write_bytes(b"\x00no database\xff" * 1000)
    return Cached(OverlapScorer(), DiskStore(path))


def _half_a_cache(_: ExitStack, folder: Path) -> Scorer:
    path = folder / "scores.sqlite"
    cached = Cached(OverlapScorer(), DiskStore(path))
    cached.score(QUERY, [*TEXTS, *(f"text {number}" for number in range(2000))])
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    return cached


def _odd_values_in_a_cache(_: ExitStack, folder: Path) -> Scorer:
    path = folder / "scores.sqlite"
    cached = Cached(OverlapScorer(), DiskStore(path))
    cached.score(QUERY, TEXTS)
    with sqlite3.connect(path) as connection:
        for number, value in enumerate(("high", math.inf, b"\x00", -math.inf), 1):
            connection.execute("UPDATE entries SET score = ? WHERE rowid = ?", (value, number))
        connection.execute("UPDATE entries SET spans = '[[' WHERE rowid = 5")
    connection.close()
    return cached


class _Hung(Store):
    """Does not come to an end before the test does."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        return {}

    def put(self, entries: Mapping[bytes, Any]) -> None:
        self._ended.wait(60)


def _locked_cache(stack: ExitStack, folder: Path) -> Scorer:
    path = folder / "scores.sqlite"
    cached = Cached(OverlapScorer(), DiskStore(path))
    cached.score("another query", TEXTS)
    other = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    return cached


def _hung_cache(stack: ExitStack, folder: Path) -> Scorer:
    ended = threading.Event()
    stack.callback(ended.set)
    return Cached(OverlapScorer(), _Hung(ended))


def _model(**files: str | None) -> _Make:
    """Return a maker of a scorer with a model's folder, in which None stands for a pipe."""

    def make(_: ExitStack, folder: Path) -> Scorer:
        for name, content in files.items():
            path = folder / name.replace("__", ".")
            if content is None:
                os.mkfifo(path)
            else:
                path.write_text(content)
        return OnnxCrossEncoder(folder)

    return make


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_HTML = "<html><body>502 Bad Gateway</body></html>"
_BOMB = gzip.compress(bytes(2**28), 1)  # 1 MiB that becomes 256


def _sized(body: bytes, head: bytes = _HEAD) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _zipped(body: bytes, encoding: bytes = b"gzip") -> bytes:
    return _sized(body, _HEAD + b"Content-Encoding: " + encoding + b"\r\n")


def _read_over(wire: Wire) -> Iterator[Fault]:
    """Return the faults of answers that say something else, which each reader must bear."""
    service, odd = _Service(wire), MalformedResponseError
    for name, error, make in (
        ("200 with an HTML page", odd, service.replying(Reply(_HTML))),
        ("malformed JSON", odd, service.replying(Reply(service.whole[:-2]))),
        ("nested too deeply", odd, service.replying(Reply(b"[" * 5000))),
        ("empty body", odd, service.replying(Reply(b""))),
        ("null", odd, service.replying(Reply(b"null"))),
        ("wrong index", odd, service.results((0, 0.5), (99, 0.5))),
        ("index of another type", odd, service.results(("\u0661", 0.5), (True, 0.5))),
        ("duplicate index", odd, service.results((0, 0.5), (0, 0.5))),
        ("NaN score", NonFiniteScoreError, service.results((0, math.nan))),
        ("short list", odd, service.results((0, 0.5))),
        (
            "oversized reply",
            odd,
            service.results(*((index, 0.5) for index in range(5_000))),
        ),
        ("millions of values", odd, service.replying(Reply(b"[[" + b"[]," * 2**22))),
        ("the key as an answer", odd, service.replying(Reply({"error": KEY, KEY: KEY}))),
        ("the key as results", odd, service.results((KEY, KEY))),
    ):
        yield Fault(f"{name}, {wire.name}", error, make)


def _over(wire: Wire) -> Iterator[Fault]:
    """Return the faults of connections and answers, which each way to send must bear."""
    service = _Service(wire)
    odd, late, failed = MalformedResponseError, DeadlineExceeded, ServiceError
    whole, key = service.whole, KEY.encode()
    yield from _read_over(wire)
    flood = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    for name, error, make, cut in (
        # There is no service.
        ("connection refused", failed, service.nobody_listens, True),
        # RFC 6761, section 6.4: never resolves
        ("DNS failure", failed, service.at("https://rerank.invalid"), True),
        ("DNS that hangs", late, service.hung_look_up, True),
        ("https to a plain port", failed, service.https_to_a_plain_port, True),
        ("self-signed certificate", failed, service.raw(b"", tls=True), True),
        # The environment is wrong.
        *(
            (f"{variable}={value}", ConfigurationError, service.surrounded(variable, value), False)
            for variable, value in (
                ("SSL_CERT_FILE", "/no/such.pem"),
                ("HTTPS_PROXY", "http://[::1"),
                ("ALL_PROXY", "socks5://127.0.0.1:1"),
            )
        ),
        # It refuses, and quotes.
        ("400", failed, service.echo(400), False),
        ("401", AuthenticationError, service.echo(401), False),
        ("404", failed, service.echo(404), False),
        ("422", failed, service.echo(422), False),
        ("429 storm", RateLimitError, service.echo(429, **{"Retry-After": "30"}), True),
        (
            "429, come back tomorrow",
            RateLimitError,
            service.echo(429, **{"Retry-After": "86400"}),
            False,
        ),
        (
            "429, come back in the year 99999999999",
            RateLimitError,
            service.echo(429, **{"Retry-After": "99999999999 Jan 2024 00:00:00"}),
            True,
        ),
        ("500", failed, service.echo(500), True),
        ("500, nested", failed, service.replying(Reply(b"[" * 5000, status=500)), True),
        ("502 with an HTML page", failed, service.replying(Reply(_HTML, status=502)), True),
        # It does not come to an end.
        ("no headers", late, service.lasting(b""), True),
        ("slow headers", late, service.lasting(_HEAD), True),
        ("headers in drops", late, service.lasting(_HEAD + b"X-Drop: drop\r\n" * 900, 4), True),
        ("early answers in drops", late, service.lasting(_CONTINUE * 900, len(_CONTINUE)), True),
        ("a flood of early answers", late, service.lasting(_CONTINUE * 40_000), True),
        (
            "slow body",
            late,
            service.lasting(_HEAD + b"Content-Length: 1000\r\n\r\n" + whole[:40]),
            True,
        ),
        ("body in drops", None, service.raw(_sized(whole), piece=8), True),
        ("body in drops for too long", late, service.lasting(_sized(b" " * 9999), 8), True),
        (
            "extension of a chunk in drops",
            late,
            service.lasting(_CHUNKED + b"1;" + b"drop=drop;" * 900, 5),
            True,
        ),
        (
            "trailers in drops",
            late,
            service.lasting(_CHUNKED + b"1\r\n \r\n0\r\n" + b"X-Drop: drop\r\n" * 900, 6),
            True,
        ),
        ("body without end", odd, service.raw(_CHUNKED + flood * 70), False),
        ("drop before an answer", failed, service.replying(Reply(drop=True)), True),
        (
            "drop mid-body",
            failed,
            service.replying(Reply(whole[:40], headers={"Content-Length": "1000"})),
            True,
        ),
        # It is compressed.
        ("compressed", None, service.raw(_zipped(gzip.compress(whole))), False),
        ("compressed too well", odd, service.raw(_zipped(_BOMB)), False),
        (
            "compressed twice",
            odd,
            service.raw(_zipped(gzip.compress(_BOMB, 1), b"gzip, gzip")),
            False,
        ),
        # It quotes the key where nobody expects it.
        ("the key as a reason", failed, service.raw(b"HTTP/1.1 200 %b\0\r\n\r\n" % key), True),
        ("the key as a header", failed, service.raw(_HEAD + key + b"\r\n\r\n"), True),
        (
            "the key as an id",
            odd,
            service.replying(Reply({}, headers={"X-Request-Id": f"id of {KEY}"})),
            False,
        ),
        # It leaves something behind for the next request.
        ("an answer too many", None, service.raw(_sized(whole) * 2, twice=True), False),
        ("a new cookie each time", None, service.replying(service.no_cookie, twice=True), False),
        ("used in a closed event loop", None, service.used_in_a_closed_loop, False),
    ):
        yield Fault(f"{name}, {wire.name}", error, make, cut)


def _many_units(_: Request) -> Reply:
    units = {KEY: 1, f"{PRIVATE} report": 2, **dict.fromkeys(map(str, range(5000)), 1)}
    body = json.loads(_Service(COHERE).whole)
    return Reply({**body, "meta": {"billed_units": {"search_units": 1, **units}}})


def _own_of_cohere() -> Iterator[Fault]:
    """Return the faults of what only Cohere's reader reads."""
    service = _Service(COHERE)
    long_id = {"id": f"\x1b[31m\n{KEY}" + "x" * 10**6, "results": []}
    long_id_404 = Reply(long_id, status=404)
    yield Fault("a very long id", MalformedResponseError, service.replying(Reply(long_id)))
    yield Fault("a very long id of a refusal", ServiceError, service.replying(long_id_404))
    yield Fault("thousands of billed units", None, service.replying(_many_units))


def _own_of_tei() -> Iterator[Fault]:
    """Return the faults of what only TEI's reader reads."""
    service = _Service(TEI)
    tokens = Reply(service.whole, headers={"X-Compute-Tokens": "9" * 400})
    yield Fault("a number of 400 digits", None, service.replying(tokens))


FAULTS = (
    *_over(COHERE),
    *_over(TEI),
    *_read_over(VOYAGE),
    *_read_over(SGLANG),
    *_read_over(NIM),
    *_own_of_cohere(),
    *_own_of_tei(),
    Fault("no such model", ConfigurationError, lambda *_: OnnxCrossEncoder("/no/such/model")),
    Fault(
        "a pipe for a model's file",
        ConfigurationError,
        _model(config__json=None, model__onnx="no graph", tokenizer__json="{}"),
    ),
    Fault(
        "no graph, and nothing to read",
        ConfigurationError,
        _model(config__json="[" * 5000, model__onnx="no graph", tokenizer__json="{}"),
    ),
    Fault("out of memory in a batch", ScorerError, lambda *_: _OutOfMemory()),
    Fault(
        "NaN from a local model",
        NonFiniteScoreError,
        lambda *_: ScriptedScorer([math.nan] * len(TEXTS)),
    ),
    Fault("disk full", None, _full_disk),
    Fault("garbage for a cache", None, _garbage_for_a_cache),
    Fault("half a cache", None, _half_a_cache),
    Fault("odd values in a cache", None, _odd_values_in_a_cache),
    Fault("a cache that another process holds", None, _locked_cache),
    Fault("a cache that is never done", None, _hung_cache),
)
