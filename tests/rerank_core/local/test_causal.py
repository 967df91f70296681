"""Causal rerankers: a language model and a LogitScore of sentence-transformers."""

from __future__ import annotations

import json
import pickle
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer

from rerank_core import ConfigurationError, Scale, TorchCrossEncoder, load_scorer
from rerank_core._local.files import MissingGraphError
from rerank_core._local.fitting import PairFitter
from support.hub import COMMIT, serving
from support.models import TEMPLATE_END, WORDS, TinyModel, build_causal_model

QUERY = "drug query"
TEXTS = ["list error", "python river " * 5, "a", "drug discovery molecule protein", "market " * 90]
PAIRS = [(QUERY, text) for text in TEXTS]


@pytest.fixture(scope="module")
def encoder(causal: Path) -> CrossEncoder:
    made: CrossEncoder = CrossEncoder(str(causal), device="cpu")
    return made


def close(scores: Any) -> Any:
    return pytest.approx([float(score) for score in scores], abs=1e-4)


def measure(encoder: CrossEncoder, pairs: list[tuple[str, str]]) -> list[int]:
    """Count the tokens of pairs as sentence-transformers reads them, without cutting any."""
    if not pairs:
        return []
    whole: Any = {"text": {"truncation": False}}
    mask = encoder.preprocess(pairs, prompt="health care", processing_kwargs=whole)[
        "attention_mask"
    ]
    counts: list[int] = mask.sum(dim=1).tolist()
    return counts


def words(count: int) -> str:
    return " ".join(random.Random(count).choices(WORDS, k=count))


def test_every_way_to_load_it_gives_what_sentence_transformers_predicts(
    causal: Path, encoder: CrossEncoder
) -> None:
    expected = encoder.predict(PAIRS)
    assert expected.max() - expected.min() > 1
    for name in (str(causal), f"torch:{causal}"):
        scorer = load_scorer(name)
        scoring = scorer.score(QUERY, TEXTS)
        assert scoring.scores == close(expected)
        assert (scorer.scale, scorer.max_length) == (Scale.LOGIT, 512)
        assert (scoring.usage.truncated, scoring.usage.truncated_queries) == (0, 0)
    one_by_one = TorchCrossEncoder(str(causal), batch_tokens=1).score(QUERY, TEXTS)
    assert one_by_one.scores == close(expected)
    assert one_by_one.usage.tokens == sum(measure(encoder, PAIRS))
    with pytest.raises(MissingGraphError, match="torch:causal"):
        load_scorer(f"onnx:{causal}").load()


def test_its_name_on_the_hub_is_enough(
    causal: Path, encoder: CrossEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants
    from transformers.utils import hub as transformers_hub

    # One that an earlier test has made asks a hub that is gone, again and again.
    monkeypatch.setattr(transformers_hub, "_hf_api", None, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with serving(causal) as hub:
        address = f"{hub}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", hub)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        scorer = load_scorer("owner/model")
        assert scorer.score(QUERY, TEXTS).scores == close(encoder.predict(PAIRS))
    assert f"torch:owner/model@{COMMIT}" in scorer.fingerprint


@pytest.mark.parametrize(
    "graph", [("last_hidden_state", ["past_key_values.0.key"]), ("logits", ["position_ids"])]
)
def test_a_graph_of_a_language_model_beside_it_is_no_reranker(
    causal: Path, encoder: CrossEncoder, tmp_path: Path, graph: tuple[str, list[str]]
) -> None:
    folder = shutil.copytree(causal, tmp_path / "causal")
    (folder / "onnx").mkdir()
    output, inputs = graph
    shape: list[str | int | None] = ["batch", "sequence", 8]
    made = helper.make_graph(
        [helper.make_node("Identity", [inputs[0]], [output])],
        "language-model",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(made), folder / "onnx" / "model.onnx")
    assert load_scorer(folder).score(QUERY, TEXTS).scores == close(encoder.predict(PAIRS))


@pytest.mark.parametrize("instruction", ["market list", ""])
def test_an_instruction_is_the_prompt_of_sentence_transformers(
    causal: Path, encoder: CrossEncoder, instruction: str
) -> None:
    saved = TorchCrossEncoder(str(causal))
    scorer = TorchCrossEncoder(str(causal), instruction=instruction)
    expected = encoder.predict(PAIRS, prompt=instruction)
    assert abs(expected - encoder.predict(PAIRS)).max() > 0.01
    written = json.loads(json.dumps(scorer.to_config()))
    assert written == {"type": "torch", "model": str(causal), "instruction": instruction}
    for same in (scorer, load_scorer(written), pickle.loads(pickle.dumps(scorer))):
        assert same.score(QUERY, TEXTS).scores == close(expected)
        assert same.fingerprint == scorer.fingerprint != saved.fingerprint


def test_an_instruction_begins_the_query_of_a_model_without_a_template(
    tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    plain = CrossEncoder(str(tiny().torch), device="cpu")
    expected = plain.predict(PAIRS[:3], prompt="health care ")
    for options in ({"prompts": {"care": "health care "}, "default_prompt_name": "care"}, {}):
        CrossEncoder(str(tiny().torch), device="cpu", **options).save_pretrained(str(tmp_path))
        instruction = None if options else "health care "
        scorer = TorchCrossEncoder(str(tmp_path), device="cpu", instruction=instruction)
        assert scorer.score(QUERY, TEXTS[:3]).scores == close(expected)
        without = TorchCrossEncoder(str(tmp_path), device="cpu", instruction="")
        assert without.score(QUERY, TEXTS[:3]).scores == close(plain.predict(PAIRS[:3]))
        long = scorer.score(QUERY, [words(99)])  # the prompt counts, so nothing else cuts the pair
        assert (long.usage.tokens, long.usage.truncated) == (64, 1)
        cut = TorchCrossEncoder(str(tiny().torch), device="cpu").score(
            f"health care {QUERY}", [words(99)]
        )
        assert long.scores == close(cut.scores)


def test_a_template_without_a_place_for_an_instruction_takes_none(tmp_path: Path) -> None:
    folder = build_causal_model(
        tmp_path, template="{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}\n"
        "{% endif %}{% endfor %}"
    )  # fmt: skip
    expected = CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    assert TorchCrossEncoder(str(folder)).score(QUERY, TEXTS).scores == close(expected)
    with pytest.raises(ConfigurationError, match="'causal' takes no instruction: its chat templa"):
        TorchCrossEncoder(str(folder), instruction="health").load()


def test_a_template_that_refuses_instructions_runs_without_one(tmp_path: Path) -> None:
    folder = build_causal_model(
        tmp_path, template="{% for m in messages %}{% if m.role == 'system' %}"
        "{{ raise_exception('no system role') }}{% endif %}{{ m.content }}\n{% endfor %}"
    )  # fmt: skip
    expected = CrossEncoder(str(folder), device="cpu").predict(PAIRS, prompt="")
    scorer = TorchCrossEncoder(str(folder), instruction="")
    assert scorer.score(QUERY, TEXTS).scores == close(expected)
    with pytest.raises(ConfigurationError, match=r"could not be loaded: .*no system role"):
        TorchCrossEncoder(str(folder), instruction="health").load()


@pytest.mark.parametrize("kind", ["text", "chat_template"])
def test_a_limit_that_was_saved_cuts_no_template(
    causal: Path, encoder: CrossEncoder, tmp_path: Path, kind: str
) -> None:
    folder = shutil.copytree(causal, tmp_path / "causal")
    settings = json.loads((folder / "sentence_bert_config.json").read_text())
    settings["processing_kwargs"] = {kind: {"max_length": 100}}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    scorer = TorchCrossEncoder(str(folder))
    scoring = scorer.score(QUERY, TEXTS)
    assert (scorer.max_length, scoring.usage.truncated) == (100, 1)
    assert scoring.scores[:4] == close(encoder.predict(PAIRS[:4]))
    assert 95 < scorer.score(QUERY, [words(500)]).usage.tokens <= 100


def test_a_template_that_leaves_the_texts_out_is_refused(causal: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(causal, tmp_path / "causal")
    (folder / "chat_template.jinja").write_text("{{ messages[0].role }} is asked")
    with pytest.raises(ConfigurationError, match=r"could not be loaded.*cannot carry a 'query'"):
        TorchCrossEncoder(str(folder)).load()


def test_without_a_template_the_pair_is_read_as_it_is(tmp_path: Path) -> None:
    folder = build_causal_model(tmp_path, template="")
    pairs = [(QUERY, text) for text in TEXTS]
    expected = CrossEncoder(str(folder), device="cpu").predict(pairs)
    assert TorchCrossEncoder(str(folder)).score(QUERY, TEXTS).scores == close(expected)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (QUERY, words(700)),
        (words(400), words(300)),
        (QUERY, words(10_000)),
        (words(2_000), "drug discovery"),
        (words(2_000), words(10_000)),
        (words(2_000), "\u00e9" * 30_000),
    ],
)
def test_the_end_of_the_template_outlives_every_cut(
    causal: Path, encoder: CrossEncoder, query: str, text: str
) -> None:
    tokenizer = Tokenizer.from_str(encoder.tokenizer.backend_tokenizer.to_str())
    fitter = PairFitter(tokenizer, 512, measure=partial(measure, encoder))
    (short,) = fitter.fit(query, [text])
    assert text.startswith(short.text)
    ids = encoder.preprocess([short[:2]], prompt="health care")["input_ids"][0]
    assert encoder.tokenizer.decode(ids).endswith(TEMPLATE_END)
    scoring = TorchCrossEncoder(str(causal)).score(query, [text])
    assert scoring.scores == close(encoder.predict([short[:2]]))
    assert 500 < scoring.usage.tokens == short.length == len(ids) <= 512
    assert scoring.usage.truncated == (len(text) > 100)
    assert scoring.usage.truncated_queries == (len(query) > 100)


@pytest.mark.parametrize("text", [*TEXTS, "[SEP]", " python  ", "\u00e9\n\n", "q" * 40])
def test_a_pair_that_just_fits_is_not_cut(encoder: CrossEncoder, text: str) -> None:
    tokenizer = Tokenizer.from_str(encoder.tokenizer.backend_tokenizer.to_str())
    query = "drug discovery query"
    (length,) = measure(encoder, [(query, text)])
    fits, less = (
        PairFitter(tokenizer, most, measure=partial(measure, encoder)).fit(query, [text])[0]
        for most in (length, length - 1)
    )
    assert fits == (query, text, length, False, False)
    assert less.length < length
    assert less.text_cut or less.query_cut
