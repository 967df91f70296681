"""The one command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

_HERE = Path(__file__).parent


def main() -> None:
    """Prepare environments and models, measure, and write JSON, markdown and a plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare rerank-core with its peers, on the same weights and in one run.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="50 candidates only, few rounds: some minutes"
    )
    parser.add_argument("--rounds", type=int, help="turns of every system at each workload")
    parser.add_argument(
        "--environments",
        type=Path,
        default=_HERE / ".environments",
        metavar="DIR",
        help="where the peers are installed; they are reused (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, default=_HERE / "results", metavar="DIR", help="where results go"
    )
    parser.add_argument("--name", help="name of the result files (default: quick or full)")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")

    from benchmarks._environments import NAMES, prepare
    from benchmarks._model import build_models
    from benchmarks._plot import plot
    from benchmarks._report import markdown
    from benchmarks._run import FULL, QUICK, measure
    from benchmarks._systems import all_systems

    started = time.monotonic()

    def report(doing: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {doing}", file=sys.stderr, flush=True)

    environments = options.environments.resolve()
    for name in NAMES:
        prepare(name, environments, report)
    plan = QUICK if options.quick else FULL
    if options.rounds is not None:
        plan = replace(plan, rounds=options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        report("building the model")
        systems = all_systems(build_models(Path(folder)))
        results = measure(systems, plan, environments, report)
    page = markdown(results)
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / (options.name or ("quick" if options.quick else "full"))
    target.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    target.with_suffix(".md").write_text(page, encoding="utf-8")
    plot(results, target.with_suffix(".png"))
    print(page)


if __name__ == "__main__":
    main()
