"""The model to export: loaded under `TorchCrossEncoder`'s rules, and checked to be of a kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rerank_core._errors import ConfigurationError, MissingExtraError
from rerank_core._local.files import read_object
from rerank_core._local.sentence_transformers import saved_activation
from rerank_core._local.settings import Activation, scale_of
from rerank_core._local.torch import TorchCrossEncoder
from rerank_core._scorer import Scorer
from rerank_core._types import Scale

__all__ = ["GATED", "Source", "load_source"]

GATED = "GatedCrossEncoder"
"""What `architectures` in a folder's ``config.json`` says of a model as `_gated` describes it."""

_SUPPORTED = (
    "supported are cross-encoders with a sequence classification head (BERT, RoBERTa, XLM-R, "
    "ModernBERT), and Transformer + Pooling + Dense with the output 'scores'"
)
_MODULES = frozenset({"Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"})


@dataclass(frozen=True)
class Source:
    """A loaded cross-encoder.

    Attributes:
        reference: Gives its logits.
        encoder: The `CrossEncoder` of sentence-transformers.
        modules: Its parts in order, where it is put together from several; else empty.
        revision: Commit on the hub; None for a folder.
        max_length: Most tokens of a pair.
        activation: What turns its logits into scores.
        scale: What those mean.
    """

    reference: Scorer
    encoder: Any
    modules: tuple[Any, ...]
    revision: str | None
    max_length: int
    activation: Activation
    scale: Scale


def load_source(
    model: str, *, revision: str | None, max_length: int | None, activation: Activation | None
) -> Source:
    """Load a cross-encoder on the CPU in fp32, with the plain attention that can be traced.

    Args:
        model: Hub id or folder.
        revision: Branch, tag or commit on the hub.
        max_length: Most tokens of a pair; None for the model's own.
        activation: Instead of the one in the model's configuration.

    Returns:
        The model.

    Raises:
        MissingExtraError: If the extra ``export`` is not installed.
        ConfigurationError: If the model cannot be loaded or is of an unsupported kind.
    """
    try:
        import onnx  # noqa: F401 - quantising needs it
        import sentence_transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("export", "Exporting a model") from error

    if _is_gated(model):
        from rerank_core.export._gated import load_gated

        return load_gated(model, max_length=max_length, activation=activation)
    reference = TorchCrossEncoder(
        model,
        revision=revision,
        device="cpu",
        max_length=max_length,
        activation="identity",
        model_kwargs={"torch_dtype": "float32", "attn_implementation": "eager"},
    )
    loaded = reference._loaded()
    encoder = loaded.encoder
    modules = _modules(encoder, reference.name)
    chosen = activation or saved_activation(encoder)
    return Source(
        reference=reference,
        encoder=encoder,
        modules=modules,
        revision=getattr(encoder.model.config, "_commit_hash", None),
        max_length=loaded.max_length,
        activation=chosen,
        scale=scale_of(chosen),
    )


def _is_gated(model: str) -> bool:
    return read_object(Path(model).expanduser() / "config.json").get("architectures") == [GATED]


def _modules(encoder: Any, name: str) -> tuple[Any, ...]:
    """Return the parts of a model put together from several, and refuse what is unsupported."""
    from torch.nn import Sequential

    # Before sentence-transformers 5.4 every cross-encoder was a single model of transformers.
    modules = tuple(encoder) if isinstance(encoder, Sequential) else ()
    names = [type(module).__name__ for module in modules]
    if len(modules) > 1:
        last = getattr(modules[-1], "module_output_name", None)
        if names[0] != "Transformer" or set(names[1:]) - _MODULES or last != "scores":
            raise ConfigurationError(
                f"model {name!r} is put together from {' + '.join(names)}; {_SUPPORTED}"
            )
    elif not type(encoder.model).__name__.endswith("ForSequenceClassification"):
        raise ConfigurationError(
            f"model {name!r} is a {type(encoder.model).__name__}; {_SUPPORTED}"
        )
    labels = encoder.num_labels if len(modules) > 1 else encoder.model.config.num_labels
    if labels not in (1, 2):
        raise ConfigurationError(
            f"model {name!r} has {labels} labels; a reranker has one score, or two labels"
        )
    prompt = getattr(encoder, "default_prompt_name", None)
    if prompt is not None and getattr(encoder, "prompts", {}).get(prompt):
        raise ConfigurationError(
            f"model {name!r} puts the prompt {prompt!r} before its input, which ONNX folders "
            "cannot hold; run it with torch"
        )
    return modules if len(modules) > 1 else ()
