"""An HTTP server on this machine that answers as it is told: real HTTP, real sockets.

Replies given to the constructor are sent first, one per request; each may also be a function of
the request.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast

__all__ = ["LoopbackServer", "Reply", "Request", "Responder", "overlap"]


@dataclass(frozen=True)
class Request:
    """What came in; header names are in lower case, `port` is the client's end."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    port: int
    method: str = "POST"


@dataclass(frozen=True)
class Reply:
    """What goes out.

    Attributes:
        body: Bytes go out as they are, a str as text, anything else as JSON.
        status: HTTP status.
        headers: Further headers; a Content-Length of your own is kept, however wrong.
        drop: Close the connection instead of answering.
        wait_for: Answer only once this event is set, or not at all if the server closes first.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    wait_for: threading.Event | None = None


Responder = Callable[[Request], Reply]


def overlap(query: str, text: str) -> float:
    """Score a text by the share of query words it holds."""
    words = set(query.lower().split())
    return len(words & set(text.lower().split())) / len(words)


class LoopbackServer:
    """Serves from entering the ``with`` block to leaving it.

    Args:
        replies: Sent for the first requests, in turn.
        respond: Answers all requests after those.

    Attributes:
        requests: Every request so far.
    """

    def __init__(self, *replies: Reply | Responder, respond: Responder) -> None:
        self.requests: list[Request] = []
        self._replies = deque(replies)
        self._respond = respond
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """Address to give as ``base_url``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The TCP port."""
        return self._server.server_port

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._open)

    def script(self, *replies: Reply | Responder) -> None:
        """Send these for the next requests."""
        with self._lock:
            self._replies.extend(replies)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            # Wakes handlers that wait for the next request of a connection kept alive.
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # joins the handlers

    def reply_to(self, request: Request) -> Reply:
        """Record a request and choose its reply."""
        with self._lock:
            self.requests.append(request)
            reply = self._replies.popleft() if self._replies else self._respond
        chosen = reply if isinstance(reply, Reply) else reply(request)
        while chosen.wait_for is not None and not chosen.wait_for.wait(0.01):
            if self._closing.is_set():
                return Reply(drop=True)
        return chosen

    def connected(self, connection: socket.socket) -> None:
        """Remember an open connection."""
        with self._lock:
            self._open.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        """Forget a connection that is about to close."""
        with self._lock:
            self._open.discard(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64
    owner: LoopbackServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write per reply: two cost 40 ms, TCP waits for an acknowledgement between
    disable_nagle_algorithm = True

    @property
    def _owner(self) -> LoopbackServer:
        return cast(_Server, self.server).owner

    def setup(self) -> None:
        super().setup()
        self._owner.connected(self.connection)

    def finish(self) -> None:
        self._owner.disconnected(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client has hung up

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers, body, self.client_address[1], self.command)
        reply = self._owner.reply_to(request)
        if reply.drop:
            self.close_connection = True
            return
        content, kind = _encode(reply.body)
        sent = {"Content-Type": kind, "Content-Length": str(len(content)), **reply.headers}
        self.send_response(reply.status)
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        if int(sent["Content-Length"]) != len(content):
            self.close_connection = True

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet; `LoopbackServer.requests` holds what came in."""


def _encode(body: Any) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/json"
    if isinstance(body, str):
        return body.encode(), "text/html; charset=utf-8"
    return json.dumps(body).encode(), "application/json"
