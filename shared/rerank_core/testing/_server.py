"""An HTTP server on this machine that answers like a rerank service, or as it is told."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeAlias

from rerank_core._scorer import Scorer
from rerank_core._types import Scale
from rerank_core.testing._scorers import WORD, overlap, words

__all__ = ["Reply", "Request", "ScriptedServer"]


@dataclass(frozen=True)
class Request:
    """A request that came in.

    Attributes:
        path: The path, such as ``"/v2/rerank"``.
        headers: By their names in lower case.
        body: The parsed JSON; an empty dict where there was no body.
        port: The client's TCP port: requests over one connection have the same.
        method: ``"POST"`` or ``"GET"``.

    Example:
        ```python
        from rerank_core.testing import Reply, Request, ScriptedServer


        def at_most_100(request: Request) -> Reply:
            if len(request.body["documents"]) > 100:
                return Reply({"message": "too many documents"}, status=413)
            return ScriptedServer.answer(request)


        request = Request("/v2/rerank", {}, {"query": "q", "documents": ["text"] * 101}, port=1)
        assert at_most_100(request).status == 413  # as ScriptedServer(respond=at_most_100) does
        ```
    """

    path: str
    headers: Mapping[str, str]
    body: Any
    port: int
    method: str = "POST"


@dataclass(frozen=True)
class Reply:
    """A reply to send.

    Attributes:
        body: Bytes go out as they are, a str as text, anything else as JSON. Default: nothing.
        status: The HTTP status. Default: 200.
        headers: Further headers. A ``Content-Length`` of your own is kept, even a wrong one.
        drop: Close the connection instead of answering.
        wait_for: Answer only once this event is set; a server that is left first closes the
            connection instead.

    Example:
        ```python
        from rerank_core.testing import Reply

        busy = Reply({"message": "slow down"}, status=429, headers={"Retry-After": "2"})
        broken = Reply("<html>502 Bad Gateway</html>", status=502)
        gone = Reply(drop=True)
        ```
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    wait_for: threading.Event | None = None


Responder: TypeAlias = Callable[[Request], Reply]


class ScriptedServer:
    """An HTTP server on loopback, within its ``with`` block, for scorers that ask a service.

    Without a script it answers as Cohere and as Text Embeddings Inference do, whichever the
    request is for, and any key will do. The scores are those of `OverlapScorer`.

    A reply may be a function of the request; if that raises, the reply has status 400 and names
    the error.

    Args:
        *replies: For the first requests, one each.
        respond: Answers all requests after those. Default: `answer`.

    Attributes:
        requests: The requests so far.

    Example:
        ```python
        from rerank_core import CohereScorer
        from rerank_core.testing import Reply, ScriptedServer, no_waiting

        with ScriptedServer(Reply(status=503)) as server, no_waiting():
            scorer = CohereScorer("rerank-v5.0-fast", base_url=server.url, api_key="test")
            scoring = scorer.score("cold river", ["a sunny day", "the river"])
        assert scoring.scores == (0.0, 0.5)
        assert scoring.usage.requests == 2  # the first one failed
        assert server.requests[0].body["documents"] == ["a sunny day", "the river"]
        ```
    """

    def __init__(self, *replies: Reply | Responder, respond: Responder | None = None) -> None:
        self.requests: list[Request] = []
        self._replies = deque(replies)
        self._respond = respond or self.answer
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(self._reply_to)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """The address, to give to a scorer as `base_url`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def connections(self) -> int:
        """Number of connections that are open now."""
        return len(self._server.connections)

    def script(self, *replies: Reply | Responder) -> None:
        """Add replies to the script, for the next requests."""
        with self._lock:
            self._replies.extend(replies)

    @staticmethod
    def answer(request: Request, scorer: Scorer | None = None) -> Reply:
        """Answer like Cohere where the request holds documents, like TEI where it holds texts.

        The path of a request for scores does not matter. ``GET /info`` is answered like TEI;
        anything else has status 404.

        Args:
            request: The request.
            scorer: Whose scores to answer with; logits are mapped to 0 to 1. Default: the scores
                of `OverlapScorer`.
        """
        if request.method == "GET" and request.path.endswith("/info"):
            return Reply({"model_id": "overlap", "max_client_batch_size": 32})
        if isinstance(request.body, dict) and "documents" in request.body:
            return _answer_like_cohere(request.body, scorer)
        if isinstance(request.body, dict) and "texts" in request.body:
            return _answer_like_tei(request.body, scorer)
        return Reply({"message": f"no answer for {request.method} {request.path}"}, status=404)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        # Wakes handlers that wait for the next request of a connection kept alive.
        for connection in list(self._server.connections):
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # joins the handlers

    def _reply_to(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            reply = self._replies.popleft() if self._replies else self._respond
        if not isinstance(reply, Reply):
            try:
                reply = reply(request)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client should see it
                return Reply({"message": f"the script raised {error!r}"}, status=400)
        while reply.wait_for is not None and not reply.wait_for.wait(0.01):
            if self._closing.is_set():
                return Reply(drop=True)
        return reply


def _answer_like_cohere(body: Mapping[str, Any], scorer: Scorer | None) -> Reply:
    """Return results best first, by index, as the API of version 2 does."""
    query, texts = body["query"], body["documents"]
    results: list[dict[str, Any]] = [
        {"index": index, "relevance_score": score}
        for index, score in enumerate(_scores(query, texts, scorer))
    ]
    passages = body.get("relevant_spans") or {}
    if passages.get("mode") == "enabled":
        for result, text in zip(results, texts, strict=True):
            result["relevant_spans"] = [
                {"start": found.start(), "end": found.end(), "score": 1.0}
                for found in WORD.finditer(text)
                if found.group().lower() in words(query)
            ][: passages.get("max_spans")]
    results.sort(key=lambda result: -result["relevance_score"])
    best = results[: body.get("top_n")]
    units = {"search_units": math.ceil(len(texts) / 100)}  # one covers up to 100 documents
    if str(body.get("model")).startswith("rerank-v5"):  # billed by tokens
        units = {"input_tokens": _count_words(query, texts)}
    return Reply({"id": "scripted", "results": best, "meta": {"billed_units": units}})


def _answer_like_tei(body: Mapping[str, Any], scorer: Scorer | None) -> Reply:
    """Return ranks best first, by index; a raw score is ten times the score less five."""
    query, texts = body["query"], body["texts"]
    scores = _scores(query, texts, scorer)
    if body.get("raw_scores"):
        scores = [score * 10 - 5 for score in scores]
    ranks: list[dict[str, Any]] = [
        {"index": index, "score": score} for index, score in enumerate(scores)
    ]
    ranks.sort(key=lambda rank: -rank["score"])
    return Reply(ranks, headers={"x-compute-tokens": str(_count_words(query, texts))})


def _scores(query: str, texts: Sequence[str], scorer: Scorer | None) -> list[float]:
    """Score the texts from 0 to 1; a text without a score gets 0."""
    if scorer is None:
        return [overlap(query, text) for text in texts]
    scoring = scorer.score(query, texts)
    if scorer.scale is not Scale.LOGIT:
        return [score or 0.0 for score in scoring.scores]
    # A quarter of the logit, as those of a confident model would all be 1.000 otherwise.
    return [0.0 if s is None else (1 + math.tanh(s / 8)) / 2 for s in scoring.scores]


def _count_words(query: str, texts: Sequence[str]) -> int:
    """Count the tokens of all pairs, as far as words are tokens."""
    return sum(len(text.split()) + len(query.split()) for text in texts)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, reply_to: Responder) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply_to = reply_to
        self.connections: set[socket.socket] = set()  # adding and discarding are atomic


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for a reply: after the first of two, TCP waits some 40 ms for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client has hung up

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            body = json.loads(content or b"{}")
        except ValueError:
            self._send(Reply({"message": "the body of the request is not JSON"}, status=400))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers, body, self.client_address[1], self.command)
        self._send(self.server.reply_to(request))

    def do_GET(self) -> None:
        self.do_POST()

    def _send(self, reply: Reply) -> None:
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

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Write no log; `ScriptedServer.requests` holds what came in."""


def _encode(body: Any) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/json"
    if isinstance(body, str):
        return body.encode(), "text/html; charset=utf-8"
    return json.dumps(body).encode(), "application/json"
