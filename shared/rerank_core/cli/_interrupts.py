"""Ctrl-C ends the process with exit code 130 and one line on standard error, at any moment.

The handler ends the process itself instead of raising `KeyboardInterrupt`. An exception gets lost:
compiled modules turn it into errors of their own, destructors and callbacks only print it, and
interpreters that are shutting down no longer pass it on.

Imported before everything else, this module imports next to nothing: Ctrl-C is not ours until then.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` would import enum first
import atexit
import os
import sys

TYPE_CHECKING = False  # and typing, regular expressions
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

__all__ = ["INTERRUPTED", "interrupts"]

INTERRUPTED = 130
"""The exit code: 128 and the number of the signal, as a shell reports it."""


class Interrupts:
    """What SIGINT does in this process.

    Attributes:
        pressed: Whether Ctrl-C was pressed.
        held: While true, the first Ctrl-C is only noted, in `pressed`.
        raising: While true, the first Ctrl-C raises `KeyboardInterrupt`, for code that cleans up
            as it unwinds.
        cleanups: Called before the process ends, the last one first. They run in the middle of
            anything, so they must not wait for a lock.
    """

    def __init__(self) -> None:
        self.pressed = False
        self.held = False
        self.raising = False
        self.cleanups: list[Callable[[], object]] = []
        self._ends_process = False

    def install(self, *, ends_process: bool) -> bool:
        """Take SIGINT over, unless it is ignored (nohup) or in other hands.

        Args:
            ends_process: Whether Ctrl-C ends the process. If not, it raises `KeyboardInterrupt`.

        Returns:
            Whether it was taken over.
        """
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

    def _press(self, _number: int, _frame: FrameType | None) -> None:
        first, self.pressed = not self.pressed, True
        if not (first and self.held):
            self.act(raising=first and self.raising)

    def act(self, *, raising: bool = False) -> NoReturn:
        """End the process, or raise `KeyboardInterrupt` where it must not end.

        Args:
            raising: Raise in any case.
        """
        if self._ends_process and not raising:
            _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
            for cleanup in reversed(self.cleanups):
                try:
                    cleanup()
                except Exception:  # noqa: BLE001, S112 - the next one must have its turn
                    continue
            self.write("rerank: interrupted\n")
            os._exit(INTERRUPTED)
        raise KeyboardInterrupt

    def write(self, text: str) -> None:
        """Write to standard error past its buffer, in which the process may just be writing."""
        try:
            if sys.stderr is not None:
                os.write(sys.stderr.fileno(), text.encode())
        except (OSError, ValueError):
            pass

    def end_process(self, code: int) -> NoReturn:
        """End the process as it would end by itself, but for the steps that lose an interrupt."""
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                code = code or 1
        os._exit(code)


interrupts = Interrupts()
