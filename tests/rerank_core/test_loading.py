from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rerank_core import (
    CohereScorer,
    ConfigurationError,
    OnnxCrossEncoder,
    Scale,
    ServiceError,
    SglangScorer,
    TeiScorer,
    TorchCrossEncoder,
    VoyageScorer,
    arerank,
    load_scorer,
)
from rerank_core._loading import shared_scorer
from rerank_core._local.auto import HubCrossEncoder
from rerank_core.testing import OverlapScorer
from support.models import TinyModel
from support.odd import nested


def test_a_scorer_comes_back_as_it_is() -> None:
    scorer = OverlapScorer()
    assert load_scorer(scorer) is scorer


@pytest.mark.parametrize(
    ("spec", "cls", "name"),
    [
        ("nano", OnnxCrossEncoder, "nano"),
        ("onnx:nano", OnnxCrossEncoder, "nano"),
        ("onnx:owner/model", OnnxCrossEncoder, "owner/model"),
        ("torch:owner/model", TorchCrossEncoder, "owner/model"),
        ("cohere:rerank-v3.5", CohereScorer, "rerank-v3.5"),
        ("tei:http://127.0.0.1:8080", TeiScorer, "tei"),
        ("voyage:rerank-2.5", VoyageScorer, "rerank-2.5"),
        ("sglang:http://127.0.0.1:30000", SglangScorer, "sglang"),
        ("owner/model", HubCrossEncoder, "owner/model"),
    ],
)
def test_names(spec: str, cls: type, name: str) -> None:
    scorer = load_scorer(spec)
    assert type(scorer) is cls
    assert name in scorer.name
    assert type(load_scorer(scorer.to_config())) is cls


def test_a_folder_runs_on_what_it_holds(tiny: Callable[..., TinyModel]) -> None:
    onnx, torch = load_scorer(str(tiny().onnx)), load_scorer(str(tiny().torch))
    assert isinstance(onnx, HubCrossEncoder)
    assert isinstance(torch, HubCrossEncoder)
    assert isinstance(onnx.scorer, OnnxCrossEncoder)
    assert isinstance(torch.scorer, TorchCrossEncoder)
    file = load_scorer(str(tiny().onnx / "model.onnx"))
    assert file.score("drug", ["list"]).scores == onnx.score("drug", ["list"]).scores
    assert pickle.loads(pickle.dumps(onnx)).fingerprint == onnx.fingerprint


@pytest.mark.parametrize("candidates", [[], ["", "\u200b"]])
def test_where_there_is_nothing_to_score_no_model_is_looked_up(candidates: list[str]) -> None:
    scorer = OnnxCrossEncoder("owner/no-such-model")
    ranking = asyncio.run(arerank("q", candidates, scorer))
    assert (len(ranking), ranking.scale) == (len(candidates), Scale.LOGIT)


@pytest.mark.parametrize(
    "spec",
    [
        "nanoo",
        "rerank-v3.5",
        "openai:gpt",
        "onnx:",
        "cohere: ",
        "",
        "  ",
        "a/b c",
        "x" * 5000,
        3,
        None,
    ],
)
def test_an_unknown_name_lists_what_works(spec: object) -> None:
    with pytest.raises(ConfigurationError, match=r'what works: "nano".*"onnx:.*"torch:.*"cohere:'):
        load_scorer(spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("rerank-v5.0-pro", "did you mean 'cohere:rerank-v5.0-pro'"),
        ("rerank-english-v3.0", "did you mean 'cohere:rerank-english-v3.0'"),
        ("rerank-2.5-lite", "did you mean 'voyage:rerank-2.5-lite'"),
        ("voyag:rerank-2.5", "did you mean 'voyage:rerank-2.5'"),
        ("nim:nvidia/rerank", "make a NimScorer in code, or pass its configuration; what works"),
        ("cached:nano", "make a Cached in code"),
    ],
)
def test_a_close_name_is_suggested(spec: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        load_scorer(spec)


@pytest.mark.parametrize(
    "spec", ["./nowhere", "/no/such/model.onnx", "~/nowhere-at-all", "~nobody"]
)
def test_a_path_that_is_not_there_says_so(spec: str) -> None:
    with pytest.raises(ConfigurationError, match="no such file or folder"):
        load_scorer(spec)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "type None"),
        ({"type": "magic", "model": "x"}, "type 'magic'"),
        ({"type": "onnx", "model": "nano", "top_n": 3}, "top_n"),
        ({"type": "hub", "model": "a/b", "device": "cpu"}, "device"),
        ({"type": "hub"}, "model"),
        ({"type": "onnx", "model": "nano", "instruction": "i"}, "'onnx' does not fit: .*'instruc"),
        ({"type": "bi", "model": "a/b", "instruction": "i"}, "'bi' does not fit: .*'instruction'"),
        ({"type": "tei", "base_url": "http://h", "instruction": "i"}, "unexpected .*'instruction'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_named(
    config: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_scorer(config)


def test_a_hub_model_out_of_reach_names_the_file() -> None:
    with pytest.raises(
        ServiceError, match=r"owner/model/onnx/model\.onnx is not in the local cache"
    ):
        load_scorer("owner/model").score("q", ["a"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "cached", "scorer": "nano", "paht": "x"}, "'cached' does not fit: .*'paht'"),
        ({"type": "cascade", "stages": [["nano", 2], "nano"], "kep": 3}, "'kep'"),
        ({"type": "cascade", "stages": []}, "'cascade' does not fit"),
        ({"type": "cascade", "stages": [["nano"], "nano"]}, "'cascade' does not fit"),
        ({"type": "windowed"}, "'windowed' lacks 'scorer'"),
        ({"type": "deadline", "seconds": 1}, "'deadline' lacks 'scorer'"),
        ({"type": "cached"}, "'cached' does not fit: .*'scorer'"),
        ({"type": "fallback"}, "'fallback' does not fit: .*'scorers'"),
        ({"type": "fallback", "scorers": "nano"}, "scorers must be a list"),
        ({"type": "onnx", "model": "nano", "max_lenght": 5}, "'max_lenght'"),
        ({"type": "onnx", "model": nested(100_000, list)}, "'onnx' does not fit"),
        ({"type": "torch", "model": "a/b", "model_kwargs": "x"}, "'torch' does not fit"),
        ({"type": nested(100_000, list)}, r"type <list object at .*>"),
        ({"type": "onnx", "model": "nano", "x" * 1_000_000: 1}, "'onnx' does not fit: .{500}$"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_scorer(config)  # type: ignore[arg-type]


def test_deep_wide_and_endless_configurations_are_refused() -> None:
    deep: dict[str, Any] = {"type": "onnx", "model": "nano"}
    wide: dict[str, Any] = {"type": "fallback", "scorers": [deep] * 1000}
    for _ in range(500):
        deep = {"type": "fallback", "scorers": [deep]}
    endless: dict[str, Any] = {"type": "deadline", "seconds": 1}
    endless["scorer"] = endless
    doubled: dict[str, Any] = {"type": "onnx", "model": "nano"}
    for _ in range(30):
        doubled = {"type": "fallback", "scorers": [doubled, doubled]}
    for config in (deep, wide, endless, doubled):
        for load in (load_scorer, shared_scorer):
            with pytest.raises(ConfigurationError, match="at most 32 levels and 1000 scorers"):
                load(config)


def test_a_name_longer_than_any_path_is_cut_in_the_message() -> None:
    with pytest.raises(ConfigurationError, match=r"scorer 'x{56}\.\.\. is no name"):
        load_scorer("x" * 1_000_000)


def test_a_kept_name_is_not_taken_for_another(
    tmp_path: Path, tiny: Callable[..., TinyModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m").symlink_to(tiny().onnx)
    monkeypatch.chdir(tmp_path)
    here = shared_scorer("onnx:./m")
    assert shared_scorer("onnx:./m") is here
    monkeypatch.chdir(tmp_path.parent)
    assert shared_scorer("onnx:./m") is not here
    cohere = shared_scorer("cohere:rerank-v3.5")
    monkeypatch.setenv("CO_API_URL", "https://rerank.example.com")
    assert shared_scorer("cohere:rerank-v3.5") is not cohere
