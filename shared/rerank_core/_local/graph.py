"""One ONNX graph: runs batches of pairs, and turns its output into scores."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rerank_core._concurrency import no_forks
from rerank_core._errors import ConfigurationError, ScorerError
from rerank_core._local.external_data import external_data
from rerank_core._local.failures import failures_as, loading
from rerank_core._local.pairs import round_up
from rerank_core._local.settings import Activation

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from rerank_core._local.head import Head
    from rerank_core._local.pairs import EncodedPairs

__all__ = [
    "PADDING_MULTIPLE",
    "Graph",
    "apply_activation",
    "padded_width",
    "quantises_activations",
    "to_logits",
]

PADDING_MULTIPLE = 8

_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_SHOWN = 300  # characters of what a graph says in a message
_OUTPUTS = ("tensor(float)", "tensor(float16)", "tensor(double)")


class Graph:
    """Runs batches of pairs; safe from several threads.

    Each run uses only the calling thread: with several threads, one batch on each is faster than
    one batch on all of them. They share one session.

    Args:
        path: The ONNX file.
        providers: Execution providers, in order of preference.
        head: Head of a graph that gives the states of its last layer; None if it gives scores.

    Raises:
        ConfigurationError: If the file cannot be loaded, has unknown inputs or no scores, reads
            weights from outside of its folder, or a provider is not available.
    """

    def __init__(self, path: Path, providers: Sequence[str], head: Head | None = None) -> None:
        with no_forks():
            import onnxruntime as ort

        missing = sorted(set(providers) - set(ort.get_available_providers()))
        if missing:
            raise ConfigurationError(
                f"providers {missing} are not available; this onnxruntime has "
                f"{ort.get_available_providers()}"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: its warnings are for authors of graphs
        with loading(f"{path} cannot be loaded as an ONNX model"):
            external_data(path)  # checks them: a pipe would never end
            with no_forks():
                self._session = ort.InferenceSession(
                    str(path),
                    options,
                    providers=list(providers),
                    # The fusion of a norm and its sum takes four times as long as the two nodes
                    # do, which is a tenth of an int8 BERT's time.
                    disabled_optimizers=["SkipLayerNormFusion"],
                )
        self._path = path
        inputs = {node.name: node.type for node in self._session.get_inputs()}
        unknown = set(inputs) - set(_INPUTS) or set(inputs.values()) - set(_DTYPES)
        if "input_ids" not in inputs or unknown:
            raise ConfigurationError(
                f"{path} has the inputs {str(inputs)[:_SHOWN]}; a cross-encoder has integer "
                f"inputs named {', '.join(_INPUTS)}"
            )
        self._inputs = {name: _DTYPES[kind] for name, kind in inputs.items()}
        outputs = {node.name: node.type for node in self._session.get_outputs()}
        self._head = head
        self._output = "logits" if "logits" in outputs else next(iter(outputs), "")
        if head is not None:
            self._output = head.output
        if outputs.get(self._output) not in _OUTPUTS:
            raise ConfigurationError(
                f"{path} has the outputs {str(outputs)[:_SHOWN]}; a cross-encoder has "
                "floating-point scores, named 'logits' or first"
            )

    def run(
        self, pairs: Sequence[tuple[EncodedPairs, int]], pad_token_id: int
    ) -> npt.NDArray[np.float64]:
        """Score one batch.

        Args:
            pairs: The encoded pairs, each with its row in them.
            pad_token_id: Id of the token that pads the shorter pairs.

        Returns:
            One logit per pair, shape (pairs,).

        Raises:
            ScorerError: If the run fails.
        """
        width = padded_width(pairs)
        shape = (len(pairs), width)
        with failures_as(lambda _: _failure(*shape)):
            ids = np.full(shape, pad_token_id, dtype=np.int64)
            mask = np.zeros(shape, dtype=np.int64)
            types = np.zeros(shape, dtype=np.int64)
            for i, (encoded, row) in enumerate(pairs):
                head, text, tail = encoded.heads[row], encoded.texts[row], encoded.tail
                start = len(head.ids)
                end = start + len(text)
                length = end + len(tail)
                ids[i, :start], types[i, :start] = head.ids, head.types
                ids[i, start:end], types[i, start:end] = text, encoded.text_type
                ids[i, end:length], types[i, end:length] = tail, encoded.tail_types
                mask[i, :length] = 1
            feed: dict[str, Any] = {
                name: array.astype(self._inputs[name], copy=False)
                for name, array in zip(_INPUTS, (ids, mask, types), strict=True)
                if name in self._inputs
            }
            (outputs,) = self._session.run([self._output], feed)
            if self._head is not None:
                outputs = self._head.scores(outputs, mask)
            return to_logits(outputs, str(self._path), len(pairs))


def _failure(pairs: int, width: int) -> ScorerError:
    return ScorerError(
        f"the model failed on a batch of {pairs} pairs of {width} tokens",
        provider="onnx",
        hint="If memory ran out, lower batch_tokens or max_length",
    )


def padded_width(pairs: Sequence[tuple[EncodedPairs, int]]) -> int:
    """Return the number of tokens of each row of a batch; a single pair is not padded."""
    longest = max(encoded.length(row) for encoded, row in pairs)
    return longest if len(pairs) == 1 else round_up(longest, PADDING_MULTIPLE)


def quantises_activations(path: Path) -> bool:
    """Return whether a graph quantises activations by a scale that it computes from each batch.

    A score of such a graph depends on the other pairs of its batch.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"DynamicQuantize") >= 0


def to_logits(
    outputs: npt.NDArray[np.floating[Any]], model: str, pairs: int
) -> npt.NDArray[np.float64]:
    """Reduce the outputs of a classification head to one logit per pair.

    Args:
        outputs: Shape (pairs,), (pairs, 1) or (pairs, 2). With two labels the second means
            "relevant", and its logit is the difference of the two, since
            softmax(a, b)[1] = sigmoid(b - a).
        model: Name of the model, for the error message.
        pairs: Number of pairs in the batch.

    Returns:
        Shape (pairs,).

    Raises:
        ConfigurationError: If the head has more labels, so that none of them means relevance, or
            the number of rows is another one than that of pairs.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if values.ndim and len(values) != pairs:
        raise ConfigurationError(
            f"model {model!r} gave {len(values)} rows of scores for {pairs} pairs; export it with "
            "a number of rows that is not fixed"
        )
    if values.ndim == 1:
        return values
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim == 2 and values.shape[1] == 2:
        return np.asarray(values[:, 1] - values[:, 0])
    raise ConfigurationError(
        f"model {model!r} is no reranker: its output has shape {values.shape}, but a reranker "
        "has one score, or two labels, per pair"
    )


def apply_activation(activation: Activation, logits: Sequence[float]) -> list[float]:
    """Apply an activation in double precision, so that large logits keep their order."""
    return [float(x) if activation == "identity" else _sigmoid(float(x)) for x in logits]


def _sigmoid(x: float) -> float:
    # Two equal forms: each is used where its exponential cannot overflow. NaN stays NaN.
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))
