"""Faults that take a process of their own."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import cohere
import pytest

from rerank_core import (
    CohereScorer,
    ConfigurationError,
    Deadline,
    Fallback,
    Scorer,
    ServiceError,
)
from rerank_core.testing import Reply, Request, ScriptedServer
from support.bi_encoders import build_bi_encoder
from support.models import TinyModel

KEY = "sk-process-0123456789"
TEXTS = ["a", "a b", "c"]


@pytest.fixture(scope="module")
def bi_encoder(tiny: Callable[..., TinyModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bi_encoder(tiny().torch, tmp_path_factory.mktemp("bi") / "tiny-bi")


def run_script(script: str, *arguments: object) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    done = subprocess.run(
        [*command, *map(str, arguments)], timeout=120, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_answers_in_every_way(tmp_path: Path) -> None:
    script = """
        import asyncio, os, sys
        from rerank_core import *

        scorer = CohereScorer("m", api_key="k-0123456789", base_url=sys.argv[1])
        store = DiskStore(sys.argv[2])
        ways = [
            scorer,
            Fallback(scorer, failures=1),
            Deadline(scorer, 60),
            Deadline(Fallback(scorer), 60),
            Deadline(Cached(Fallback(scorer), store), 60),
            Cached(Deadline(load_scorer("nano"), 60)),
        ]

        def check(word):
            for way in ways:
                for ranking in (
                    rerank(f"a {word}", ["a", f"a {word}", "c"], way),
                    asyncio.run(arerank(f"a {word}", ["a", f"a {word}", "c"], way)),
                ):
                    assert ranking.degraded is None, (way, ranking)
                    assert sorted(item.index for item in ranking) == [0, 1, 2]

        check("parent")
        child = os.fork()
        if child == 0:
            try:
                check("child")
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        check("parent again")
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    with ScriptedServer() as server:
        run_script(script, server.url, tmp_path / "scores.sqlite")


FORKED = """
import asyncio, json, os, signal, sys, threading
from rerank_core import *

kind, model, moment = sys.argv[1:]
kinds = {"onnx": OnnxCrossEncoder, "torch": TorchCrossEncoder, "bi": BiEncoderScorer}
scorer = kinds.get(kind, load_scorer)(model)
reached, go_on = threading.Event(), threading.Event()
patience = 0.2 if moment == "importing" else 60  # a fork waits for imports, and for nothing else

def pause():
    if threading.current_thread() is worker and not reached.is_set():
        reached.set()
        go_on.wait(patience)

def watch(event, arguments):
    loading = event == "open" and str(arguments[0]).endswith("config.json")
    wanted = ("onnxruntime", "sentence_transformers", "transformers.models.bert.modeling_bert")
    importing = event == "import" and arguments[0] in wanted
    if (loading and moment == "loading") or (importing and moment == "importing"):
        pause()

def progress(done, total):
    if moment == "scoring":
        pause()

def work():
    expected.extend(scorer.score("drug", ["list", "river"], progress=progress).scores)
    if moment == "idle":  # not ended: MKL's locks are held while a thread of torch's ends
        pause()

expected = []
sys.addaudithook(watch)
worker = threading.Thread(target=work)
worker.start()
assert reached.wait(60)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(60)  # ends the child
    found = [
        scorer.score("drug", ["list", "river"]),
        Deadline(Cached(scorer), 50).score("drug", ["list", "river"]),
        asyncio.run(scorer.ascore("drug", ["list", "river"])),
    ]
    os.write(writer, json.dumps([score for scoring in found for score in scoring.scores]).encode())
    os._exit(0)
go_on.set()
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
worker.join()
assert status == 0, status
found = json.loads(os.read(reader, 10_000))
# Torch adds in another order on one thread.
assert all(abs(a - b) < 1e-5 for a, b in zip(found, 3 * expected, strict=True)), (found, expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        *[("onnx", moment) for moment in ("importing", "loading", "scoring", "idle")],
        *[("hub", "loading"), ("torch", "importing"), ("torch", "scoring")],
        *[("bi", "loading"), ("bi", "idle")],
    ],
)
def test_a_child_forked_at_any_moment_scores(
    tiny: Callable[..., TinyModel], bi_encoder: Path, kind: str, moment: str
) -> None:
    model = {"torch": tiny().torch, "bi": bi_encoder}.get(kind, tiny().onnx)
    command = [sys.executable, "-c", FORKED, kind, str(model), moment]
    # With the threads that a user has, not with those of the tests.
    kept = {"OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM"}.isdisjoint
    environment = {name: value for name, value in os.environ.items() if kept([name])}
    done = subprocess.run(
        command, env=environment, timeout=200, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


SLOW = """
import asyncio, signal, sys, threading
from langchain_core.documents import Document
from langchain_rerank import RerankCompressor
from llama_index.core.schema import NodeWithScore, TextNode
from llamaindex_rerank import RerankPostprocessor
from rerank_core import *
from rerank_core.testing import OverlapScorer, ScriptedScorer

signal.alarm(150)
kind, model = sys.argv[1:]
loaded = threading.Event()

def hold(event, arguments):
    if event == "open" and str(arguments[0]).startswith(model):
        loaded.wait()

sys.addaudithook(hold)
kinds = {"onnx": OnnxCrossEncoder, "torch": TorchCrossEncoder, "bi": BiEncoderScorer}
make = kinds.get(kind, load_scorer)
texts = ["list", "river"]
scorer = make(model)
loop = asyncio.new_event_loop()
down = ScriptedScorer(ServiceError("down"))
around = [
    Deadline(scorer, 0.3),
    Cascade([(OverlapScorer(), 1), Deadline(scorer, 0.3)]),
    Fallback(down, Deadline(scorer, 0.3)),
    Deadline(Cached(scorer), 0.3),
    Deadline(Windowed(scorer), 0.3),
    Deadline(Fallback(scorer), 0.3),
    Deadline(Cascade([(OverlapScorer(), 1), scorer]), 0.3),
]

async def search(wrapped):
    asked = asyncio.create_task(arerank("drug", texts, wrapped, min_score=0))
    while not asked.done():  # the loop goes on
        await asyncio.wait({asked}, timeout=0.01)
    return asked.result()

for wrapped in around:
    one = rerank("drug", texts, wrapped, min_score=0)
    other = loop.run_until_complete(search(wrapped))
    for ranking in (one, other):
        assert "deadline" in ranking.causes, ranking
        assert [(item.index, item.score) for item in ranking] == [(0, None), (1, None)], ranking
documents = [Document(text) for text in texts]
kept = RerankCompressor(scorer=around[0]).compress_documents(documents, "drug")
assert [document.page_content for document in kept] == texts
nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
kept = RerankPostprocessor(scorer=around[0]).postprocess_nodes(nodes, query_str="drug")
assert [node.text for node in kept] == texts
loaded.set()
scorer.load()
ranking = rerank("drug", texts, Deadline(scorer, 60))
assert ranking.degraded is None, ranking
"""


@pytest.mark.parametrize("kind", ["onnx", "hub", "torch", "bi"])
def test_a_deadline_waits_for_no_model_that_is_still_loading(
    tiny: Callable[..., TinyModel], bi_encoder: Path, kind: str
) -> None:
    model = {"torch": tiny().torch, "bi": bi_encoder}.get(kind, tiny().onnx)
    command = [sys.executable, "-c", SLOW, kind, str(model)]
    done = subprocess.run(command, timeout=200, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_interpreter_ends_whatever_is_under_way() -> None:
    script = """
        import sys, threading
        from rerank_core import CohereScorer, Deadline, Fallback, rerank

        scorer = CohereScorer("m", api_key="k-0123456789", base_url=sys.argv[1])
        scorer = Deadline(Fallback(scorer), 30)
        threading.Thread(target=rerank, args=("a", ["a"], scorer), daemon=True).start()
        sys.stdin.readline()  # the request has come in
    """
    with ScriptedServer() as server:
        # The server answers nothing before it closes; the script must not wait for that.
        asked = _hold(server)
        command = [sys.executable, "-c", textwrap.dedent(script), server.url]
        pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
            assert asked.wait(60)
            _, said = process.communicate("go\n", timeout=20)
            assert process.returncode == 0
            assert "Traceback" not in said


def _hold(server: ScriptedServer) -> threading.Event:
    asked, never = threading.Event(), threading.Event()

    def hold(request: Request) -> Reply:
        asked.set()
        return Reply(wait_for=never)

    server.script(hold)
    return asked


# The connections of the client stay open on purpose: its loop ends without closing them.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_client_of_a_closed_loop_is_a_failure_like_others(mode: str) -> None:
    with ScriptedServer() as server:

        async def open_and_leave() -> CohereScorer:
            client = cohere.AsyncClientV2(KEY, base_url=server.url)
            scorer = CohereScorer("m", client=client, max_retries=0)
            await scorer.ascore("a", TEXTS)
            return scorer

        def run(scorer: Scorer) -> object:
            if mode == "sync":
                return scorer.score("a", TEXTS).degraded
            return asyncio.run(scorer.ascore("a", TEXTS)).degraded

        kind = ConfigurationError if mode == "sync" else ServiceError
        with pytest.raises(kind) as caught:
            run(asyncio.run(open_and_leave()))
        assert KEY not in str(caught.value)
        # One scorer for each: a client that failed opens a new connection.
        assert kind.__name__ in str(run(Fallback(asyncio.run(open_and_leave()))))
        assert "ServiceError" in str(run(Deadline(Fallback(asyncio.run(open_and_leave())), 60)))
        del caught
        gc.collect()
