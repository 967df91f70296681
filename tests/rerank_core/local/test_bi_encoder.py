from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from rerank_core import (
    BiEncoderScorer,
    ConfigurationError,
    InvalidInputError,
    MissingExtraError,
    Scale,
    StopScoring,
    load_scorer,
)
from support.bi_encoders import build_bi_encoder
from support.models import WORDS, TinyModel

TEXTS = ["drug discovery", "river mountain", "python list " * 5, "health"]


@pytest.fixture(scope="module")
def model(tiny: Callable[..., TinyModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bi_encoder(tiny("bert").torch, tmp_path_factory.mktemp("bi") / "tiny-bi")


def test_it_gives_the_cosines_of_sentence_transformers(model: Path) -> None:
    vectors = SentenceTransformer(str(model), device="cpu").encode(["drug", *TEXTS])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scorer = BiEncoderScorer(str(model))
    scoring = scorer.score("drug", TEXTS)
    assert scoring.scores == pytest.approx((vectors[1:] @ vectors[0]).tolist(), abs=1e-5)
    assert (scorer.name, scorer.scale) == ("bi:tiny-bi", Scale.LOGIT)


def test_embeddings_have_length_one_and_their_own_order(model: Path) -> None:
    scorer = BiEncoderScorer(str(model), batch_tokens=8)
    steps: list[tuple[int, int]] = []
    vectors = scorer.embed_documents(TEXTS, progress=lambda *step: steps.append(step))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4))
    assert vectors[3] == pytest.approx(scorer.embed_queries([TEXTS[3]])[0], abs=1e-5)
    assert len(steps) > 1
    assert steps[-1] == (4, 4)
    assert scorer.embed_documents([]).shape == (0, 32)


def test_prompts_are_used_and_can_be_replaced(
    tiny: Callable[..., TinyModel], model: Path, tmp_path: Path
) -> None:
    prompts = {"query": "question ", "passage": "passage "}
    saved = BiEncoderScorer(
        str(build_bi_encoder(tiny("bert").torch, tmp_path / "prompted", prompts))
    )
    plain = BiEncoderScorer(str(model))
    given = BiEncoderScorer(str(model), query_prompt="question ", document_prompt="passage ")
    by_hand = plain.embed_queries(["question drug"])[0] @ plain.embed_documents(["passage list"])[0]
    assert saved.score("drug", ["list"]).scores == pytest.approx([by_hand], abs=1e-5)
    assert given.score("drug", ["list"]).scores == pytest.approx([by_hand], abs=1e-5)
    assert plain.score("drug", ["list"]).scores != pytest.approx([by_hand], abs=1e-5)
    assert len({saved.fingerprint, plain.fingerprint}) == 2
    assert given.fingerprint != plain.fingerprint


def test_precision_and_attention_are_options(model: Path) -> None:
    halves = BiEncoderScorer(str(model), dtype="bfloat16", attn_implementation="eager")
    peer = SentenceTransformer(str(model), device="cpu", model_kwargs={"torch_dtype": "bfloat16"})
    vectors = peer.encode(TEXTS, normalize_embeddings=True)
    assert halves.embed_documents(TEXTS) == pytest.approx(vectors, abs=0.02)
    written = halves.to_config()
    assert (written["dtype"], written["attn_implementation"]) == ("bfloat16", "eager")
    assert load_scorer(written).fingerprint == halves.fingerprint
    others = (BiEncoderScorer(str(model)), BiEncoderScorer(str(model), dtype="bfloat16"))
    assert halves.fingerprint not in [other.fingerprint for other in others]
    with pytest.raises(ConfigurationError, match="dtype must be"):
        BiEncoderScorer(str(model), dtype="int8")  # type: ignore[arg-type]


def test_long_texts_are_cut_and_counted(model: Path) -> None:
    scorer = BiEncoderScorer(str(model), max_length=8)
    long = " ".join(WORDS)
    scoring = scorer.score("drug", [long, "list"])
    assert scoring.usage.truncated == 1
    # What lies behind the cut does not count.
    assert scorer.score("drug", [long + " list" * 5000]).scores == pytest.approx(scoring.scores[:1])
    assert BiEncoderScorer(str(model), max_length=32).fingerprint != scorer.fingerprint


def test_stopping_early_keeps_what_was_scored(model: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise StopScoring

    scoring = BiEncoderScorer(str(model), batch_tokens=1).score("drug", TEXTS, progress=stop)
    assert scoring.scores[0] is not None
    assert scoring.scores[1:] == (None, None, None)
    assert scoring.degraded == "stopped early: 1 of 4 texts scored"


def test_it_loads_by_name_and_configuration(model: Path) -> None:
    scorer = load_scorer(f"bi:{model}")
    assert isinstance(scorer, BiEncoderScorer)
    again = load_scorer(json.loads(json.dumps(scorer.to_config())))
    assert again.fingerprint == scorer.fingerprint == pickle.loads(pickle.dumps(scorer)).fingerprint
    assert repr(scorer) == f"BiEncoderScorer({str(model)!r})"


def test_pickled_weights_are_not_loaded(model: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(model, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigurationError, match="safetensors"):
        BiEncoderScorer(str(folder)).load()


def test_code_in_the_folder_is_not_run(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "coded")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "evil.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigurationError, match=r"code of its own \(evil\.Module\)"):
        BiEncoderScorer(str(folder)).load()
    assert not (tmp_path / "ran").exists()
    (folder / "modules.json").write_text("[{}]")
    with pytest.raises(ConfigurationError, match=r"modules\.json cannot be read"):
        BiEncoderScorer(str(folder)).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"max_length": 0}, "max_length"),
        ({"batch_tokens": -1}, "batch_tokens"),
        ({"query_prompt": 5}, "query_prompt"),
    ],
)
def test_options_out_of_range_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigurationError, InvalidInputError), match=message):
        BiEncoderScorer(**{"model": "owner/model", **options})


def test_more_tokens_than_positions_are_refused(model: Path) -> None:
    with pytest.raises(ConfigurationError, match="65 is more than the 64 positions"):
        BiEncoderScorer(str(model), max_length=65).score("q", ["a"])


def test_a_model_out_of_reach_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="'owner/nowhere' could not be loaded"):
        BiEncoderScorer("owner/nowhere", local_files_only=True).score("q", ["a"])


def test_without_the_extra_the_install_line_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[torch\]"'):
        BiEncoderScorer("owner/model").score("q", ["a"])
