"""Cost of importing the adapters beside their frameworks: ``python -m benchmarks.imports``.

A fresh process imports what the adapter loads of its framework, in the same order, and then the
adapter; the second time is the adapter's own. The adapters take turns. Times are of the processor:
once the files are in the disk's cache an import waits for nothing else, and a busy machine blurs
them least.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence

__all__ = ["import_costs", "time_import"]

_ADAPTERS = {"langchain_rerank": "langchain_core", "llamaindex_rerank": "llama_index"}

_LIST = """
import sys
__import__(sys.argv[1])
print(*[name for name in sys.modules if name.partition(".")[0] == sys.argv[2]])
"""
_TIME = """
import sys, time
statement, *framework = sys.argv[1:]
started = time.process_time()
for name in framework:
    __import__(name)
between = time.process_time()
exec(statement)
print(1000 * (between - started), 1000 * (time.process_time() - between))
"""


def import_costs(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Time the imports.

    Args:
        rounds: Processes for each adapter. One more goes first, and is not counted.

    Returns:
        For each adapter and round, milliseconds for the framework and for the adapter after it.
    """
    modules = {name: _run(_LIST, name, framework) for name, framework in _ADAPTERS.items()}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in _ADAPTERS}
    for number in range(rounds + 1):
        for name, taken in costs.items():
            found = time_import(f"import {name}", modules[name])
            if number:  # the first ones fill the disk's cache
                taken.append(found)
    return costs


def time_import(
    statement: str, before: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> tuple[float, float]:
    """Import modules in a fresh process.

    Args:
        statement: The import to time.
        before: Modules to import first.
        environment: Variables of the process; those of this one by default.

    Returns:
        Milliseconds of the processor for `before`, and for the statement after them.

    Raises:
        subprocess.CalledProcessError: If a module cannot be imported.
    """
    first, second = map(float, _run(_TIME, statement, *before, environment=environment))
    return first, second


def _run(code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> list[str]:
    command = [sys.executable, "-P", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.imports",
        description="Time the imports of the adapters, beside those of their frameworks.",
    )
    parser.add_argument("--rounds", type=int, default=11, help="default: %(default)s")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error("--rounds must be at least 1")
    print("| import | what it needs of its framework | the adapter adds |")
    print("| --- | --- | --- |")
    for name, taken in import_costs(rounds).items():
        cells = (_cell(list(times)) for times in zip(*taken, strict=True))
        print(f"| `{name}` | {' | '.join(cells)} |")


def _cell(times: list[float]) -> str:
    return f"{statistics.median(times):.0f} ms ({min(times):.0f} to {max(times):.0f})"


if __name__ == "__main__":
    main()
