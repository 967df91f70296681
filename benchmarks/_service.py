"""A stand-in for a rerank service, in a process of its own: ``POST /v2/rerank``.

Its faults are drawn from a seed, unless it is told to be steady.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["stand_in_service"]

_FAULTS: Mapping[str, float] = {
    "answer": 0.60,
    "late": 0.10,  # after 0.05 to 2 s
    "never": 0.02,  # until the client hangs up
    "429": 0.06,
    "500": 0.06,
    "drop": 0.05,  # before an answer
    "drop mid-body": 0.05,
    "malformed": 0.03,
    "wrong index": 0.03,
}


@contextmanager
def stand_in_service(*options: str) -> Iterator[str]:
    """Run the service in a process of its own.

    Args:
        *options: For its command line.

    Yields:
        Its address.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks._service", *options],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the process that started it
    ) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()  # requests may still be held


class _Service:
    def __init__(self, seed: int, hold: bool, steady: bool) -> None:
        self._chance = random.Random(seed)
        self._hold = hold
        self._steady = steady
        self._served = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has hung up
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        request = await reader.readexactly(length)
        self._served += 1
        fault = self._draw()
        if fault == "never":
            await reader.read()  # returns once the client has hung up
            return False
        if fault == "late":
            await asyncio.sleep(self._chance.uniform(0.05, 2))
        if fault == "drop":
            return False
        status = int(fault) if fault.isdigit() else 200
        body = _body(fault, request)
        if fault == "malformed":
            body = body[:-2]
        more = "Retry-After: 1\r\n" if status == 429 else ""
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        whole = fault != "drop mid-body"
        writer.write(body if whole else body[: len(body) // 2])
        await writer.drain()
        return whole

    def _draw(self) -> str:
        if self._steady:
            return "answer"
        if self._hold:
            return "answer" if self._served == 1 else "never"  # the first one warms up
        return self._chance.choices([*_FAULTS], [*_FAULTS.values()])[0]


@lru_cache(maxsize=16)  # a timed call should not wait for the same answer to be made again
def _body(fault: str, request: bytes) -> bytes:
    return json.dumps(_answer(fault, json.loads(request))).encode()


def _answer(fault: str, request: Mapping[str, Any]) -> Any:
    if fault.isdigit():
        return {"message": "a bad day"}
    words = set(request["query"].split())
    results = [
        {"index": index, "relevance_score": len(words & set(text.split())) / len(words)}
        for index, text in enumerate(request["documents"])
    ]
    if fault == "wrong index":
        results[0]["index"] = len(results)
    return {"id": "x", "results": results, "meta": {"billed_units": {"search_units": 1}}}


async def _run(service: _Service) -> None:
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Print the port, and serve until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hold", action="store_true", help="answer once, then never")
    parser.add_argument("--steady", action="store_true", help="answer always")
    options = parser.parse_args()
    asyncio.run(_run(_Service(options.seed, options.hold, options.steady)))


if __name__ == "__main__":
    main()
