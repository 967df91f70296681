"""The command line: ``rerank rank``, ``eval``, ``serve`` and others."""

from __future__ import annotations

import sys

from rerank_core.cli._interrupts import interrupts

__all__ = ["main"]


def main() -> int:
    """Run the command line on ``sys.argv``.

    Called by a program's main module, as ``rerank`` and ``python -m rerank_core.cli`` do, it ends
    the process, so that signals have their exit codes until the end.

    Returns:
        The exit code: those that ``rerank rank --help`` lists, and 2 where typer or rich is not
        installed.
    """
    if sys._getframe(1).f_globals.get("__name__") == "__main__":
        interrupts.install(ends_process=True)
        from rerank_core.cli._streams import prepare_streams

        prepare_streams()
        interrupts.end_process(_run())
    return _run()


def _run() -> int:
    try:
        import rich
        import typer
    except ModuleNotFoundError:
        from rerank_core._errors import MissingExtraError

        sys.stderr.write(f"rerank: {MissingExtraError('cli', 'The command line')}\n")
        return 2
    del rich, typer
    from rerank_core.cli._app import app
    from rerank_core.cli._guard import guarded

    try:
        with guarded():  # what is written before and after a command
            app(prog_name="rerank")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
