"""Tiny real cross-encoders with random weights, built on the spot for torch and ONNX Runtime."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = """
a an the of in and to is for with on by from what how which who drug discovery
molecule protein neural network deep learning model language vision health care
patient hospital market price stock river mountain weather storm python function
list error string file search rank query document passage answer question token
score retrieval index
""".split()


_MODERNBERT: dict[str, Any] = {"reference_compile": False, "local_attention": 16}
_OPTIONS: dict[str, dict[str, Any]] = {
    "bert": {"type_vocab_size": 2},
    "electra": {"type_vocab_size": 2, "embedding_size": 16},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 16,
        "type_vocab_size": 0,
    },
    "modernbert": _MODERNBERT,
    "modernbert-mean": {**_MODERNBERT, "classifier_pooling": "mean"},
}
FAMILIES = ("roberta", "xlm-roberta", *_OPTIONS)
"""Families of models, by their names in transformers; that "-mean" pools all tokens."""
_WITH_TYPES = ("bert", "electra")


@dataclass(frozen=True)
class TinyModel:
    """Folders of one tiny model, for torch and for ONNX Runtime."""

    torch: Path
    onnx: Path


def build_tiny_model(
    folder: Path, family: str, labels: int = 1, seed: int = 0, *, with_graph: bool = True
) -> TinyModel:
    """Build a cross-encoder of a family of `FAMILIES`.

    The weights are random but wide enough that different texts get clearly different scores.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch_folder, onnx_folder = folder / "torch", folder / "onnx-model"
    _save_tokenizer(torch_folder, family)
    tokenizer_config = json.loads((torch_folder / "tokenizer_config.json").read_text())
    vocabulary = json.loads((torch_folder / "tokenizer.json").read_text())["model"]["vocab"]
    positions = 66 if family in ("roberta", "xlm-roberta") else 64
    config = AutoConfig.for_model(
        family.removesuffix("-mean"),
        vocab_size=len(vocabulary) + 8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        num_labels=labels,
        pad_token_id=tokenizer_config["pad_token_id"],
        attn_implementation="eager",
        **_OPTIONS.get(family, {}),
    )
    torch.manual_seed(seed)
    make: Any = AutoModelForSequenceClassification.from_config
    model = make(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(torch_folder)
    onnx_folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(torch_folder / name, onnx_folder / name)
    if with_graph:
        _export(model, onnx_folder / "model.onnx", with_types=family in _WITH_TYPES)
    return TinyModel(torch_folder, onnx_folder)


def build_modular_model(
    folder: Path, pooling: str | tuple[str, ...] = "cls", activation: str = "GELU"
) -> Path:
    """Build a cross-encoder in the layout of ``cross-encoder/ettin-reranker-17m-v1``.

    The folder has torch weights and, in ``onnx/model.onnx``, the ModernBERT without its head, which
    is in modules: Pooling, Dense, LayerNorm, Dense.

    Args:
        folder: Empty folder to write to.
        pooling: Pooling of sentence-transformers, or several, whose vectors are joined.
        activation: Class of torch's that follows the first Dense.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.sentence_transformer.modules.layer_norm import LayerNorm
    from sentence_transformers.sentence_transformer.modules.pooling import Pooling

    tiny, target = build_tiny_model(folder / "tiny", "modernbert"), folder / "modular"
    transformer = Transformer(str(tiny.torch))
    width = transformer.model.config.hidden_size * (1 if isinstance(pooling, str) else len(pooling))
    torch.manual_seed(1)
    made: Any = Pooling(transformer.model.config.hidden_size, pooling)
    middle = Dense(width, 24, bias=False, activation_function=getattr(torch.nn, activation)())
    last = Dense(24, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
    norm = LayerNorm(24)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.randn(parameter.shape) / 2)
        last.linear.weight.mul_(3)
    CrossEncoder(modules=[transformer, made, middle, norm, last]).save_pretrained(str(target))
    (target / "onnx").mkdir()
    _export(
        transformer.model,
        target / "onnx" / "model.onnx",
        with_types=False,
        output="last_hidden_state",
    )
    return target


# As those of Qwen3-Reranker: the instruction, the query and the text, and then what the model would
# go on from.
_TEMPLATE = """[CLS]system
Judge whether the document answers the query.[SEP]
[CLS]user
<Instruct>: {{ messages | selectattr("role", "eq", "system") | map(attribute="content") | first \
| default("search", true) }}
<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}
<Document>: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") \
| first }}[SEP]
[CLS]assistant
<think>

</think>
"""
TEMPLATE_END = "[SEP]\n[CLS]assistant\n<think>\n\n</think>"
"""The template's end, which a causal model reads after the text."""


def build_causal_model(folder: Path, *, template: str = _TEMPLATE) -> Path:
    """Build a causal reranker in the layout of Qwen3-Reranker: Transformer and LogitScore.

    It has 512 positions, and the prompt "health care" as its default. Its scores are logits.

    Args:
        folder: Empty folder to write to.
        template: The chat template; empty for none.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules.transformer import Transformer
    from sentence_transformers.cross_encoder.modules.logit_score import LogitScore
    from transformers import Qwen3Config, Qwen3ForCausalLM

    body, target = folder / "body", folder / "causal"
    _save_tokenizer(body, "qwen3")
    vocabulary = json.loads((body / "tokenizer.json").read_text())["model"]["vocab"]
    config = Qwen3Config(
        vocab_size=len(vocabulary) + 8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        pad_token_id=vocabulary["[PAD]"],
    )
    torch.manual_seed(0)
    model: Any = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(body)
    if template:
        (body / "chat_template.jinja").write_text(template)
    transformer = Transformer(
        str(body),
        transformer_task="text-generation",
        processor_kwargs={"model_max_length": 512},
    )
    CrossEncoder(
        modules=[transformer, LogitScore(vocabulary["y"], vocabulary["n"])],
        prompts={"care": "health care"} if template else None,
        default_prompt_name="care" if template else None,
        activation_fn=torch.nn.Identity(),
    ).save_pretrained(str(target))
    return target


def quantise(source: Path, target: Path) -> Path:
    """Copy an ONNX folder, its graph dynamically quantised to int8."""
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    target.mkdir()
    for path in source.glob("*.json"):
        shutil.copy(path, target / path.name)
    logging.disable(logging.WARNING)  # it advises a pre-processing that dynamic graphs lack
    try:
        quantize_dynamic(
            source / "model.onnx",
            target / "model.onnx",
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
    return target


def _export(model: Any, path: Path, with_types: bool, output: str = "logits") -> None:
    import torch

    class Output(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any, types: Any = None) -> Any:
            extra = {} if types is None else {"token_type_ids": types}
            return self.model(input_ids=ids, attention_mask=mask, **extra)[output]

    ids = torch.full((2, 12), 5, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    arguments = (ids, mask, torch.zeros_like(ids)) if with_types else (ids, mask)
    names = ["input_ids", "attention_mask", "token_type_ids"][: len(arguments)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter warns about itself
        torch.onnx.export(
            Output().eval(),
            arguments,
            str(path),
            input_names=names,
            output_names=[output],
            dynamic_axes={
                name: {0: "batch", 1: "sequence"} for name in (*names, "last_hidden_state")
            },
            opset_version=17,
            dynamo=False,
        )


def _save_tokenizer(folder: Path, family: str) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

    corpus = [" ".join(WORDS[i : i + 7]) for i in range(len(WORDS))] * 3
    bert_like = "roberta" not in family
    word_pieces = family in ("bert", "electra", "distilbert")
    start, end, pad, unknown = (
        ("[CLS]", "[SEP]", "[PAD]", "[UNK]") if bert_like else ("<s>", "</s>", "<pad>", "<unk>")
    )
    special = [pad, unknown, start, end] if bert_like else [start, pad, end, unknown]
    trainer: Any
    if word_pieces:
        tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    elif family == "xlm-roberta":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = UnigramTrainer(
            vocab_size=300, special_tokens=special, unk_token=unknown, show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = BpeTrainer(
            vocab_size=500,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    tokenizer.train_from_iterator(corpus, trainer)
    ids = {token: tokenizer.token_to_id(token) or 0 for token in special}
    if family == "roberta":
        tokenizer.post_processor = processors.RobertaProcessing(
            (end, ids[end]), (start, ids[start]), add_prefix_space=False
        )
    else:
        pair = f"{start} $A {end} $B:1 {end}:1" if word_pieces else f"{start} $A {end} $B {end}"
        if family == "xlm-roberta":
            pair = f"{start} $A {end} {end} $B {end}"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}",
            pair=pair,
            special_tokens=[(start, ids[start]), (end, ids[end])],
        )
    folder.mkdir(parents=True)
    # As many saved tokenizers do, this one carries truncation and padding that must not apply.
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16, pad_id=ids[pad], pad_token=pad)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if family in _WITH_TYPES else [])
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        "pad_token_id": ids[pad],
        "pad_token": pad,
        "unk_token": unknown,
        "cls_token": start,
        "sep_token": end,
        "model_input_names": names,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
