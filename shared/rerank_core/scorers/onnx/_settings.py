"""What a model's configuration files say about how to run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rerank_core.scorers._activation import Activation, check_activation, configured_activation
from rerank_core.scorers._length import resolve_max_length
from rerank_core.scorers.onnx._files import ModelFiles, read_object

__all__ = ["ModelSettings", "read_settings"]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model wants to be run.

    Attributes:
        max_length: Most tokens of a pair, by the argument or the model.
        activation: What turns its logits into scores, by the argument or the model.
        pad_token_id: Id of the padding token, where a file states it.
    """

    max_length: int
    activation: Activation
    pad_token_id: int | None


def read_settings(
    files: ModelFiles, max_length: int | None, activation: Activation | None
) -> ModelSettings:
    """Read ``rerank_config.json``, ``config.json`` and ``tokenizer_config.json``; the first wins.

    Args:
        files: The model's files; each configuration file may be missing.
        max_length: The user's choice, or None.
        activation: The user's choice, or None.

    Returns:
        The settings.

    Raises:
        ConfigurationError: If a file is not a JSON object, or `max_length` is more than the
            model has positions for.
    """
    settings: dict[str, Any] = {}
    for name in ("tokenizer_config.json", "config_sentence_transformers.json", "config.json"):
        settings.update(read_object(files.folder / name))
    # In others' files these keys mean a hidden layer's function and a length of generated text.
    settings.pop("activation", None)
    settings.pop("max_length", None)
    settings.update(read_object(files.folder / "rerank_config.json"))
    own = settings.get("activation")
    check_activation(own)
    pad = settings.get("pad_token_id")
    return ModelSettings(
        max_length=resolve_max_length(settings, max_length, files.name),
        activation=activation or own or configured_activation(settings),
        pad_token_id=pad if isinstance(pad, int) else None,
    )
