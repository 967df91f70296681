"""Servers in processes of their own, each with the same weights, and the engine in this one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from rerank_core import Scorer

__all__ = ["Ask", "Process", "asking_engine", "asking_server", "handler", "infinity", "ours"]

Ask: TypeAlias = Callable[[str, Sequence[str]], Awaitable[int]]
"""Asks once for the scores of a query and texts, and returns the status."""

_ROOT = Path(__file__).parents[1]
_START = 180  # seconds that a server may take to answer
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A server.

    Attributes:
        url: Where scores are asked for.
        pid: Its process.
    """

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Return the memory that it holds, in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def _running(command: Sequence[str], port: int, path: str, log: Path) -> Iterator[Process]:
    settings: Mapping[str, str] = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "NO_PROXY": "*"}
    surroundings = {**os.environ, **settings}
    surroundings.pop("OMP_NUM_THREADS", None)  # torch would have one thread only
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, env=surroundings, cwd=_ROOT, stdout=said, stderr=subprocess.STDOUT
        )
        with process:
            try:
                url = f"http://127.0.0.1:{port}{path}"
                body = {"query": "warm", "documents": ["up"], "model": "m"}
                end = time.monotonic() + _START
                while True:
                    try:
                        httpx.post(url, json=body, timeout=_START).raise_for_status()
                        break
                    except httpx.ConnectError:
                        if process.poll() is not None or time.monotonic() > end:
                            told = log.read_text()[-2000:]
                            raise RuntimeError(f"{command} does not answer: {told}") from None
                        time.sleep(0.2)
                yield Process(url, process.pid)
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def ours(model: str, log: Path, *options: str) -> Iterator[Process]:
    """Run ``rerank serve`` with a model, until the block is left."""
    port = _free_port()
    command = [sys.executable, "-m", "rerank_core.cli", "serve", "--model", f"m={model}"]
    with _running([*command, "--port", str(port), *options], port, "/v2/rerank", log) as process:
        yield process


@contextmanager
def infinity(python: Path, model: Path, log: Path) -> Iterator[Process]:
    """Run Infinity with a model for torch, until the block is left."""
    # Its transformers are older than those that wrote the model, and do not know this class.
    older = log.with_suffix(".model")
    shutil.copytree(model, older)
    config = json.loads((older / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (older / "tokenizer_config.json").write_text(json.dumps(config))
    port = _free_port()
    command = [
        *(str(python.with_name("infinity_emb")), "v2", "--model-id", str(older)),
        *("--served-model-name", "m", "--engine", "torch", "--device", "cpu"),
        *("--no-bettertransformer", "--no-model-warmup"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with _running(command, port, "/rerank", log) as process:
        yield process


@contextmanager
def handler(model: Path, log: Path) -> Iterator[Process]:
    """Run a FastAPI handler around sentence-transformers, until the block is left."""
    port = _free_port()
    command = [sys.executable, "-m", "benchmarks._handler", str(model), str(port)]
    with _running(command, port, "/rerank", log) as process:
        yield process


@asynccontextmanager
async def asking_server(process: Process) -> AsyncIterator[Ask]:
    """Yield a function that asks a server."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as client:

        async def ask(query: str, texts: Sequence[str]) -> int:
            body: dict[str, Any] = {"model": "m", "query": query, "documents": texts}
            response = await client.post(process.url, json=body)
            if response.status_code == 200:
                assert len(response.json()["results"]) == len(texts)
            elif response.status_code == 429:
                await asyncio.sleep(int(response.headers["retry-after"]))
            return response.status_code

        yield ask


@asynccontextmanager
async def asking_engine(scorer: Scorer) -> AsyncIterator[Ask]:
    """Yield a function that asks a scorer of this process."""

    async def ask(query: str, texts: Sequence[str]) -> int:
        scoring = await scorer.ascore(query, texts)
        assert len(scoring.scores) == len(texts)
        return 200

    yield ask
