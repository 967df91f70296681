"""Starting the flaky service, and stopping it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["flaky_service"]


@contextmanager
def flaky_service(*options: str) -> Iterator[str]:
    """Run the service in a process of its own.

    Args:
        *options: For its command line.

    Yields:
        Its address.
    """
    command = [sys.executable, "-m", "benchmarks._flaky_service", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()
        process.kill()  # requests may still be held
