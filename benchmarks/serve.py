"""The server beside the engine and beside other servers: ``python -m benchmarks.serve``.

All have the same weights, in the shape of MiniLM-L6; the first run installs Infinity. Clients ask
for the scores of 50 mixed candidates, each again as soon as it has its answer. Systems take turns,
so that all feel the same disturbances. Then requests come at random, at half of what the engine in
this process can do, and their latencies are compared. ``--soak SECONDS`` has 32 clients ask for so
long instead, with a queue that is too short for them, and watches statuses and memory.

Ends with exit code 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._environments import interpreter, prepare
from benchmarks._model import models_in
from benchmarks._served import Ask, Process, asking_engine, asking_server, handler, infinity, ours
from benchmarks._texts import QUERIES, Workload, make_workload
from rerank_core import load_scorer

__all__ = ["main"]

_CANDIDATES = 50
_ENGINE, _OURS, _INFINITY, _HANDLER = "engine", "rerank serve", "Infinity", "FastAPI handler"


class _System(NamedTuple):
    open: Callable[[], AbstractAsyncContextManager[Ask]]
    process: Process | None = None

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used; for the engine, this process's."""
        return self.process.cpu_seconds() if self.process else time.process_time()


def main() -> int:
    """Measure, print a table and JSON, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=64, help="of each turn, or one a client")
    parser.add_argument("--arrivals", type=int, default=200, help="at half load; 0 for none")
    parser.add_argument("--precision", choices=["int8", "fp32"], default="int8")
    parser.add_argument("--scorer", help="another one, such as nano, without the peers")
    parser.add_argument("--without-peers", action="store_true")
    parser.add_argument("--soak", type=float, metavar="SECONDS")
    parser.add_argument("--models", type=Path, help="keep the models there for the next run")
    parser.add_argument("--environments", type=Path, default=Path("benchmarks/.environments"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and the servers end, too
    if not Path("/proc/self/statm").exists():
        parser.error("processor time and memory are read from /proc: Linux only")
    work = make_workload("mixed", _CANDIDATES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, torch = options.scorer, None
        if not model:
            models = models_in(options.models or folder / "models")
            model = f"onnx:{getattr(models, options.precision)}"
            torch = None if options.without_peers else models.torch
        if options.soak:
            report = _soak(model, work, options.soak, folder)
        else:
            with ExitStack() as stack:
                systems = _systems(stack, model, torch, folder, options.environments)
                report = asyncio.run(_measure(systems, work, options))
    print(_table(report))
    print(json.dumps({**report, "load": os.getloadavg()}, indent=1))
    return 0 if all(bar["held"] for bar in report["bars"]) else 1


def _systems(
    stack: ExitStack, model: str, torch: Path | None, folder: Path, environments: Path
) -> dict[str, _System]:
    scorer = load_scorer(model)
    scorer.load()
    systems = {_ENGINE: _System(lambda: asking_engine(scorer))}

    def add(label: str, process: Process) -> None:
        systems[label] = _System(lambda: asking_server(process), process)

    add(_OURS, stack.enter_context(ours(model, folder / "ours.log")))
    if torch is not None:
        environments = environments.resolve()
        prepare("infinity", environments, lambda line: print(line, file=sys.stderr))
        python = interpreter("infinity", environments)
        add(_INFINITY, stack.enter_context(infinity(python, torch, folder / "infinity.log")))
        add(_HANDLER, stack.enter_context(handler(torch, folder / "handler.log")))
    return systems


async def _measure(
    systems: Mapping[str, _System], work: Workload, options: argparse.Namespace
) -> dict[str, Any]:
    rates: dict[str, dict[int, list[float]]] = {
        label: {n: [] for n in options.clients} for label in systems
    }
    processor: dict[str, list[float]] = {label: [] for label in systems}
    for system in systems.values():
        await _closed(system, work, 2, 2)  # warm up
    for turn in range(options.rounds):
        for clients in options.clients:
            for label, system in systems.items():
                cpu = system.cpu_seconds()
                requests = max(options.requests, clients)
                rate = requests / await _closed(system, work, clients, requests)
                rates[label][clients].append(rate)
                processor[label].append((system.cpu_seconds() - cpu) / requests)
                print(f"{turn} {clients:2} {label}: {rate:.2f}/s", file=sys.stderr)
    most = max(options.clients)
    report: dict[str, Any] = {
        "model": options.scorer or options.precision,
        "requests_per_second": rates,
        "cpu_seconds_per_request": {
            label: statistics.median(found) for label, found in processor.items()
        },
        "bars": [
            _bar(f"throughput of {_OURS} against {label}, {most} clients", least, found)
            for label, least in ((_ENGINE, 0.9), (_INFINITY, 4.0), (_HANDLER, 3.0))
            if label in systems
            for found in [_ratios(rates[_OURS][most], rates[label][most])]
        ],
    }
    if options.arrivals:
        rate = statistics.median(rates[_ENGINE][most]) / 2
        report["half_load"] = await _half_load(systems, work, rate, options)
        report["bars"].append(report["half_load"].pop("bar"))
    return report


async def _closed(system: _System, work: Workload, clients: int, requests: int) -> float:
    """Ask so often with so many clients, and return the seconds it took."""
    queries = iter([QUERIES[number % len(QUERIES)] for number in range(requests)])

    async def client(ask: Ask) -> None:
        for query in queries:
            status = await ask(query, work.texts)
            assert status == 200, status

    async with system.open() as ask:
        started = time.monotonic()
        await asyncio.gather(*(client(ask) for _ in range(clients)))
        return time.monotonic() - started


async def _half_load(
    systems: Mapping[str, _System], work: Workload, rate: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Let requests come at random at a rate; engine and server take turns, a part each."""
    seconds: dict[str, list[float]] = {_ENGINE: [], _OURS: []}
    part = max(1, options.arrivals // options.rounds)
    for turn in range(options.rounds):
        for label in seconds:
            chance = random.Random(turn)  # the same moments for both
            gaps = [chance.expovariate(rate) for _ in range(part)]
            async with systems[label].open() as ask:
                seconds[label] += await _open_loop(ask, work, gaps)
    tails = {label: _percentile(found, 0.99) for label, found in seconds.items()}
    ratio = tails[_OURS] / tails[_ENGINE]
    return {
        "requests_per_second": rate,
        "p50": {label: _percentile(found, 0.5) for label, found in seconds.items()},
        "p99": tails,
        "bar": {
            "what": f"p99 at half load of {_OURS} against {_ENGINE}",
            "wanted": "at most 2",
            "found": round(ratio, 2),
            "held": ratio <= 2,
        },
    }


async def _open_loop(ask: Ask, work: Workload, gaps: Sequence[float]) -> list[float]:
    seconds: list[float] = []

    async def request(query: str) -> None:
        began = time.monotonic()
        await ask(query, work.texts)
        seconds.append(time.monotonic() - began)

    async with asyncio.TaskGroup() as tasks:
        for number, gap in enumerate(gaps):
            await asyncio.sleep(gap)
            tasks.create_task(request(QUERIES[number % len(QUERIES)]))
    return seconds


def _percentile(found: Sequence[float], share: float) -> float:
    return sorted(found)[min(len(found) - 1, int(share * len(found)))]


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _bar(what: str, least: float, found: Sequence[float]) -> dict[str, Any]:
    median = statistics.median(found)
    return {
        "what": what,
        "wanted": f"at least {least:g}",
        "found": round(median, 2),
        "range": [round(min(found), 2), round(max(found), 2)],
        "held": median >= least,
    }


def _soak(model: str, work: Workload, seconds: float, folder: Path) -> dict[str, Any]:
    """Have 32 clients ask where 4 are served and 8 may wait."""
    statuses: Counter[int] = Counter()
    memory: list[tuple[float, float]] = []

    async def client(number: int, ask: Ask, end: float) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            texts = chance.sample(work.texts, chance.randint(1, len(work.texts)))
            statuses[await ask(chance.choice(QUERIES), texts)] += 1

    async def watch(process: Process, started: float) -> None:
        while True:
            memory.append((time.monotonic() - started, process.resident_mb()))
            await asyncio.sleep(1)

    async def ask_all(process: Process) -> None:
        started = time.monotonic()
        watching = asyncio.create_task(watch(process, started))
        async with asking_server(process) as ask:
            await asyncio.gather(*(client(n, ask, started + seconds) for n in range(32)))
        watching.cancel()

    options = ("--concurrency", "4", "--queue", "8")
    with ours(model, folder / "soak.log", *options) as process:
        asyncio.run(ask_all(process))
    later = [(at / 60, mb) for at, mb in memory if at > min(120.0, seconds / 2)]
    growth = statistics.linear_regression(*zip(*later, strict=True)).slope
    others = {status: count for status, count in statuses.items() if status not in (200, 429)}
    return {
        "seconds": seconds,
        "statuses": dict(statuses),
        "resident_mb": {
            f"{at:.0f} s": round(mb, 1) for at, mb in memory[:: max(1, len(memory) // 10)]
        },
        "bars": [
            {"what": "other statuses", "wanted": "none", "found": others, "held": not others},
            {
                "what": "growth of memory after the second minute, MB a minute",
                "wanted": "below 1",
                "found": round(growth, 2),
                "held": growth < 1,
            },
        ],
    }


def _table(report: Mapping[str, Any]) -> str:
    lines = []
    if rates := report.get("requests_per_second"):
        clients = list(next(iter(rates.values())))
        lines += [
            "| requests/s | " + " | ".join(f"{n} clients" for n in clients) + " | CPU s each |"
        ]
        lines += ["| --- |" + " --- |" * (len(clients) + 1)]
        for label, row in rates.items():
            figures = " | ".join(f"{statistics.median(row[n]):.1f}" for n in clients)
            cpu = report["cpu_seconds_per_request"][label]
            lines.append(f"| {label} | {figures} | {cpu:.3f} |")
        lines.append("")
    lines += ["| bar | wanted | found | held |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {bar['what']} | {bar['wanted']} | {bar['found']} | {'yes' if bar['held'] else 'NO'} |"
        for bar in report["bars"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
