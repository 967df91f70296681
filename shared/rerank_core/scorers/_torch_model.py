"""Loading a sentence-transformers cross-encoder safely, and calling it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from rerank_core.errors import ConfigurationError, MissingExtraError, ScorerError
from rerank_core.scorers._activation import Activation, configured_activation
from rerank_core.scorers._length import resolve_max_length
from rerank_core.scorers._names import local_path, model_name

if TYPE_CHECKING:
    from rerank_core.scorers._pairs import PairEncoder

__all__ = ["LoadedModel", "load_model", "predict", "saved_activation"]


class LoadedModel(NamedTuple):
    """A model and what was read off it; the type of `encoder` differs between versions."""

    encoder: Any
    pairs: PairEncoder
    activation: Activation
    max_length: int
    identity: str


def load_model(
    model: str,
    options: Mapping[str, Any],
    token: str | bool | None,
    activation: Activation | None,
) -> LoadedModel:
    """Load a cross-encoder, and read off it how it is to be run.

    Args:
        model: Hub id or folder.
        options: Arguments of ``CrossEncoder``; those that are None are left out.
        token: Access token for private models.
        activation: Instead of the saved one.

    Raises:
        MissingExtraError: If sentence-transformers is not installed.
        ConfigurationError: If the model cannot be loaded.
    """
    from tokenizers import Tokenizer

    from rerank_core.scorers._pairs import PairEncoder

    encoder = _load_encoder(model, options, token)
    chosen = activation or saved_activation(encoder)
    limits = {
        **encoder.config.to_dict(),
        "max_length": None,  # a generation setting in configurations of transformers
        "model_max_length": encoder.tokenizer.model_max_length,
    }
    max_length = resolve_max_length(limits, options["max_length"], model_name(model))
    fast = getattr(encoder.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise ConfigurationError(f"model {model_name(model)!r} has no fast tokenizer")
    # A copy: transformers sets truncation and padding on its own with every call.
    pairs = PairEncoder(Tokenizer.from_str(fast.to_str()), max_length)
    commit = getattr(encoder.model.config, "_commit_hash", None)
    identity = commit or _hash(local_path(model))
    return LoadedModel(encoder, pairs, chosen, max_length, identity)


def saved_activation(encoder: Any) -> Activation:
    """Return the activation that a loaded ``CrossEncoder`` was saved with."""
    # With one label sentence-transformers has read the configuration; with two it does not tell
    # a default from a choice.
    named = {"activation_fn": type(encoder.activation_fn).__name__}
    return configured_activation(named if encoder.num_labels == 1 else encoder.config.to_dict())


def predict(encoder: Any, pairs: list[tuple[str, str]]) -> Any:
    """Return the logits of one batch.

    Raises:
        ScorerError: If the model fails.
    """
    from torch.nn import Identity

    try:
        return encoder.predict(
            pairs,
            batch_size=len(pairs),
            activation_fn=Identity(),
            convert_to_numpy=True,
            show_progress_bar=False,
        )
    except (RuntimeError, ValueError, IndexError) as error:
        raise ScorerError(
            f"the model failed on a batch of {len(pairs)} pairs: {type(error).__name__}",
            provider="torch",
            hint="If memory ran out, lower batch_tokens or max_length",
        ) from error


def _load_encoder(model: str, options: Mapping[str, Any], token: str | bool | None) -> Any:
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError("torch", "TorchCrossEncoder") from error
    chosen = {name: value for name, value in options.items() if value is not None}
    if token is not None:
        chosen["token"] = token
    if "backend" not in chosen:
        chosen["model_kwargs"] = {**chosen.get("model_kwargs", {}), "use_safetensors": True}
    known = inspect.signature(CrossEncoder.__init__).parameters
    if "processor_kwargs" in chosen and "processor_kwargs" not in known:
        chosen["tokenizer_kwargs"] = chosen.pop("processor_kwargs")  # its name before 5.4
    unknown = sorted(set(chosen) - set(known) - {"tokenizer_kwargs"})
    if unknown:
        raise ConfigurationError(
            f"the installed sentence-transformers does not know {', '.join(unknown)}; upgrade it"
        )
    try:
        return CrossEncoder(model, **chosen)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"model {model!r} could not be loaded: {error}; it must be a folder or hub id of a "
            "cross-encoder with safetensors weights, in the local cache or within reach"
        ) from error


def _hash(folder: Path | None) -> str:
    if folder is None:  # neither a folder nor a commit: nothing says which weights these are
        return uuid4().hex
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".onnx", ".bin"}:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()
