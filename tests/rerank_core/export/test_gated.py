"""The architecture of the embedded model: what is traced gives what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, BertModel

from rerank_core import ConfigurationError, OnnxCrossEncoder
from rerank_core.export import export_model
from rerank_core.export._source import load_source
from rerank_core.training._student import EXPANDED, Student
from support.models import WORDS

QUERY = "what is drug discovery"
TEXTS = [" ".join(WORDS[i : i + 1 + 3 * i]) for i in range(20)]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SHAPE = {"open_layers": 2, "first_content": len(SPECIALS), "expansions": 20}
SPARSE: dict[str, Any] = {
    "vocab_size": len(SPECIALS) + len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def encoder() -> BertModel:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(SPECIALS) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    model: Any = BertModel(config, add_pooling_layer=False)
    encoder: BertModel = model.eval()
    return encoder


@pytest.fixture(scope="module")
def sparse() -> BertForMaskedLM:
    torch.manual_seed(4)
    model: Any = BertForMaskedLM(BertConfig(**SPARSE, initializer_range=0.3))
    torch.nn.init.normal_(model.cls.predictions.bias)
    masked: BertForMaskedLM = model.eval()
    return masked


@pytest.fixture(scope="module")
def student(encoder: BertModel, sparse: BertForMaskedLM) -> Student:
    made = Student(encoder, sparse, **SHAPE).eval()
    with torch.no_grad():  # what starts at zero, and what starts all but closed
        for parameter in (made.gates, made.shared_token, made.late, *made.weigh.parameters()):
            parameter.copy_(torch.randn_like(parameter))
        for layer in (made.head, made.sparse_weight):
            layer.weight.copy_(torch.randn_like(layer.weight) / 8)
    return made


@pytest.fixture
def folder(student: Student, tmp_path: Path) -> Path:
    target = tmp_path / "gated"
    target.mkdir()
    config = {
        "architectures": ["GatedCrossEncoder"],
        "open_layers": 2,
        "first_content_token": len(SPECIALS),
        "max_length": 64,
        "vocab_size": len(SPECIALS) + len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "expanded": EXPANDED,
        "sparse": SPARSE,
    }
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    state = {name: value.contiguous() for name, value in student.state_dict().items()}
    save_file(state, target / "model.safetensors")
    tokenizer().save(str(target / "tokenizer.json"))
    return target


def tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate([*SPECIALS, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS]:0 $A:0 [SEP]:0 [CLS]:1 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def trained_form(
    student: Student, queries: list[str], texts: list[str], of: list[int]
) -> list[float]:
    """Return the scores of the trained form: query and passage apart, padded."""
    encode = tokenizer()
    encode.enable_padding(pad_id=0)
    query, passage = (
        torch.tensor([item.ids for item in encode.encode_batch(side)]) for side in (queries, texts)
    )
    with torch.no_grad():
        logits = student(query, query > 0, passage, passage > 0, torch.tensor(of))
    found: list[float] = logits.tolist()
    return found


def test_the_traced_form_gives_what_the_trained_one_gives(
    student: Student, folder: Path, tmp_path: Path
) -> None:
    expected = trained_form(student, [QUERY], TEXTS, [0] * len(TEXTS))
    assert max(expected) - min(expected) > 1
    export_model(folder, tmp_path / "out", precision="fp32")
    found = OnnxCrossEncoder(tmp_path / "out").score(QUERY, TEXTS)
    assert found.scores == pytest.approx(expected, abs=1e-4)


def test_queries_of_different_length_share_a_batch(
    student: Student, folder: Path, tmp_path: Path
) -> None:
    queries = [QUERY, "protein", "how to search a string in a python list of string"]
    texts = TEXTS[3:6]
    export_model(folder, tmp_path / "out", precision="fp32")
    scorer = OnnxCrossEncoder(tmp_path / "out", batch_tokens=4096)
    found = scorer.score_many(queries, [texts] * 3)
    expected = trained_form(student, queries, texts * 3, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    scores = [score for scoring in found for score in scoring.scores]
    assert scores == pytest.approx(expected, abs=1e-4)


def test_it_begins_as_the_weighted_sum_of_its_parts(
    encoder: BertModel, sparse: BertForMaskedLM
) -> None:
    fresh = Student(encoder, sparse, **SHAPE).eval()
    encode = tokenizer()

    def tokens(text: str) -> torch.Tensor:
        return torch.tensor([encode.encode(text).ids])

    def vector(text: str) -> torch.Tensor:
        states = encoder(tokens(text)).last_hidden_state[0]
        return torch.nn.functional.normalize(states.mean(0), dim=-1)

    def words(text: str) -> torch.Tensor:
        weights: torch.Tensor = sparse(tokens(text)).logits[0].amax(0).relu().log1p()
        return weights

    def product(text: str) -> float:
        own = tokens(QUERY)[0]
        weights = words(QUERY)[:20].clone()
        more = weights.topk(EXPANDED).indices
        read = torch.cat([own, more[~torch.isin(more, own)]])
        return float((words(QUERY) * words(text))[read].sum())

    with torch.no_grad():
        fresh.gates.fill_(-30.0)  # where they start, they let a little through
        tau, weight = float(fresh.tau), float(fresh.sparse_weight.bias)
        dense = [tau * float(vector(QUERY) @ vector(text)) for text in TEXTS]
        sum_ = [one + weight * product(text) for one, text in zip(dense, TEXTS, strict=True)]
    assert max(abs(one - other) for one, other in zip(sum_, dense, strict=True)) > 0.5
    assert trained_form(fresh, [QUERY], TEXTS, [0] * len(TEXTS)) == pytest.approx(sum_, abs=1e-3)


def test_its_settings_are_kept(folder: Path, tmp_path: Path) -> None:
    report = export_model(folder, tmp_path / "out", precision="int8")
    written = json.loads((tmp_path / "out" / "rerank_config.json").read_text("utf-8"))
    assert (written["max_length"], written["activation"], written["scale"]) == (
        64,
        "identity",
        "logit",
    )
    assert report.verification.kendall_tau > 0.8
    assert report.kept_whole == "the score reads every token"


def test_a_folder_that_lacks_something_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["tau"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ConfigurationError, match=r"(?s)'gated' could not be loaded.*tau"):
        load_source(str(folder), revision=None, max_length=None, activation=None)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match="'gated' has no tokenizer"):
        export_model(folder, tmp_path / "out")


def test_a_length_without_room_for_a_text_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="leaves no room"):
        export_model(folder, tmp_path / "out", max_length=5)
    assert export_model(folder, tmp_path / "out", max_length=6).max_length == 6
