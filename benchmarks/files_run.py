"""The files of rerank-core whose functions run in one warm call of `rerank`.

A script without imports from this package, as it runs on the code of earlier revisions too. It
takes a scorer's name, and prints two lists as JSON: files that run in a call that makes the scorer
by its name, and in one that has it already. Each call comes after another one like it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

_QUERY = "Which river is the longest?"
_TEXTS = [f"River {number} is {7 * number} km long." for number in range(50)]

_files: set[str] = set()


def _record(frame: FrameType, event: str, _: Any) -> None:
    if event == "call" and frame.f_code.co_name != "<module>":
        _files.add(frame.f_code.co_filename)


def main() -> None:
    """Make the calls, and print the lists."""
    threading.setprofile(_record)  # before a scorer starts threads that it keeps
    sys.setprofile(_record)

    import rerank_core
    from rerank_core import load_scorer, rerank

    folder = Path(rerank_core.__file__).parent

    def ran() -> list[str]:
        ours = (Path(file) for file in [*_files] if file.startswith(f"{folder}{os.sep}"))
        return sorted(path.relative_to(folder).as_posix() for path in ours)

    for _ in range(2):
        _files.clear()
        scorer = load_scorer(sys.argv[1])
        rerank(_QUERY, _TEXTS, scorer)
    named = ran()
    _files.clear()
    rerank(_QUERY, _TEXTS, scorer)
    print(json.dumps({"named": named, "kept": ran()}))


if __name__ == "__main__":
    main()
