"""The command line: ``rerank rank``, ``eval``, ``info``, ``export`` and ``demo``."""

from __future__ import annotations

import sys

from rerank_core._errors import MissingExtraError

__all__ = ["main"]


def main() -> int:
    """Run the command line on ``sys.argv``.

    Returns:
        2 where typer or rich is not installed, 130 after Ctrl-C. Every other outcome leaves as
        ``SystemExit`` with the code that ``rerank rank --help`` lists.
    """
    try:
        try:
            import rich
            import typer
        except ModuleNotFoundError:
            sys.stderr.write(f"rerank: {MissingExtraError('cli', 'The command line')}\n")
            return 2
        del rich, typer
        from rerank_core.cli._app import app

        app(prog_name="rerank")
    except KeyboardInterrupt:  # so early that no command could handle it
        return 130
    return 0
