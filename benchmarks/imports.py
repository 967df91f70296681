"""What importing the adapters costs beside their frameworks: ``python -m benchmarks.imports``.

Each is imported in fresh processes, in turns with a process that imports only what the adapter
loads of its framework, in the same order. The difference of the least times is the adapter's own
cost. Times are of the processor: once the files are in the disk's cache, an import waits for
nothing else, and so a busy machine blurs them least.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import NamedTuple

_ADAPTERS = {"langchain_rerank": "langchain_core", "llamaindex_rerank": "llama_index"}

_TIME = """
import sys, time
started = time.process_time()
for name in sys.argv[1:]:
    __import__(name)
print(1000 * (time.process_time() - started))
"""
_LIST = """
import sys
__import__(sys.argv[1])
print(*[name for name in sys.modules if name.partition(".")[0] == sys.argv[2]])
"""


class Cost(NamedTuple):
    """Milliseconds of processor time to import, one entry for each round."""

    framework: list[float]
    adapter: list[float]


def import_cost(adapter: str, rounds: int) -> Cost:
    """Time an adapter and its framework in turns, each in processes of its own.

    Args:
        adapter: ``"langchain_rerank"`` or ``"llamaindex_rerank"``.
        rounds: Processes of each kind. One more of each goes first, and is not counted.
    """
    modules = _run(_LIST, adapter, _ADAPTERS[adapter]).split()
    cost = Cost([], [])
    for number in range(rounds + 1):
        framework = float(_run(_TIME, *modules))
        own = float(_run(_TIME, adapter))
        if number:  # the first ones fill the disk's cache
            cost.framework.append(framework)
            cost.adapter.append(own)
    return cost


def _run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="default: %(default)s")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error("--rounds must be at least 1")
    print("| import | what it needs of its framework | with the adapter | the adapter adds |")
    print("| --- | --- | --- | --- |")
    for adapter in _ADAPTERS:
        cost = import_cost(adapter, rounds)
        # Whatever else the machine does only adds to a time, so the least is nearest to the cost.
        framework, own = min(cost.framework), min(cost.adapter)
        print(f"| `{adapter}` | {framework:.0f} ms | {own:.0f} ms | {own - framework:.0f} ms |")


if __name__ == "__main__":
    main()
