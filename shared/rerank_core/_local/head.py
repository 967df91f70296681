"""The head of a modular cross-encoder: the modules that sentence-transformers runs after its graph.

Such a model's ONNX file gives the states of the last layer. Pooling, Dense and LayerNorm, listed in
``modules.json`` and each saved in a folder of its own, turn them into scores:
https://sbert.net/docs/package_reference/sentence_transformer/modules.html
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from rerank_core._checks import describe
from rerank_core._errors import ConfigurationError
from rerank_core._local.failures import loading
from rerank_core._local.reading import check_file, read_json, read_object, read_tensors

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Head", "read_head", "weight_names"]

Array: TypeAlias = "npt.NDArray[np.floating[Any]]"

_WEIGHTS = "model.safetensors"
_MOST_MODULES = 32
_EPSILON = 1e-5  # of torch's LayerNorm; it is not saved
# In the order in which sentence-transformers joins the vectors of several.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


class _Step(NamedTuple):
    """A module: the value that it reads, the value that it makes, and how."""

    reads: str
    makes: str
    run: Callable[[Array, npt.NDArray[np.int64]], Array]


class Head(NamedTuple):
    """Turns the states of a graph's last layer into scores.

    Attributes:
        output: Name of the graph's output that has the states.
        files: Files that the head was read from.
        steps: The modules after the graph, in order.
    """

    output: str
    files: tuple[Path, ...]
    steps: tuple[_Step, ...]

    def scores(self, states: Array, mask: npt.NDArray[np.int64]) -> Array:
        """Return the scores of a batch.

        Args:
            states: Shape (pairs, tokens, width).
            mask: Shape (pairs, tokens); 1 for the tokens of a pair, 0 for its padding.

        Returns:
            Shape (pairs, labels).

        Raises:
            ConfigurationError: If the head is not one for states of this shape.
        """
        values = {"token_embeddings": states}
        try:
            with np.errstate(all="ignore"):  # scores that are no numbers are refused later
                for step in self.steps:
                    values[step.makes] = step.run(values[step.reads], mask)
        except (ValueError, IndexError) as error:
            raise ConfigurationError(
                f"{self.files[0]} does not fit the graph, whose states have shape "
                f"{np.shape(states)}: {error}"
            ) from error
        return values["scores"]


def weight_names(folder: Path) -> list[str]:
    """Return the names of the files in a model's folder that hold the weights of its head.

    Raises:
        ConfigurationError: If ``modules.json`` cannot be read or composed.
    """
    return [f"{path}/{_WEIGHTS}" for kind, path in _modules(folder) if kind != "Pooling"]


def read_head(folder: Path, output: str) -> Head:
    """Read the head of a modular cross-encoder.

    Args:
        folder: The model's folder, with ``modules.json``.
        output: Name of the graph's output that has the states.

    Raises:
        ConfigurationError: If there is no head, a file is missing or malformed, or a module is
            unknown here.
    """
    with loading(f"the modules in {folder} cannot be read"):
        modules = list(_modules(folder))
        _check_inputs(folder)
        files, steps = [folder / "modules.json"], []
        for kind, path in modules:
            files.append(folder / path / "config.json")
            check_file(files[-1])
            config = read_object(files[-1])
            if kind == "Pooling":
                steps.append(_Step("token_embeddings", "sentence_embedding", _pooling(config)))
                continue
            files.append(folder / path / _WEIGHTS)
            weights = read_tensors(files[-1])
            if kind == "LayerNorm":
                steps.append(_Step("sentence_embedding", "sentence_embedding", _norm(weights)))
                continue
            reads = str(config.get("module_input_name") or "sentence_embedding")
            makes = str(config.get("module_output_name") or reads)
            steps.append(_Step(reads, makes, _dense(config, weights)))
    made = {"token_embeddings"}
    for step in steps:
        if step.reads not in made:
            raise _unknown(folder, f"a module reads {step.reads!r}, which none before it makes")
        made.add(step.makes)
    if "scores" not in made:
        raise _unknown(folder, "no module makes scores")
    return Head(output, tuple(files), tuple(steps))


def _modules(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the kind and the path of each module after the first, which is the graph."""
    file = folder / "modules.json"
    if not file.exists():
        raise ConfigurationError(f"{folder} has no modules.json that describes a head")
    with loading(f"{file} cannot be read"):
        described = [(str(each["type"]), str(each["path"])) for each in read_json(file)]
    if len(described) > _MOST_MODULES:
        raise _unknown(folder, f"there are {len(described)} modules")
    for position, (name, path) in enumerate(described):
        kind = name.rpartition(".")[2]
        known = ("Transformer",) if position == 0 else ("Pooling", "Dense", "LayerNorm")
        parts = PurePosixPath(path).parts
        # A module that is saved elsewhere than sentence-transformers saves it.
        elsewhere = bool(parts) is not bool(position) or {"..", "/"} & set(parts) or "\\" in path
        if kind not in known or not name.startswith("sentence_transformers.") or elsewhere:
            raise _unknown(folder, f"the module {describe(name)} in {describe(path)} is unknown")
        if position:
            yield kind, path


def _check_inputs(folder: Path) -> None:
    """Refuse what changes the text that the graph reads, or what is read from the graph."""
    config = read_object(folder / "sentence_bert_config.json")
    kinds = config.get("modality_config", ("text",))
    prompts = read_object(folder / "config_sentence_transformers.json")
    reason = (
        (config.get("transformer_task", "feature-extraction") != "feature-extraction" and "task")
        or (config.get("module_output_name", "token_embeddings") != "token_embeddings" and "output")
        or ("text" not in kinds and "modality")
        or (config.get("do_lower_case") and "do_lower_case")
        or (config.get("processing_kwargs") and "processing_kwargs")
        or (prompts.get("default_prompt_name") and "default prompt")
    )
    if reason:
        raise _unknown(folder, f"its setting of the {reason} is not supported")


def _unknown(folder: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"the head in {folder / 'modules.json'} cannot be composed: {reason}")


def _pooling(config: Mapping[str, Any]) -> Callable[[Array, npt.NDArray[np.int64]], Array]:
    flags = [mode for flag, mode in _POOLING_FLAGS.items() if config.get(flag)]
    modes = config.get("pooling_mode") or flags or "mean"
    if isinstance(modes, str):
        modes = [modes]
    unknown = [mode for mode in modes if mode not in _POOLINGS]
    if unknown:
        raise ConfigurationError(f"the pooling {describe(unknown[0])} is not supported")
    poolings = [_POOLINGS[mode] for mode in modes]
    return lambda states, mask: np.concatenate([each(states, mask) for each in poolings], axis=-1)


def _first(states: Array, _mask: npt.NDArray[np.int64]) -> Array:
    return np.asarray(states[:, 0], dtype=np.float32)


def _last(states: Array, mask: npt.NDArray[np.int64]) -> Array:
    last = mask.sum(axis=1) - 1
    return np.asarray(states[np.arange(len(states)), last], dtype=np.float32)


def _greatest(states: Array, mask: npt.NDArray[np.int64]) -> Array:
    kept = np.where(mask[:, :, None] == 1, states, -np.inf)
    return np.asarray(kept.max(axis=1), dtype=np.float32)


def _mean(states: Array, mask: npt.NDArray[np.int64]) -> Array:
    # Not a product with the mask, since some graphs give states of padding that are no numbers.
    kept = np.where(mask[:, :, None] == 1, states, np.zeros((), states.dtype))
    total = kept.sum(axis=1, dtype=np.float64)
    return np.asarray(total / mask.sum(axis=1, keepdims=True), dtype=np.float32)


_POOLINGS = {"cls": _first, "lasttoken": _last, "max": _greatest, "mean": _mean}


def _dense(
    config: Mapping[str, Any], weights: Mapping[str, Array]
) -> Callable[[Array, npt.NDArray[np.int64]], Array]:
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _ACTIVATIONS.get(name.rpartition(".")[2])
    if activation is None or not name.startswith("torch."):
        raise ConfigurationError(f"the activation {describe(name)} of a Dense is not supported")
    if config.get("use_residual"):
        raise ConfigurationError("a Dense with use_residual is not supported")
    weight = weights["linear.weight"].T
    bias = weights["linear.bias"] if config.get("bias", True) else np.zeros(1, np.float32)
    if weight.ndim != 2 or bias.shape not in ((1,), weight.shape[1:]):
        raise ConfigurationError(f"weights of shape {weight.shape} have a bias of {bias.shape}")
    return lambda values, _mask: activation(values @ weight + bias)


def _norm(weights: Mapping[str, Array]) -> Callable[[Array, npt.NDArray[np.int64]], Array]:
    weight, bias = weights["norm.weight"], weights["norm.bias"]
    if weight.shape != bias.shape:
        raise ConfigurationError(f"weights of shape {weight.shape} have a bias of {bias.shape}")

    def run(values: Array, _mask: npt.NDArray[np.int64]) -> Array:
        if values.shape[-1:] != weight.shape:
            raise ValueError(f"LayerNorm of {weight.shape} for values of {values.shape}")
        centred = values - values.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
        return np.asarray(centred / deviation * weight + bias)

    return run


def _gelu(values: Array) -> Array:
    scaled = (values / math.sqrt(2)).ravel().tolist()
    erf = np.fromiter(map(math.erf, scaled), np.float32, len(scaled)).reshape(values.shape)
    return np.asarray(values * (1 + erf) / 2)


_ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "Identity": lambda values: values,
    "Tanh": np.tanh,
    "ReLU": lambda values: np.maximum(values, 0),
    "Sigmoid": lambda values: 1 / (1 + np.exp(-values)),
    "GELU": _gelu,
}
