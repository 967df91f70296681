"""Bulk jobs and batches on Ray, which runs as it does for users.

Runs where Ray is installed: ``nox -s ray``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rerank_core import AuthenticationError, InvalidInputError, Scale, Scorer, Scoring, TeiScorer
from rerank_core._local.onnx import default_threads
from rerank_core.bulk import RerankBatch
from rerank_core.bulk._job import BulkJob, run_bulk
from rerank_core.bulk._ray import RaySettings, shared_gate
from rerank_core.testing import OverlapScorer, Reply, Request, ScriptedServer
from support.models import build_tiny_model

ray = pytest.importorskip("ray")
import psutil  # noqa: E402 - beside Ray only
import pyarrow as pa  # noqa: E402 - as it
import pyarrow.parquet as pq  # noqa: E402 - as it

LONG = 300
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import it


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Starting one takes ten seconds, so most tests share it."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def rows(count: int, candidates: int = 5) -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{n}",
            "query": f"What is number {n}, and where is the river?",
            "candidates": [
                f"Number {n} has {i} rivers; it is {'cold ' * (i % 4)}" for i in range(candidates)
            ],
        }
        for n in range(count)
    ]


def write(path: Path, items: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))
    return path


def results(out: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(out.glob("parts/*.jsonl"))
        for line in path.read_text().splitlines()
    ]


def test_nano_gives_the_bytes_that_one_process_does(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [*rows(60), {"query": " ", "candidates": ["a"]}])
    for out, settings in (("here", None), ("ray", RaySettings(workers=2))):
        job = BulkJob(input=source, out=tmp_path / out, part_rows=8, options={"top_n": 3})
        assert run_bulk(job, settings).failed == 1
    for path in (tmp_path / "here").rglob("*.jsonl"):
        assert (tmp_path / "ray" / path.relative_to(tmp_path / "here")).read_bytes() == (
            path.read_bytes()
        )


def test_fp32_gives_the_scores_that_one_process_does(tmp_path: Path) -> None:
    model = f"onnx:{build_tiny_model(tmp_path, 'bert').onnx}"
    source = write(tmp_path / "in.jsonl", rows(40))
    for out, settings in (("here", None), ("ray", RaySettings(workers=2))):
        job = BulkJob(input=source, out=tmp_path / out, scorer=model, part_rows=8)
        run_bulk(job, settings)
    for mine, theirs in zip(results(tmp_path / "here"), results(tmp_path / "ray"), strict=True):
        assert theirs["relevance_scores"] == pytest.approx(mine["relevance_scores"], abs=1e-6)


def test_every_row_is_there_once_whoever_is_killed(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(2000, candidates=100))  # 200,000 pairs

    def run(seed: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name("killed_job.py")), str(source)]
        command += [str(tmp_path / "out"), seed]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with run("3") as killed:
        assert killed.stdout is not None
        family: list[Any] = []
        said = []
        for line in killed.stdout:  # Ray says something, too
            family = psutil.Process(killed.pid).children(recursive=True) or family
            said.append(line)
    assert killed.returncode == -9
    assert sum(line.startswith("killed") for line in said) == 2
    _, left = psutil.wait_procs(family, timeout=60)
    for process in left:  # Ray's own agents wait longer for it
        assert process.name().endswith("Agent")
        process.kill()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/parts").iterdir()}
    assert 0 < len(before) < 100
    with run("") as done:
        report, _ = done.communicate(timeout=LONG)
    assert done.returncode == 0
    assert f"BulkReport(rows=2000, resumed={20 * len(before)}, failed=0)" in report
    assert {path: path.stat().st_mtime_ns for path in before} == before
    ids = Counter(row["id"] for row in results(tmp_path / "out"))
    assert ids == Counter(f"q{n}" for n in range(2000))
    run_bulk(BulkJob(input=source, out=tmp_path / "here", scorer=OverlapScorer(), part_rows=20))
    assert results(tmp_path / "here") == results(tmp_path / "out")


class Threads(Scorer):
    """Gives the number of threads that a model would use as the score of every text."""

    name = fingerprint = "threads"
    scale = Scale.LOGIT

    def _score(self, query: str, texts: Any, progress: Any) -> Scoring:
        return Scoring((float(default_threads()),) * len(texts))


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_worker_uses_as_many_threads_as_it_has_cpus(cpus: int, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(4))
    job = BulkJob(input=source, out=tmp_path / "out", scorer=Threads(), part_rows=1)
    run_bulk(job, RaySettings(worker_cpus=cpus))
    for row in results(tmp_path / "out"):
        assert set(row["relevance_scores"]) == {cpus}


class Trio:
    """Answers like TEI once three requests are there; counts those under way at once."""

    def __init__(self) -> None:
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._three = threading.Barrier(3, timeout=60)
        self._fourth = threading.Event()

    def __call__(self, request: Request) -> Reply:
        if request.method == "GET":
            return ScriptedServer.answer(request)
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now > 3:
                self._fourth.set()
        self._three.wait()
        self._fourth.wait(0.5)  # it must not come
        with self._lock:
            self._now -= 1
        return ScriptedServer.answer(request)


def test_all_workers_together_send_no_more_requests_than_allowed(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(24))
    trio = Trio()
    with ScriptedServer(respond=trio) as server:
        job = BulkJob(
            input=source,
            out=tmp_path / "out",
            scorer=TeiScorer(server.url),
            options={"max_requests": 3},
            part_rows=6,
        )
        assert run_bulk(job, RaySettings(workers=2)).failed == 0
    assert trio.most == 3


def test_a_pause_that_a_service_asks_of_one_worker_holds_for_all(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(8))
    came: list[float] = []

    def respond(request: Request) -> Reply:
        if request.method == "GET":
            return ScriptedServer.answer(request)
        came.append(time.monotonic())
        if len(came) == 3:
            return Reply({"error": "busy"}, status=429, headers={"Retry-After": "2"})
        return ScriptedServer.answer(request)

    with ScriptedServer(respond=respond) as server:
        job = BulkJob(
            input=source,
            out=tmp_path / "out",
            scorer=TeiScorer(server.url),
            options={"max_requests": 1},
            part_rows=1,
        )
        assert run_bulk(job, RaySettings(workers=2)).failed == 0
    assert len(came) == 9
    assert came[3] - came[2] >= 2


class _Sender:
    """Sends one request at a time through the gate of the job."""

    def __init__(self) -> None:
        self._gate = shared_gate(1)

    def send(self) -> bool:
        async def send() -> bool:
            await self._gate.leave(await self._gate.enter(1000), 0)
            return True

        return asyncio.run(send())


def test_the_gate_outlives_the_worker_that_made_it() -> None:
    first, second = (ray.remote(_Sender).remote() for _ in range(2))
    assert ray.get([first.send.remote(), second.send.remote()]) == [True, True]
    ray.kill(first)
    assert ray.get(second.send.remote(), timeout=60)
    ray.kill(second)


def test_what_ends_a_job_is_told_as_in_one_process(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(4))
    wrong = BulkJob(input=source, out=tmp_path / "a", options={"query_column": "question"})
    with pytest.raises(InvalidInputError, match="no row has the field 'question'"):
        run_bulk(wrong, RaySettings())
    with ScriptedServer(respond=lambda _: Reply({"error": "no"}, status=401)) as server:
        job = BulkJob(input=source, out=tmp_path / "b", scorer=TeiScorer(server.url))
        with pytest.raises(AuthenticationError):
            run_bulk(job, RaySettings())


@pytest.mark.parametrize("form", ["numpy", "pyarrow", "pandas"])
@pytest.mark.parametrize("made", ["in actors", "before"])
def test_a_dataset_is_reranked_in_any_format(form: str, made: str, tmp_path: Path) -> None:
    items = [{**row, "n": n} for n, row in enumerate(rows(20))]
    items[7]["query"] = " "
    dataset = ray.data.from_items(items)
    if made == "before":
        dataset = dataset.map_batches(
            RerankBatch(OverlapScorer(), top_n=2), batch_size=6, batch_format=form
        )
    else:
        dataset = dataset.map_batches(
            RerankBatch,
            fn_constructor_kwargs={"scorer": OverlapScorer(), "top_n": 2},
            batch_size=6,
            batch_format=form,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
    done = dataset.materialize()
    done.filter(lambda row: row["error"] is None).write_parquet(str(tmp_path / "good"))
    bad = done.filter(lambda row: row["error"] is not None).take_all()
    assert [row["n"] for row in bad] == [7]
    assert "query is blank" in bad[0]["error"]
    good = sorted(pq.read_table(tmp_path / "good").to_pylist(), key=lambda row: row["n"])
    assert [row["n"] for row in good] == [n for n in range(20) if n != 7]
    here = RerankBatch(OverlapScorer(), top_n=2)
    for row in good:
        alone = here({"query": [row["query"]], "candidates": [items[row["n"]]["candidates"]]})
        for name in ("candidates", "relevance_scores", "positions"):
            assert row[name] == alone[name][0]


MEMORY = """
import sys
from pathlib import Path
import psutil
from rerank_core.bulk._job import BulkJob, run_bulk
from rerank_core.bulk._ray import RaySettings
from rerank_core import Scale, Scorer, Scoring

class Length(Scorer):
    name = fingerprint = "length"
    scale = Scale.LOGIT

    def _score(self, query, texts, progress):
        return Scoring(tuple(float(len(text)) for text in texts))

def peak(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024

def progress(done, total):
    if done == total:
        own = psutil.Process()
        workers = [p for p in own.children(recursive=True) if "MapWorker" in " ".join(p.cmdline())]
        print(peak(own.pid), max(peak(worker.pid) for worker in workers))

job = BulkJob(input=Path(sys.argv[1]), out=Path(sys.argv[2]), scorer=Length(), part_rows=20)
run_bulk(job, RaySettings(workers=2), progress)
"""


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_memory_is_that_of_a_part_whatever_the_size_of_the_data(form: str, tmp_path: Path) -> None:
    """Ten times as much data takes hardly more memory, in the driver and in the workers."""
    peaks = []
    for count in (200, 2000):
        items = rows(count, candidates=100)
        for item in items:
            item["candidates"] = [text + " sand" * 100 for text in item["candidates"]]
        source = tmp_path / f"{count}.{form}"  # of 12 and 120 MB
        if form == "jsonl":
            write(source, items)
        else:
            pq.write_table(pa.Table.from_pylist(items), source)  # in one group of rows
        command = [sys.executable, "-c", MEMORY, str(source), str(tmp_path / str(count))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=LONG)
        peaks.append([int(number) for number in done.stdout.split()])
    for once, tenfold in zip(*peaks, strict=True):  # MiB, of the driver and of a worker
        assert tenfold < once + 60, peaks  # Arrow's allocator takes a while to be warm


@pytest.mark.parametrize("where", ["local", "running"])
def test_the_command_runs_on_ray(where: str, tmp_path: Path) -> None:
    address = where if where == "local" else ray.get_runtime_context().gcs_address
    source = write(tmp_path / "in.jsonl", rows(10))
    command = [sys.executable, "-m", "rerank_core.cli", "bulk", source.name, "--ray", address]
    command += ["--out", "out", "--part-rows", "3"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=LONG, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "rerank: 10 queries are in out/parts"
    assert len(results(tmp_path / "out")) == 10
