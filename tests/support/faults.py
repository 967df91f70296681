"""Real faults of scorers: sockets, certificates, files, memory.

Each `Fault` opens what it needs on an `ExitStack` and returns a scorer that will meet it.
"""

from __future__ import annotations

import asyncio
import math
import resource
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from rerank_core import (
    AuthenticationError,
    Cached,
    CohereScorer,
    DeadlineExceeded,
    DiskStore,
    MalformedResponseError,
    NonFiniteScoreError,
    Progress,
    RateLimitError,
    RerankError,
    Scorer,
    ScorerError,
    Scoring,
    ServiceError,
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


def _scorer(url: str, timeout: float = 20) -> CohereScorer:
    return CohereScorer("rerank-v3.5", api_key=KEY, base_url=url, timeout=timeout, max_retries=1)


def _replying(reply: Reply | Callable[[Request], Reply]) -> Callable[[ExitStack, Path], Scorer]:
    def make(stack: ExitStack, _: Path) -> Scorer:
        respond = (lambda _: reply) if isinstance(reply, Reply) else reply
        return _scorer(stack.enter_context(ScriptedServer(respond=respond)).url)

    return make


def _raw(
    content: bytes, *, timeout: float = 20, **options: Any
) -> Callable[[ExitStack, Path], Scorer]:
    def make(stack: ExitStack, _: Path) -> Scorer:
        return _scorer(stack.enter_context(RawServer(content, **options)).url, timeout)

    return make


def _lasting(content: bytes) -> Callable[[ExitStack, Path], Scorer]:
    return _raw(content, timeout=0.05)


def _endless(stack: ExitStack, folder: Path) -> Scorer:
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    return _raw(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 70)(stack, folder)


def _results(*results: tuple[int, float]) -> Callable[[ExitStack, Path], Scorer]:
    shown = [{"index": index, "relevance_score": score} for index, score in results]
    return _replying(Reply({"id": "odd", "results": shown}))


def _echo(status: int, **headers: str) -> Callable[[ExitStack, Path], Scorer]:
    """A refusal that quotes the key and the texts, as some services do."""

    def respond(request: Request) -> Reply:
        said = f"{request.headers['authorization']} sent {request.body['documents']}"
        return Reply({"message": said}, status=status, headers=headers)

    return _replying(respond)


def _nobody_listens(stack: ExitStack, _: Path) -> Scorer:
    taken = stack.enter_context(socket.socket())  # bound, not listening: nobody else gets it
    taken.bind(("127.0.0.1", 0))
    return _scorer(f"http://127.0.0.1:{taken.getsockname()[1]}")


def _no_such_name(stack: ExitStack, _: Path) -> Scorer:
    return _scorer("https://rerank.invalid")  # RFC 6761, section 6.4: never resolves


def _https_to_a_plain_port(stack: ExitStack, _: Path) -> Scorer:
    server = stack.enter_context(ScriptedServer())
    return _scorer(server.url.replace("http:", "https:"))


def _used_in_a_closed_loop(stack: ExitStack, _: Path) -> Scorer:
    scorer = _scorer(stack.enter_context(ScriptedServer()).url)
    asyncio.run(scorer.ascore(QUERY, TEXTS))
    return scorer


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


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_WHOLE = b'{"id":"x","results":[' + b",".join(
    b'{"index":%d,"relevance_score":%.1f}' % (index, score)
    for index, score in enumerate((0.3, 0.0, 1.0, 0.7, 0.0))
) + b"]}"  # fmt: skip
_HTML = "<html><body>502 Bad Gateway</body></html>"

FAULTS = (
    Fault("connection refused", ServiceError, _nobody_listens, cut=True),
    Fault("DNS failure", ServiceError, _no_such_name, cut=True),
    Fault("https to a plain port", ServiceError, _https_to_a_plain_port, cut=True),
    Fault("self-signed certificate", ServiceError, _raw(b"", tls=True), cut=True),
    Fault("400", ServiceError, _echo(400)),
    Fault("401", AuthenticationError, _echo(401)),
    Fault("404", ServiceError, _echo(404)),
    Fault("422", ServiceError, _echo(422)),
    Fault("429 storm", RateLimitError, _echo(429, **{"Retry-After": "30"}), cut=True),
    Fault("429, come back tomorrow", RateLimitError, _echo(429, **{"Retry-After": "86400"})),
    Fault("500", ServiceError, _echo(500), cut=True),
    Fault("502 with an HTML page", ServiceError, _replying(Reply(_HTML, status=502)), cut=True),
    Fault("200 with an HTML page", MalformedResponseError, _replying(Reply(_HTML))),
    Fault("no headers", DeadlineExceeded, _lasting(b""), cut=True),
    Fault("slow headers", DeadlineExceeded, _lasting(_HEAD), cut=True),
    Fault(
        "slow body",
        DeadlineExceeded,
        _lasting(_HEAD + b"Content-Length: 1000\r\n\r\n" + _WHOLE[:40]),
        cut=True,
    ),
    Fault(
        "body in drops",
        None,
        _raw(_HEAD + b"Content-Length: %d\r\n\r\n" % len(_WHOLE) + _WHOLE, piece=8),
        cut=True,
    ),
    Fault(
        "body in drops for too long",
        DeadlineExceeded,
        _raw(_HEAD + b"Content-Length: 9999\r\n\r\n" + b" " * 9999, piece=8, timeout=0.05),
        cut=True,
    ),
    Fault("body without end", MalformedResponseError, _endless),
    Fault("drop before an answer", ServiceError, _replying(Reply(drop=True)), cut=True),
    Fault(
        "drop mid-body",
        ServiceError,
        _replying(Reply(_WHOLE[:40], headers={"Content-Length": "1000"})),
        cut=True,
    ),
    Fault("malformed JSON", MalformedResponseError, _replying(Reply(_WHOLE[:-2]))),
    Fault("empty body", MalformedResponseError, _replying(Reply(b""))),
    Fault("null", MalformedResponseError, _replying(Reply(b"null"))),
    Fault("wrong index", MalformedResponseError, _results((0, 0.5), (99, 0.5))),
    Fault("duplicate index", MalformedResponseError, _results((0, 0.5), (0, 0.5))),
    Fault("NaN score", NonFiniteScoreError, _results((0, math.nan))),
    Fault("short list", MalformedResponseError, _results((0, 0.5))),
    Fault(
        "oversized reply",
        MalformedResponseError,
        _results(*[(index, 0.5) for index in range(5_000)]),
    ),
    Fault("used in a closed event loop", None, _used_in_a_closed_loop),
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
)
