"""From a cross-encoder's raw outputs to scores on a known scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from rerank_core.errors import ConfigurationError
from rerank_core.types import Scale
from rerank_core.validation import check_choice, optional

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Activation",
    "apply_activation",
    "check_activation",
    "configured_activation",
    "scale_of",
    "to_logits",
]

Activation = Literal["identity", "sigmoid"]

# How sentence-transformers spells them in a saved configuration.
_TORCH_NAMES: Mapping[str, Activation] = {"Identity": "identity", "Sigmoid": "sigmoid"}


def check_activation(activation: object) -> Activation | None:
    """Return a known activation or None.

    Raises:
        ConfigurationError: If it is unknown.
    """
    return optional(check_choice, activation, "activation", get_args(Activation))


def configured_activation(settings: Mapping[str, Any]) -> Activation:
    """Read the activation from a model's configuration.

    Args:
        settings: The merged content of the model's configuration files.

    Returns:
        What sentence-transformers saved (under ``sentence_transformers.activation_fn``,
        ``activation_fn`` or, before 4.0, ``sbert_ce_default_activation_function``), else
        ``"sigmoid"``, its documented default for one label: https://sbert.net/docs/package_reference/cross_encoder/cross_encoder.html

    Raises:
        ConfigurationError: If it names an activation we do not know.
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
            f"the model's configuration names the activation {saved!r}, which is unknown here; "
            "pass activation='identity' or activation='sigmoid'"
        )
    return _TORCH_NAMES[short]


def scale_of(activation: Activation) -> Scale:
    """Say what scores mean after an activation."""
    return Scale.LOGIT if activation == "identity" else Scale.UNIT


def to_logits(outputs: npt.NDArray[np.floating[Any]], model: str) -> npt.NDArray[np.float64]:
    """Reduce a head's outputs to one logit per pair.

    Args:
        outputs: Shape (pairs,), (pairs, 1) or (pairs, 2). With two labels the second means
            "relevant", and the difference of the two is its logit, since
            softmax(a, b)[1] = sigmoid(b - a).
        model: Name of the model, for the error.

    Returns:
        Shape (pairs,).

    Raises:
        ConfigurationError: If the head has more labels, so that no column means relevance.
    """
    import numpy as np

    values = np.asarray(outputs, dtype=np.float64)
    if values.ndim == 1:
        return values
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim == 2 and values.shape[1] == 2:
        return np.asarray(values[:, 1] - values[:, 0])
    raise ConfigurationError(
        f"model {model!r} is no reranker: its output has shape {values.shape}, but a reranker "
        "has one score, or two labels, for each pair"
    )


def apply_activation(activation: Activation, logits: Sequence[float]) -> list[float]:
    """Apply an activation, in double precision, so that large logits keep their order."""
    return [float(x) if activation == "identity" else _sigmoid(float(x)) for x in logits]


def _sigmoid(x: float) -> float:
    # Of the two equal forms the one whose exponential cannot overflow. NaN falls through.
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))
