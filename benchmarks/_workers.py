"""Processes that answer one request at a time: a line of JSON for a line of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

__all__ = ["Answer", "JsonProcess", "Worker", "WorkerError", "first_scores"]

_SCRIPT = Path(__file__).with_name("worker.py")


class WorkerError(RuntimeError):
    """A process that ended instead of answering; with the last lines it wrote."""


class Answer(NamedTuple):
    """Answer of a system to one request.

    Attributes:
        seconds: Time of the scoring itself.
        scores: In the order of the texts.
        peak_bytes: Most memory its process has had so far.
        threads: How many it uses, in words.
    """

    seconds: float
    scores: list[float]
    peak_bytes: int
    threads: str


class JsonProcess:
    """A child process that answers each line of JSON with another one.

    Args:
        command: What to run.
        environment: Variables to set, beside those of this process.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._environment = {**os.environ, "HF_HUB_OFFLINE": "1", **(environment or {})}
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed in __exit__
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        self._log.seek(0)
        self._log.truncate()
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=self._environment,
        )

    def request(self, message: object) -> Any:
        """Send a message, and wait for the answer.

        Raises:
            WorkerError: If the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # there is no answer then either
            print(json.dumps(message), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            last = self._log.read().strip().splitlines()[-3:]
            raise WorkerError(" / ".join(last) or f"ended with {self._process.returncode}")
        return json.loads(line)

    def restart(self) -> None:
        """End the process, which frees its memory, and start another one."""
        self._stop()
        self._process = self._start()

    def _stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()
        self._log.close()


class Worker(JsonProcess):
    """A process with one loaded system.

    Args:
        python: The interpreter of its environment.
        kind: Its kind in ``worker.py``.
        model: Folder or name of its model.
    """

    def __init__(self, python: Path, kind: str, model: str) -> None:
        super().__init__([str(python), str(_SCRIPT), kind, model])

    def ask(self, query: str, texts: Sequence[str]) -> Answer:
        """Have texts scored, and wait.

        Raises:
            WorkerError: If the process ended, or gave too few or too many scores.
        """
        answer = Answer(**self.request({"query": query, "texts": list(texts)}))
        if len(answer.scores) != len(texts):
            raise WorkerError(f"{len(answer.scores)} scores for {len(texts)} texts")
        return answer


def first_scores(
    python: Path, kind: str, model: str, query: str, texts: Sequence[str]
) -> tuple[float, int]:
    """Start a process, have texts scored, and end it.

    Returns:
        Seconds from start to scores, and most bytes of memory until then.

    Raises:
        WorkerError: If the system could not be loaded, or failed.
    """
    started = time.perf_counter()
    with Worker(python, kind, model) as worker:
        answer = worker.ask(query, texts)
        return time.perf_counter() - started, answer.peak_bytes
