"""How many tokens of a pair a model reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rerank_core.errors import ConfigurationError

__all__ = ["resolve_max_length"]

_UNSTATED_LENGTH = 512
# Tokenizers that know no limit state one of 10^30.
_NO_LIMIT = 10**6
# These count positions from the padding id + 1, so that many of them are out of reach.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"})


def resolve_max_length(settings: Mapping[str, Any], chosen: int | None, model: str) -> int:
    """Take the user's choice, or else the least limit that the model's configuration states.

    Args:
        settings: The merged content of the model's configuration files: ``max_length``,
            ``model_max_length`` and ``max_position_embeddings`` count.
        chosen: The user's choice, or None.
        model: Name of the model, for the error.

    Returns:
        Most tokens of a pair, special tokens included; 512 where nothing states a limit.

    Raises:
        ConfigurationError: If the choice is more than the model has positions for.
    """
    positions = settings.get("max_position_embeddings")
    if isinstance(positions, int) and settings.get("model_type") in _OFFSET_POSITIONS:
        pad = settings.get("pad_token_id")
        positions -= (pad if isinstance(pad, int) else 1) + 1
    if chosen is not None:
        if isinstance(positions, int) and chosen > positions:
            raise ConfigurationError(
                f"max_length {chosen} is more than the {positions} positions of model {model!r}"
            )
        return chosen
    stated = (settings.get("max_length"), settings.get("model_max_length"), positions)
    limits = [limit for limit in stated if isinstance(limit, int) and 0 < limit < _NO_LIMIT]
    return min(limits, default=_UNSTATED_LENGTH)
