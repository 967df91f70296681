"""The one command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

_HERE = Path(__file__).parent
_AGAINST_ROUNDS = 10
_AT_LEAST = 0.97


def main() -> int:
    """Measure, print what was found, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare rerank-core with its peers, on the same weights and in one run; or, "
        "with --against, with its own earlier code.",
    )
    parser.add_argument("--quick", action="store_true", help="measure less, in some minutes")
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"turns of every system at each workload (default with --against: {_AGAINST_ROUNDS})",
    )
    parser.add_argument(
        "--modular",
        action="store_true",
        help="only models of ettin's shapes, whose head is in modules, in some minutes",
    )
    earlier = parser.add_argument_group("comparing with earlier code")
    earlier.add_argument(
        "--against",
        metavar="REF",
        help="a commit, branch or tag; its code and this clone's run the same calls in turn",
    )
    earlier.add_argument(
        "--at-least",
        type=float,
        metavar="RATIO",
        help="exit with 1 if the median of a call's old time / new time is lower "
        f"(default: {_AT_LEAST})",
    )
    peers = parser.add_argument_group("comparing with peers")
    peers.add_argument(
        "--environments",
        type=Path,
        metavar="DIR",
        help="where the peers are installed; they are reused (default: benchmarks/.environments)",
    )
    peers.add_argument(
        "--output", type=Path, metavar="DIR", help="where results go (default: benchmarks/results)"
    )
    peers.add_argument("--name", help="name of the result files (default: modular, quick or full)")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.modular and options.against is not None:
        parser.error("--modular cannot be used with --against")
    unfit = ("environments", "output", "name") if options.against is not None else ("at_least",)
    for name in unfit:
        if getattr(options, name) is not None:
            needed = "cannot be used with" if options.against is not None else "needs"
            parser.error(f"--{name.replace('_', '-')} {needed} --against")
    started = time.monotonic()

    def report(doing: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {doing}", file=sys.stderr, flush=True)

    try:
        if options.against is None:
            return _compare_peers(options, report)
        return _compare_earlier(options, parser, report)
    except KeyboardInterrupt:
        return 130


def _compare_earlier(
    options: argparse.Namespace, parser: argparse.ArgumentParser, report: Callable[[str], None]
) -> int:
    from benchmarks._against import FULL, QUICK, compare, summarise
    from benchmarks._checkout import CheckoutError, checkout
    from benchmarks._workers import WorkerError

    try:
        with checkout(options.against) as old:
            times = compare(
                old,
                QUICK if options.quick else FULL,
                _AGAINST_ROUNDS if options.rounds is None else options.rounds,
                report,
            )
    except (CheckoutError, WorkerError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    at_least = _AT_LEAST if options.at_least is None else options.at_least
    page, held = summarise(times, old.commit, at_least)
    print(page)
    return 0 if held else 1


def _compare_peers(options: argparse.Namespace, report: Callable[[str], None]) -> int:
    from benchmarks._environments import NAMES, prepare
    from benchmarks._model import build_models, build_modular
    from benchmarks._plot import plot
    from benchmarks._report import markdown, modular_markdown
    from benchmarks._run import FULL, QUICK, Results, compare_modular, conditions, measure
    from benchmarks._systems import all_systems, modular_systems
    from benchmarks._weights import ETTIN

    environments = (options.environments or _HERE / ".environments").resolve()
    # Infinity is one of benchmarks.serve.
    for name in ("torch",) if options.modular else {*NAMES} - {"infinity"}:
        prepare(name, environments, report)
    plan = QUICK if options.quick else FULL
    if options.rounds is not None:
        plan = replace(plan, rounds=options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        report("building the models")
        shapes = {
            name: modular_systems(build_modular(Path(folder, name), shape))
            for name, shape in ETTIN.items()
        }
        if options.modular:
            results: Results = {"conditions": conditions(plan)}
        else:
            systems = all_systems(build_models(Path(folder)))
            results = measure(systems, plan, environments, report)
        results["modular"] = compare_modular(shapes, plan.rounds, environments, report)
    page = (modular_markdown if options.modular else markdown)(results)
    output = options.output or _HERE / "results"
    output.mkdir(parents=True, exist_ok=True)
    kind = "modular" if options.modular else "quick" if options.quick else "full"
    target = output / (options.name or kind)
    target.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    target.with_suffix(".md").write_text(page, encoding="utf-8")
    if not options.modular:
        plot(results, target.with_suffix(".png"))
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
