"""Standard streams that are closed, full, or of a narrow encoding."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

__all__ = ["prepare_streams", "stdout_is_closed"]


class _Lossy(io.FileIO):
    """Standard error that drops what it cannot write: no message is worth the output."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or len(data)  # None where it would wait
        except OSError:
            return len(data)


class _Closed(io.RawIOBase):
    """Standard output that is closed: an error for whoever writes to it."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, data: Any, /) -> int:
        del data
        raise OSError(errno.EBADF, "standard output is closed")


def prepare_streams() -> None:
    """Make the standard streams of this process safe to write to, whatever they are.

    What standard error cannot take is dropped. Writing to a closed standard output is an
    `OSError`, not silence, and a character that it has no code for becomes a question mark. The
    descriptors of closed streams are taken, so that no file gets one of them and with it the
    messages of a library.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest that is free
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()), encoding="utf-8")
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if sys.stderr is not None:
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Lossy(2, "w", closefd=False)),
            encoding=sys.stderr.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )


def stdout_is_closed() -> bool:
    """Return whether there is no standard output to write to."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return sys.stdout is None or isinstance(raw, _Closed)
