"""Ctrl-C, SIGTERM and SIGHUP end the process with one line on standard error, at any moment.

The exit code is 128 and the number of the signal, as a shell reports it.

The handler ends the process itself instead of raising `KeyboardInterrupt`, which can get lost:
compiled modules turn it into other errors, destructors and callbacks only print it, and an
interpreter that shuts down ignores it.

Until this module is imported, Ctrl-C prints a traceback: it comes first, and imports little.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum first
import atexit
import os
import sys

TYPE_CHECKING = False  # importing typing would take too long, too
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

__all__ = ["INTERRUPTED", "interrupts"]

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

_ENDINGS = {
    number: name
    for name in ("SIGTERM", "SIGHUP")
    if (number := getattr(_signal, name, None)) is not None  # Windows has no SIGHUP
}


class Interrupts:
    """Handling of SIGINT, and of SIGTERM and SIGHUP, in this process.

    Attributes:
        pressed: Whether Ctrl-C was pressed, or another of the signals came.
        held: While true, the first Ctrl-C is only noted, in `pressed`.
        raising: While true, the first signal raises `KeyboardInterrupt`, for code that cleans up
            as it unwinds.
        cleanups: Functions to call before the process ends, the last one first. They must not
            wait for a lock, which the main thread may hold.
    """

    def __init__(self) -> None:
        self.pressed = False
        self.held = False
        self.raising = False
        self.cleanups: list[Callable[[], object]] = []
        self._ends_process = False
        self._signal = _signal.SIGINT

    def install(self, *, ends_process: bool) -> bool:
        """Take signals over, unless they are ignored, as under nohup, or have another handler.

        Args:
            ends_process: Whether Ctrl-C ends the process. If not, it raises `KeyboardInterrupt`,
                and the other signals are left alone.

        Returns:
            Whether SIGINT was taken over.
        """
        if ends_process:
            for number in _ENDINGS:
                if _signal.getsignal(number) == _signal.SIG_DFL:
                    _signal.signal(number, self._press)
        if _signal.getsignal(_signal.SIGINT) is not _signal.default_int_handler:
            return False
        try:
            _signal.signal(_signal.SIGINT, self._press)
        except ValueError:  # not in the main thread
            return False
        self._ends_process = ends_process
        self.pressed = False
        return True

    def uninstall(self) -> None:
        """Give SIGINT back to Python."""
        self.pressed = False
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)

    def _press(self, number: int, _frame: FrameType | None) -> None:
        first, self.pressed = not self.pressed, True
        self._signal = number
        if not (first and self.held and number == _signal.SIGINT):
            self.act(raising=first and self.raising)

    def act(self, *, raising: bool = False) -> NoReturn:
        """End the process, or raise `KeyboardInterrupt` where it must not end.

        Args:
            raising: Raise in any case.
        """
        if self._ends_process and not raising:
            for number in (_signal.SIGINT, *_ENDINGS):
                _signal.signal(number, _signal.SIG_IGN)
            for cleanup in reversed(self.cleanups):
                try:
                    cleanup()
                except Exception:  # noqa: BLE001, S112 - the next one must have its turn
                    continue
            name = _ENDINGS.get(self._signal)
            self.write(f"rerank: ended by {name}\n" if name else "rerank: interrupted\n")
            os._exit(128 + self._signal)
        raise KeyboardInterrupt

    def write(self, text: str) -> None:
        """Write to standard error, but not through its buffer, which may be in use."""
        try:
            if sys.stderr is not None:
                os.write(sys.stderr.fileno(), text.encode())
        except (OSError, ValueError):
            pass

    def end_process(self, code: int) -> NoReturn:
        """End the process as it would end by itself, without the steps that lose an interrupt."""
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                code = code or 1
        os._exit(code)


interrupts = Interrupts()
