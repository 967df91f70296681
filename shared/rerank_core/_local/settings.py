"""Settings of a model, by the user or its files: maximum length, activation, padding token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rerank_core._checks import check_choice, describe, optional
from rerank_core._errors import ConfigurationError
from rerank_core._local.files import ModelFiles
from rerank_core._local.reading import read_object
from rerank_core._types import Scale

__all__ = [
    "Activation",
    "ModelSettings",
    "check_activation",
    "configured_activation",
    "padding_id",
    "read_settings",
    "resolve_max_length",
    "scale_of",
]

Activation = Literal["identity", "sigmoid"]

# Names in configurations that sentence-transformers saves.
_TORCH_NAMES: Mapping[str, Activation] = {"Identity": "identity", "Sigmoid": "sigmoid"}


def check_activation(activation: object) -> Activation | None:
    """Return the activation if it is known or None.

    Raises:
        ConfigurationError: If it is unknown.
    """
    return optional(check_choice, activation, "activation", get_args(Activation))


def configured_activation(settings: Mapping[str, Any]) -> Activation:
    """Read the activation from a model's configuration.

    Args:
        settings: The merged content of the model's configuration files.

    Returns:
        The activation that sentence-transformers saved (under
        ``sentence_transformers.activation_fn``, ``activation_fn`` or, before 4.0,
        ``sbert_ce_default_activation_function``), else ``"sigmoid"``, its documented default for
        one label: https://sbert.net/docs/package_reference/cross_encoder/cross_encoder.html

    Raises:
        ConfigurationError: If the activation is unknown.
    """
    nested = settings.get("sentence_transformers")
    saved = (
        (nested.get("activation_fn") if isinstance(nested, Mapping) else None)
        or settings.get("activation_fn")
        or settings.get("sbert_ce_default_activation_function")
    )
    if saved is None:
        return "sigmoid"
    short = str(saved).rsplit(".", 1)[-1]
    if short not in _TORCH_NAMES:
        raise ConfigurationError(
            f"the model's configuration has the unknown activation {describe(saved)}; "
            "pass activation='identity' or activation='sigmoid'"
        )
    return _TORCH_NAMES[short]


def scale_of(activation: Activation) -> Scale:
    """Return the scale of the scores that an activation gives."""
    return Scale.LOGIT if activation == "identity" else Scale.UNIT


_DEFAULT_LENGTH = 512
# Tokenizers without a limit have a `model_max_length` of 10^30.
_NO_LIMIT = 10**6
_MOST_ID = 2**31 - 1
# Models that number positions from the padding id + 1, and so cannot use that many of them.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"})


def resolve_max_length(settings: Mapping[str, Any], chosen: int | None, model: str) -> int:
    """Return the user's choice, or else the smallest limit in the model's configuration.

    Args:
        settings: The merged content of the model's configuration files; ``max_length``,
            ``model_max_length`` and ``max_position_embeddings`` are limits.
        chosen: The user's choice, or None.
        model: Name of the model, for the error message.

    Returns:
        Maximum number of tokens of a pair, special tokens included; 512 if there is no limit.

    Raises:
        ConfigurationError: If the choice is greater than the number of the model's positions.
    """
    positions = _number(settings, "max_position_embeddings")
    kind = settings.get("model_type")
    if positions is not None and isinstance(kind, str) and kind in _OFFSET_POSITIONS:
        pad = padding_id(settings)
        positions -= (1 if pad is None else pad) + 1
    if chosen is not None:
        if positions is not None and chosen > positions:
            raise ConfigurationError(
                f"max_length {chosen} is more than the {positions} positions of model {model!r}"
            )
        return chosen
    stated = (_number(settings, "max_length"), _number(settings, "model_max_length"), positions)
    limits = [limit for limit in stated if limit is not None and 0 < limit < _NO_LIMIT]
    return min(limits, default=_DEFAULT_LENGTH)


def padding_id(settings: Mapping[str, Any]) -> int | None:
    """Return the id of the padding token; None if there is none.

    Raises:
        ConfigurationError: If it is no number, or greater than any token's id.
    """
    found = _number(settings, "pad_token_id")
    if found is not None and found > _MOST_ID:
        raise ConfigurationError(
            f"pad_token_id {describe(found)} in the model's configuration is no token's id; it "
            f"must be at most {_MOST_ID}"
        )
    return found


def _number(settings: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number of a configuration; None if there is none, or it is negative."""
    value = settings.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or (isinstance(value, int) and value < 0):  # -1 is how some say "none"
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigurationError(
            f"{name} in the model's configuration must be a whole number, not {describe(value)}"
        )
    return value


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Settings that a model is run with.

    Attributes:
        max_length: Maximum number of tokens of a pair.
        activation: Activation that turns logits into scores.
        pad_token_id: Id of the padding token, if a file has it.
    """

    max_length: int
    activation: Activation
    pad_token_id: int | None


def read_settings(
    files: ModelFiles, max_length: int | None, activation: Activation | None
) -> ModelSettings:
    """Read a model's settings from its configuration files.

    Args:
        files: The model's files; any configuration file may be missing.
        max_length: The user's choice, or None.
        activation: The user's choice, or None.

    Returns:
        The user's choices, completed from ``rerank_config.json``, ``config.json``,
        ``config_sentence_transformers.json``, ``sentence_bert_config.json`` (in a folder with
        ``modules.json``) and ``tokenizer_config.json``, in this order of precedence.

    Raises:
        ConfigurationError: If a file is not a JSON object, or `max_length` is greater than the
            number of the model's positions.
    """
    settings: dict[str, Any] = {}
    for name in ("tokenizer_config.json", "config_sentence_transformers.json", "config.json"):
        settings.update(read_object(files.folder / name))
    # Only beside this list does sentence-transformers read the limit that it saved long ago.
    if (files.folder / "modules.json").exists():
        saved = read_object(files.folder / "sentence_bert_config.json").get("max_seq_length")
        settings["model_max_length"] = saved or settings.get("model_max_length")
    # In these files the keys are a hidden layer's function and the length of generated text.
    settings.pop("activation", None)
    settings.pop("max_length", None)
    settings.update(read_object(files.folder / "rerank_config.json"))
    own = settings.get("activation")
    check_activation(own)
    return ModelSettings(
        max_length=resolve_max_length(settings, max_length, files.name),
        activation=activation or own or configured_activation(settings),
        pad_token_id=padding_id(settings),
    )
