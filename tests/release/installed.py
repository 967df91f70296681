"""Trial of each extra in an environment that has nothing else.

``nox -s installed`` runs it with the built wheel: ``python -I tests/release/installed.py EXTRA``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import files, requires, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import rerank_core
from rerank_core import Scorer, rerank

QUERY = "How do plants eat?"
TEXTS = ["Cats purr.", "Plants turn light into sugar.", "Yeast makes dough rise."]
BEST = TEXTS[1]


def base() -> None:
    """Rank with the embedded model, and bring no framework."""
    assert rerank(QUERY, TEXTS)[0].text == BEST
    assert rerank_core.__version__ == version("rerank-core")
    assert {str(file) for file in files("rerank-core") or ()} >= {
        "langchain_rerank/py.typed",
        "llamaindex_rerank/py.typed",
        "rerank_core/py.typed",
    }
    if len(sys.argv) < 2 or sys.argv[1] == "base":
        extras = ("cohere", "httpx", "langchain_core", "llama_index", "torch", "typer")
        assert not [name for name in extras if find_spec(name)]


def langchain() -> None:
    """Rank documents of LangChain."""
    from langchain_core.documents import Document

    from langchain_rerank import RerankCompressor

    documents = [Document(text) for text in TEXTS]
    (best,) = RerankCompressor(top_n=1).compress_documents(documents, QUERY)
    assert best.page_content == BEST


def llamaindex() -> None:
    """Rank nodes of LlamaIndex."""
    from llama_index.core.schema import NodeWithScore, TextNode

    from llamaindex_rerank import RerankPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    (best,) = RerankPostprocessor(top_n=1).postprocess_nodes(nodes, query_str=QUERY)
    assert best.node.get_content() == BEST


def agents() -> None:
    """Make the middleware of LangChain's agents."""
    from langchain_rerank.middleware import RerankMiddleware

    RerankMiddleware(top_n=1)


def _asks(scorer: Callable[[str], Scorer]) -> None:
    """Rank with a service on this machine, by the words that a text shares with the query."""
    from rerank_core.testing import ScriptedServer

    with ScriptedServer() as server:
        ranking = rerank("light into sugar", TEXTS, scorer(server.url))
    assert ranking[0].text == BEST
    assert len(server.requests) == 1


def cohere() -> None:
    """Ask Cohere's service through its SDK."""
    from rerank_core import CohereScorer

    _asks(lambda url: CohereScorer("rerank-v5.0-fast", base_url=url, api_key="a-key-of-nobody"))


def tei() -> None:
    """Ask a Text Embeddings Inference server."""
    from rerank_core import TeiScorer

    sys.path.append(str(Path(__file__).parents[1]))
    from support.tei_server import TeiServer

    with TeiServer() as server:
        assert rerank("light into sugar", TEXTS, TeiScorer(server.url))[0].text == BEST


def torch() -> None:
    """Rank with a model of sentence-transformers."""
    with TemporaryDirectory() as folder:
        assert len(rerank(QUERY, TEXTS, f"torch:{_tiny_model(folder)}")) == len(TEXTS)


def export() -> None:
    """Export a model to ONNX Runtime, and rank with what was written."""
    from rerank_core.export import export_model

    with TemporaryDirectory() as folder:
        target = Path(folder, "exported")
        export_model(_tiny_model(folder), target)
        assert len(rerank(QUERY, TEXTS, f"onnx:{target}")) == len(TEXTS)


def _tiny_model(folder: str) -> str:
    sys.path.append(str(Path(__file__).parents[1]))
    from support.models import build_tiny_model

    return str(build_tiny_model(Path(folder), "bert", with_graph=False).torch)


def _run(*arguments: str, given: str = "") -> str:
    command = [str(Path(sys.executable).with_name("rerank")), *arguments]
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def cli() -> None:
    """Run the program."""
    assert BEST in _run("rank", "-q", QUERY, "-n", "1", given="\n".join(TEXTS))
    assert version("rerank-core") in _run("info")


def demo() -> None:
    """Run the demonstration."""
    assert "LangChain" in _run("demo")


def eval() -> None:  # noqa: A001 - the name of the extra
    """Evaluate on the collection that is built in."""
    assert "2 queries" in _run("eval", "--sample", "--queries", "2", "--resamples", "100")


def otel() -> None:
    """Rank where OpenTelemetry's interface is installed, but set up by nobody."""
    from opentelemetry import trace

    with trace.get_tracer("app").start_as_current_span("search"):
        assert rerank(QUERY, TEXTS)[0].text == BEST


def pandas() -> None:
    """Make a data frame."""
    assert rerank(QUERY, TEXTS).to_pandas()["text"].iloc[0] == BEST


def train() -> None:
    """Train for a moment, which is too short to gain anything."""
    from rerank_core.evaluation import Collection, Task, first_stage
    from rerank_core.training import train

    collection = Collection.sample()
    task = Task(collection, first_stage("bm25", collection, 4), (4,), collection.evaluated[:20])
    with TemporaryDirectory() as folder:
        found = train(
            task, Path(folder, "out"), start=_tiny_model(folder), labels=True, minutes=1e-3
        )
        assert found.steps == 1


def serve() -> None:
    """Serve over HTTP, without a network."""
    import asyncio

    from rerank_core.serving import create_app

    async def live() -> None:
        app = create_app({"fast": "nano"})
        async with app.router.lifespan_context(app):
            assert "/v2/rerank" in app.openapi()["paths"]

    asyncio.run(live())
    assert "--max-documents" in _run("serve", "--help")


def ray() -> None:
    """Rerank Parquet on a cluster of this machine's cores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rerank_core.bulk._job import BulkJob, run_bulk
    from rerank_core.bulk._ray import RaySettings

    with TemporaryDirectory() as folder:
        source, out = Path(folder, "in.parquet"), Path(folder, "out")
        pq.write_table(pa.table({"query": [QUERY], "candidates": [TEXTS]}), source)
        assert run_bulk(BulkJob(input=source, out=out), RaySettings()).failed == 0
        assert pq.read_table(out / "parts")["candidates"][0][0].as_py() == BEST


PARTS = {
    "agents": (langchain, agents),
    "demo": (cli, langchain, llamaindex, demo),
    "export": (torch, export),
    "eval": (cli, eval),
    "serve": (cli, serve),
    "train": (cli, eval, export, train),
    "all": (langchain, llamaindex, cohere, tei, torch, export, cli, demo, eval, serve, train),
}
"""The extras that bring others."""
ALONE = (langchain, llamaindex, cohere, tei, torch, cli, otel, pandas, ray)
EXTRAS = {"base": (), **{part.__name__: (part,) for part in ALONE}, **PARTS}
"""The trials of each extra, beside the base."""


def main(extra: str) -> None:
    """Try an extra.

    Args:
        extra: Its name, or "base".
    """
    assert f"extra == '{extra}'" in str(requires("rerank-core")) or extra == "base"
    assert Path(rerank_core.__file__).is_relative_to(sys.prefix), "not the installed package"
    for part in (base, *EXTRAS[extra]):
        part()
        sys.stdout.write(f"{extra}: {part.__doc__}\n")


if __name__ == "__main__":
    main(sys.argv[1])
