"""The shape of the packages: what they export, and what importing them costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import rerank_core

HEAVY = ["torch", "transformers", "sentence_transformers", "langchain_core", "llama_index"]
HEAVY += ["cohere", "httpx", "onnxruntime", "tokenizers", "huggingface_hub", "numpy", "typer"]


def loaded_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


# A name is added or removed here on purpose only: each is a promise to users.
PUBLIC = {
    "rerank_core": """
        Adaptive AllScorersFailed Arrange AuthenticationError BiEncoderScorer Blend Budget
        Cached Calibrated Calibration Cascade CohereScorer ConfigurationError Deadline
        DeadlineExceeded DiskStore Distinct Excerpt Fallback HttpScorer InvalidInputError
        MalformedResponseError MemoryStore MissingExtraError NimScorer NonFiniteScoreError
        OnnxCrossEncoder Prices Profile Progress RankedItem Ranking RateLimitError
        RecommendedModel RerankError Scale Scorer ScorerError Scoring ServiceError
        SglangScorer Span StopScoring Store TeiScorer TorchCrossEncoder TrimContext Trimmer
        Usage VoyageScorer Windowed __version__ arerank list_models load_scorer rerank
    """,
    "rerank_core.bulk": "RerankBatch",
    "rerank_core.evaluation": """
        DEFAULT_METRICS FIRST_STAGE MEAN Candidate Collection CollectionReport Comparison
        FirstStage Journal KeepChoice KeepRow Latency Moved QueryChange Report System SystemReport
        Task Trimming TuneRow Tuning Verdict calibrate choose_keep evaluate first_stage plot
        read_collection read_run tune
    """,
    "rerank_core.export": "ExportError ExportReport Verification export_model",
    "rerank_core.serving": "create_app",
    "rerank_core.testing": """
        OverlapScorer Reply Request ScriptedScorer ScriptedServer no_waiting
    """,
    "rerank_core.training": "TrainReport train",
    "langchain_rerank": "CrossEncoderModel RerankCompressor RerankRetriever RerankRunnable",
    "langchain_rerank.middleware": "QuerySource RerankMiddleware",
    "llamaindex_rerank": "RerankPostprocessor",
}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_these(module: str) -> None:
    package = importlib.import_module(module)
    assert list(package.__all__) == PUBLIC[module].split()
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_the_core_shows_its_public_names_only() -> None:
    assert dir(rerank_core) == sorted(rerank_core.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = rerank_core.Nothing


def test_importing_the_core_loads_no_library() -> None:
    assert not loaded_by("import rerank_core") & set(HEAVY)


def test_making_a_scorer_loads_no_model() -> None:
    statement = "import rerank_core; rerank_core.load_scorer('nano')"
    assert not loaded_by(statement) & {"onnxruntime", "tokenizers", "numpy"}


def test_scoring_with_the_embedded_model_loads_no_framework() -> None:
    statement = "import rerank_core; rerank_core.load_scorer('nano').score('a', ['b'])"
    loaded = loaded_by(statement)
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "transformers", "langchain_core", "llama_index", "cohere"}


@pytest.mark.parametrize(
    ("adapter", "framework"),
    [("langchain_rerank", "langchain_core"), ("llamaindex_rerank", "llama_index")],
)
def test_an_adapter_loads_its_framework_and_no_model_library(adapter: str, framework: str) -> None:
    loaded = loaded_by(f"import {adapter}")
    assert framework in loaded
    assert not loaded & {"torch", "onnxruntime", "sentence_transformers", "cohere"}


def test_every_package_says_it_is_typed() -> None:
    root = Path(rerank_core.__file__).parent
    assert (root / "py.typed").exists()
    for name in ("langchain_rerank", "llamaindex_rerank"):
        module = __import__(name)
        assert (Path(str(module.__file__)).parent / "py.typed").exists()


def test_the_rooms_keep_to_their_floors() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", project, "--no-cache"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
