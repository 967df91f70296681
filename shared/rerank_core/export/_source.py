"""Loading the model to export, and checking that it is supported."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from rerank_core._errors import ConfigurationError
from rerank_core._local.cross_encoder import LoadedCrossEncoder, saved_activation
from rerank_core._local.failures import loading, tokenizing
from rerank_core._local.pairs import PairEncoder
from rerank_core._local.reading import folder_files, read_object, read_tokenizer
from rerank_core._local.sentence_transformers import hub_commit
from rerank_core._local.settings import Activation, resolve_max_length
from rerank_core._local.torch import TorchCrossEncoder
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring
from rerank_core._usage import Usage
from rerank_core.export._gated import GatedCrossEncoder

__all__ = ["Source", "load_source"]

_SUPPORTED = (
    "supported are cross-encoders with a sequence classification head (BERT, RoBERTa, XLM-R, "
    "ModernBERT), and Transformer + Pooling + Dense with the output 'scores'"
)
_MODULES = frozenset({"Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"})


@dataclass(frozen=True)
class Source:
    """A loaded cross-encoder.

    Attributes:
        reference: Scorer that returns the model's logits.
        model: The torch module; it has a `config`.
        modules: The modules of a sentence-transformers pipeline in order; empty for a model of
            transformers.
        tokenizer: The tokenizer, without truncation and padding.
        input_names: Names of the inputs that the tokenizer produces.
        pad_token_id: Id of the padding token.
        revision: Commit on the hub; None for a local folder.
        max_length: Maximum number of tokens in a pair, including special tokens.
        activation: Function that turns the logits into scores.
    """

    reference: Scorer
    model: Any
    modules: tuple[Any, ...]
    tokenizer: Tokenizer
    input_names: Sequence[str]
    pad_token_id: int | None
    revision: str | None
    max_length: int
    activation: Activation


def load_source(
    model: str, *, revision: str | None, max_length: int | None, activation: Activation | None
) -> Source:
    """Load a cross-encoder on the CPU, in fp32 and with eager attention, which can be traced.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the hub.
        max_length: Maximum number of tokens in a pair; None for the model's own.
        activation: Activation to use instead of the one in the model's configuration.

    Returns:
        The model.

    Raises:
        ConfigurationError: If the model cannot be loaded or is not supported.
    """
    config = read_object(Path(model).expanduser() / "config.json")
    if config.get("architectures") == [GatedCrossEncoder.__name__]:
        return _load_gated(Path(model).expanduser(), config, max_length, activation)
    reference = _TorchReference(
        model,
        revision=revision,
        device="cpu",
        max_length=max_length,
        activation="identity",
        dtype="float32",
        attn_implementation="eager",
    )
    encoder = reference.loaded.encoder
    modules = _modules(encoder, reference.name)
    tokenizer = Tokenizer.from_str(encoder.tokenizer.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Source(
        reference=reference,
        model=encoder.model,
        modules=modules,
        tokenizer=tokenizer,
        input_names=encoder.tokenizer.model_input_names,
        pad_token_id=encoder.tokenizer.pad_token_id,
        revision=hub_commit(model, {"revision": revision}),
        max_length=reference.loaded.max_length,
        activation=activation or saved_activation(encoder),
    )


class _TorchReference(TorchCrossEncoder):
    """A `TorchCrossEncoder` that gives access to its model."""

    @property
    def loaded(self) -> LoadedCrossEncoder:
        """The model; it is loaded on first access."""
        return self._loaded()


class _GatedReference(Scorer):
    """Scorer that returns the logits of a `GatedCrossEncoder`, one pair at a time.

    Args:
        model: The model.
        tokenizer: Its tokenizer, which truncates texts to the maximum length.
        name: Name of the model.
        fingerprint: Fingerprint of the model's weights and maximum length.
    """

    name = ""
    scale = Scale.LOGIT
    fingerprint = ""

    def __init__(
        self, model: GatedCrossEncoder, tokenizer: Tokenizer, name: str, fingerprint: str
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self.name, self.fingerprint = name, fingerprint

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        scores: list[float | None] = []
        for text in texts:
            with tokenizing():
                pair = self._tokenizer.encode(query, text)
            inputs = (pair.ids, pair.attention_mask, pair.type_ids)
            with torch.no_grad():
                scores.append(float(self._model(*(torch.tensor([values]) for values in inputs))))
            progress(len(scores), len(texts))
        return Scoring(tuple(scores), Usage(pairs=len(texts)))


def _load_gated(
    folder: Path, config: Mapping[str, Any], max_length: int | None, activation: Activation | None
) -> Source:
    if folder / "tokenizer.json" not in folder_files(folder):
        raise ConfigurationError(f"model {folder.name!r} has no tokenizer.json")
    model = GatedCrossEncoder(folder)
    longest = resolve_max_length(config, max_length, folder.name)
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    with loading(f"the tokenizer of model {folder.name!r} cannot be used"):
        PairEncoder(tokenizer, longest)  # raises if the length leaves no room for a text
    truncating = Tokenizer.from_str(tokenizer.to_str())
    truncating.enable_truncation(longest, strategy="only_second")
    weights = hashlib.blake2b((folder / "model.safetensors").read_bytes(), digest_size=16)
    fingerprint = f"gated:{folder.name}@{weights.hexdigest()}:max_length={longest}"
    return Source(
        reference=_GatedReference(model, truncating, folder.name, fingerprint),
        model=model,
        modules=(),
        tokenizer=tokenizer,
        input_names=("input_ids", "token_type_ids", "attention_mask"),
        pad_token_id=model.config.pad_token_id,
        revision=None,
        max_length=longest,
        activation=activation or "identity",
    )


def _modules(encoder: Any, name: str) -> tuple[Any, ...]:
    """Return the modules of a sentence-transformers pipeline, if the model is one.

    Raises:
        ConfigurationError: If the model is not supported.
    """
    # Before sentence-transformers 5.4 every cross-encoder was a single model of transformers.
    several = isinstance(encoder, torch.nn.Sequential) and len(encoder) > 1
    modules = tuple(encoder) if several else ()
    if several:
        names = [type(module).__name__ for module in modules]
        if names[-1] == "LogitScore":
            raise ConfigurationError(
                f"model {name!r} is a causal language model, which is not exported: run it on "
                "torch, as TorchCrossEncoder or 'torch:MODEL' does"
            )
        output = getattr(modules[-1], "module_output_name", None)
        known = names[0] == "Transformer" and _MODULES.issuperset(names[1:]) and output == "scores"
        kind, labels = f"a pipeline of {' + '.join(names)}", encoder.num_labels
    else:
        kind, labels = f"a {type(encoder.model).__name__}", encoder.model.config.num_labels
        known = kind.endswith("ForSequenceClassification")
    if not known:
        raise ConfigurationError(f"model {name!r} is {kind}; {_SUPPORTED}")
    if labels not in (1, 2):
        raise ConfigurationError(
            f"model {name!r} has {labels} labels; a cross-encoder for reranking has one or two"
        )
    prompt = getattr(encoder, "default_prompt_name", None)
    if prompt is not None and getattr(encoder, "prompts", {}).get(prompt):
        raise ConfigurationError(
            f"model {name!r} puts the prompt {prompt!r} before its input, which an exported "
            "folder cannot do; use TorchCrossEncoder instead"
        )
    return modules
