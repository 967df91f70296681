"""Servers of others, as processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

__all__ = ["free_port", "running"]


def free_port() -> int:
    """A TCP port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], settings: Mapping[str, str], *, ready: str, seconds: float = 180
) -> Iterator[None]:
    """Run a server until the block is left; enter it once the server says that it is ready.

    Args:
        command: What to run.
        settings: Environment variables beside those of this process.
        ready: What it writes when it is ready.
        seconds: How long to wait for that.
    """
    process = subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    with process, process.stdout:
        impatient = threading.Timer(seconds, process.kill)  # ends the reading below
        impatient.start()
        reader = None
        try:
            said = deque[str](maxlen=50)
            for line in process.stdout:
                said.append(line)
                if ready in line:
                    break
            else:
                raise RuntimeError(f"{command[0]} did not get ready:\n{''.join(said)}")
            impatient.cancel()
            reader = threading.Thread(target=deque, args=(process.stdout, 0))
            reader.start()  # else it would block on a full pipe
            yield
        finally:
            impatient.cancel()
            process.terminate()
            process.wait()
            if reader is not None:
                reader.join()
