from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from rerank_core import (
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    Scale,
    TorchCrossEncoder,
    load_scorer,
)
from support.models import WORDS, TinyModel

TEXTS = ["drug discovery", "river mountain", "python list " * 5, "health"]


def test_it_gives_the_scores_of_sentence_transformers(tiny: Callable[..., TinyModel]) -> None:
    path = str(tiny().torch)
    expected = CrossEncoder(path, device="cpu").predict([("drug", text) for text in TEXTS])
    scoring = TorchCrossEncoder(path, device="cpu").score("drug", TEXTS)
    assert scoring.scores == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_scale_follows_the_activation(tiny: Callable[..., TinyModel]) -> None:
    path = str(tiny().torch)
    assert TorchCrossEncoder(path, device="cpu").scale is Scale.UNIT
    assert TorchCrossEncoder(path, device="cpu", activation="identity").scale is Scale.LOGIT
    saved = CrossEncoder(path, device="cpu", activation_fn=torch.nn.Identity())
    assert saved.num_labels == 1


def test_a_saved_activation_is_used(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    model = CrossEncoder(str(tiny().torch), device="cpu", activation_fn=torch.nn.Identity())
    model.save_pretrained(str(tmp_path / "saved"))
    assert TorchCrossEncoder(str(tmp_path / "saved"), device="cpu").scale is Scale.LOGIT


def test_only_the_text_is_cut_and_counted(tiny: Callable[..., TinyModel]) -> None:
    scorer = TorchCrossEncoder(str(tiny().torch), device="cpu", max_length=32)
    query = " ".join(WORDS[:8])
    long = " ".join(WORDS)
    scoring = scorer.score(query, [long, "list"])
    assert scoring.usage.truncated == 1
    # What lies behind the cut does not count, though the query is long.
    other_end = " ".join(WORDS[:30]) + " list" * 40
    assert scorer.score(query, [other_end]).scores == pytest.approx(scoring.scores[:1])


def test_options_reach_sentence_transformers(tiny: Callable[..., TinyModel]) -> None:
    scorer = TorchCrossEncoder(
        str(tiny().torch),
        device="cpu",
        model_kwargs={"torch_dtype": "bfloat16"},
        processor_kwargs={"model_max_length": 48},
        local_files_only=True,
        batch_tokens=16,
    )
    steps: list[tuple[int, int]] = []
    scorer.score("drug", TEXTS, progress=lambda *step: steps.append(step))
    assert len(steps) > 1
    assert "bfloat16" in scorer.fingerprint
    assert "max_length=48" in scorer.fingerprint
    assert scorer.to_config()["processor_kwargs"] == {"model_max_length": 48}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["bert", "modular", "causal"])
def test_weights_of_a_precision_give_the_scores_of_sentence_transformers(
    tiny: Callable[..., TinyModel],
    modular: Callable[..., Path],
    causal: Path,
    kind: str,
    dtype: Any,
) -> None:
    path = str({"bert": tiny().torch, "modular": modular(), "causal": causal}[kind])
    theirs = CrossEncoder(path, device="cpu", model_kwargs={"torch_dtype": dtype})
    scorer = TorchCrossEncoder(path, device="cpu", dtype=dtype)
    # As logits: releases of sentence-transformers differ in the precision of their sigmoid.
    logits = theirs.predict([("drug", t) for t in TEXTS], activation_fn=torch.nn.Identity())
    expected = logits if kind == "causal" else 1 / (1 + np.exp(-logits))
    assert scorer.score("drug", TEXTS).scores == pytest.approx(expected, abs=1e-4)
    assert f"dtype=torch.{dtype}:" in scorer.fingerprint
    written = scorer.to_config()
    assert written == {"type": "torch", "model": path, "device": "cpu", "dtype": dtype}
    assert load_scorer(written).fingerprint == scorer.fingerprint


def test_weights_are_computed_as_they_were_saved_by_default(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    halves = CrossEncoder(str(tiny().torch), device="cpu", model_kwargs={"torch_dtype": "bfloat16"})
    halves.save_pretrained(str(tmp_path))
    assert "dtype=torch.bfloat16" in TorchCrossEncoder(str(tmp_path), device="cpu").fingerprint
    whole = TorchCrossEncoder(str(tmp_path), device="cpu", dtype="float32")
    assert "dtype=torch.float32" in whole.fingerprint


def test_attention_is_computed_as_asked(tiny: Callable[..., TinyModel], causal: Path) -> None:
    for path in (str(tiny().torch), str(causal)):
        plain, *others = (
            TorchCrossEncoder(path, device="cpu", attn_implementation=name)
            for name in (None, "eager", "sdpa")
        )
        expected = plain.score("drug", TEXTS).scores
        for scorer in others:
            assert scorer.score("drug", TEXTS).scores == pytest.approx(expected, abs=1e-4)
            assert scorer.fingerprint != plain.fingerprint
    with pytest.raises(ConfigurationError, match=r"could not be loaded: .*[Ff]lash"):
        TorchCrossEncoder(path, device="cpu", attn_implementation="flash_attention_2").load()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_gpu_gives_the_order_of_a_cpu(causal: Path, dtype: Any) -> None:
    here = TorchCrossEncoder(str(causal), device="cpu", dtype="float32").score("drug", TEXTS)
    there = TorchCrossEncoder(str(causal), device="cuda", dtype=dtype).score("drug", TEXTS)
    assert there.scores == pytest.approx(here.scores, abs=0.2)


def test_a_token_never_leaves(tiny: Callable[..., TinyModel]) -> None:
    scorer = TorchCrossEncoder(str(tiny().torch), device="cpu", token="hf_secret")
    assert "hf_secret" not in f"{scorer!r} {scorer.to_config()} {scorer.fingerprint}"
    assert b"hf_secret" not in pickle.dumps(scorer)


def test_pickled_weights_are_not_loaded(tiny: Callable[..., TinyModel], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny().torch, tmp_path / "pickled")
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match="safetensors"):
        TorchCrossEncoder(str(folder), device="cpu").load()
    with pytest.raises(ConfigurationError, match="use_safetensors=False would unpickle"):
        TorchCrossEncoder(str(folder), model_kwargs={"use_safetensors": False})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"activation": "gelu"}, "activation"),
        ({"max_length": 0}, "max_length"),
        ({"batch_tokens": -1}, "batch_tokens"),
        ({"instruction": 3}, "instruction must be a str, not 3"),
        ({"dtype": "int8"}, "dtype must be one of 'float32', 'bfloat16', 'float16'"),
        ({"dtype": "float61"}, "did you mean 'float16'"),
        ({"attn_implementation": "flash"}, "attn_implementation must be one of 'eager', "),
        ({"attn_implementation": "owner/kernel"}, "attn_implementation must be"),
        ({"dtype": "float16", "model_kwargs": {"torch_dtype": "float32"}}, "dtype is in model_kw"),
        ({"dtype": "float16", "model_kwargs": {"dtype": "float32"}}, "dtype is in model_kwargs"),
        ({"dtype": "float16", "backend": "onnx"}, "dtype is for backend='torch', not 'onnx'"),
    ],
)
def test_options_out_of_range_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigurationError, InvalidInputError), match=message):
        TorchCrossEncoder(**{"model": "owner/model", **options})


def test_a_model_out_of_reach_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="'owner/nowhere' could not be loaded"):
        TorchCrossEncoder("owner/nowhere", local_files_only=True).score("q", ["a"])


def test_more_tokens_than_positions_are_refused(tiny: Callable[..., TinyModel]) -> None:
    with pytest.raises(ConfigurationError, match="65 is more than the 64 positions"):
        TorchCrossEncoder(str(tiny().torch), device="cpu", max_length=65).score("q", ["a"])


def test_without_the_extra_the_install_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[torch\]"'):
        TorchCrossEncoder("owner/model").score("q", ["a"])


def test_options_count_in_the_fingerprint(tiny: Callable[..., TinyModel]) -> None:
    path = str(tiny().torch)
    plain = TorchCrossEncoder(path, device="cpu")
    other = TorchCrossEncoder(path, device="cpu", config_kwargs={"hidden_dropout_prob": 0.3})
    assert plain.fingerprint != other.fingerprint
    assert plain.fingerprint == TorchCrossEncoder(path, device="cpu").fingerprint


def test_what_is_no_plain_value_cannot_be_written() -> None:
    scorer = TorchCrossEncoder("owner/model", model_kwargs={"torch_dtype": torch.float16})
    with pytest.raises(ConfigurationError, match="cannot be written"):
        scorer.to_config()
    assert TorchCrossEncoder("owner/model", device="cpu").to_config()["device"] == "cpu"


@pytest.mark.parametrize("name", ["model_kwargs", "processor_kwargs", "config_kwargs"])
def test_a_token_in_the_wrong_place_is_refused(name: str) -> None:
    options: dict[str, Any] = {name: {"token": "hf_secret"}}
    with pytest.raises(ConfigurationError, match=name) as caught:
        TorchCrossEncoder("owner/model", **options)
    assert "hf_secret" not in str(caught.value)


def test_a_progress_callback_may_wait_for_another_thread(tiny: Callable[..., TinyModel]) -> None:
    scorer = TorchCrossEncoder(str(tiny().torch), device="cpu", batch_tokens=1)
    with ThreadPoolExecutor(1) as pool:

        def wait(done: int, total: int) -> None:
            pool.submit(scorer.score, "drug", ["health"]).result(60)

        scoring = scorer.score("drug", ["list", "river"], progress=wait)
    assert scoring.usage.pairs == 2
