"""Files read line by line within bounds, and written whole or not at all."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

__all__ = ["LONGEST_LINE", "bounded_bytes", "bounded_lines", "replacing"]

LONGEST_LINE = 1 << 27
"""The most bytes of a line, 128 MiB: a device without an end must not fill the memory."""


class SupportsReadline(Protocol):
    """A binary stream, as far as its lines are read."""

    def readline(self, size: int, /) -> bytes:
        """Read a line, or the beginning of one."""


def bounded_lines(
    stream: SupportsReadline, name: str, longest: int = LONGEST_LINE
) -> Iterator[bytes]:
    """Read the lines of a stream, with their ends.

    Args:
        stream: The stream.
        name: Its name, for the error.
        longest: The most bytes of a line.

    Raises:
        OSError: If a line is longer, or reading fails.
    """
    number = 0
    while line := stream.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise OSError(errno.EFBIG, f"line {number} is longer than {longest:,} bytes", name)
        yield line


def bounded_bytes(path: Path, most: int = 1 << 20) -> bytes:
    """Read a file of settings.

    Args:
        path: The file.
        most: The most bytes that it may have. Default: 1 MiB.

    Raises:
        ValueError: If it has more.
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return content


@contextmanager
def replacing(
    path: Path,
    guard: Callable[[Callable[[], object]], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Iterator[BinaryIO]:
    """Open a file that appears complete or not at all.

    It is written under another name in its own folder, and takes the place of the old one, and
    its permissions, when the block succeeds. A device or a pipe is written to as it is.

    Args:
        path: The file. If it is a link, its target is replaced.
        guard: Makes a context that calls the function it is given, which removes the file under
            the other name, where the process ends within the block. Default: none.

    Raises:
        OSError: If the file cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    target = path.resolve()
    draft = target.with_name(f".rerank-{secrets.token_hex(8)}.tmp")
    remove = partial(draft.unlink, missing_ok=True)
    with guard(remove):
        try:
            with draft.open("xb") as stream:
                if target.exists():
                    shutil.copymode(target, draft)
                yield stream
            draft.replace(target)
        finally:
            remove()
