"""The server of `rerank_core.serving` on loopback, in a thread of this process."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, NamedTuple

import pytest
import uvicorn

from rerank_core.serving import create_app

__all__ = ["Records", "Served", "records", "served"]


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = threading.Event()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.stopping.set()
        await super().shutdown(sockets)


class Served(NamedTuple):
    """A server that runs.

    Attributes:
        url: Its address.
        server: The server itself.
    """

    url: str
    server: _Server

    def stop(self) -> None:
        """Tell it to stop, and wait until it has begun to."""
        self.server.should_exit = True
        assert self.server.stopping.wait(30)


@contextmanager
def served(*args: Any, **options: Any) -> Iterator[Served]:
    """Serve an application with the arguments of `create_app`, until the block is left."""
    server = _Server(
        uvicorn.Config(create_app(*args, **options), access_log=False, log_config=None)
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # It listens already: a client that is early waits for the server.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
        finally:
            server.should_exit = True
            thread.join()


class Records(logging.Handler):
    """What the server has logged, which it does after it has answered."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: SimpleQueue[logging.LogRecord] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self._queue.put(record)

    def of_request(self) -> logging.LogRecord:
        """Wait for the record of the next request for scores."""
        while True:
            record = self._queue.get(timeout=30)
            if record.levelno == logging.INFO:
                return record


@pytest.fixture
def records() -> Iterator[Records]:
    log, handler = logging.getLogger("rerank_core.serving"), Records()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(level)
