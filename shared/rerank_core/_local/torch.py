"""`TorchCrossEncoder`: any sentence-transformers cross-encoder, with our batching around it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core._checks import check_name, check_whole, optional
from rerank_core._errors import ConfigurationError
from rerank_core._local.files import model_name
from rerank_core._local.graph import apply_activation, to_logits
from rerank_core._local.pairs import batch_usage, plan_batches, rounds
from rerank_core._local.sentence_transformers import LoadedCrossEncoder, load_cross_encoder
from rerank_core._local.settings import Activation, check_activation, scale_of
from rerank_core._planning import Tally
from rerank_core._scorer import Scorer
from rerank_core._types import Progress, Scale, Scoring, StopScoring

__all__ = ["TorchCrossEncoder"]

# Padding costs a CPU as much as text; an accelerator is idle unless a batch is large.
_BATCH_TOKENS_CPU = 1024
_BATCH_TOKENS_ACCELERATOR = 16_384


class TorchCrossEncoder(Scorer):
    """A cross-encoder run by sentence-transformers on PyTorch.

    Nothing is loaded before the first scoring (or `load`). Weights come from safetensors files
    only, and no code of the repository runs unless you trust it. Only texts are cut to
    `max_length`, never the query. Calls from several threads take turns: the tokenizer of
    transformers cannot be used by two at once.

    Args:
        model: Hub id or folder of the model.
        revision: Branch, tag or commit on the hub. Default: its main branch.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, … Default: the best there is.
        max_length: Most tokens of a pair, special tokens included. Default: the model's own.
        activation: ``"identity"`` gives logits, ``"sigmoid"`` scores from 0 to 1. Default: what
            the model's configuration says, else ``"sigmoid"``.
        batch_tokens: Most tokens of a batch, padding included. Default: 1,024 on a CPU, 16,384
            elsewhere.
        cache_folder: Where hub models are kept. Default: the hub's cache.
        local_files_only: Never ask the hub. Default: False.
        token: Access token for private models; never shown, pickled or written out. Default:
            HF_TOKEN or the stored login.
        trust_remote_code: Run code from the model's repository. Default: False.
        model_kwargs: For ``from_pretrained`` of the model, such as ``{"torch_dtype": "bfloat16"}``.
        processor_kwargs: For the tokenizer.
        config_kwargs: For the model's configuration.
        backend: ``"torch"``, ``"onnx"`` or ``"openvino"``, as in sentence-transformers.

    Raises:
        ConfigurationError: If an option is wrong. That a model cannot be loaded shows at first
            use.
    """

    _cuts_pairs = True

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        device: str | None = None,
        max_length: int | None = None,
        activation: Activation | None = None,
        batch_tokens: int | None = None,
        cache_folder: str | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        trust_remote_code: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        backend: str = "torch",
    ) -> None:
        for name, options in (
            ("model_kwargs", model_kwargs),
            ("processor_kwargs", processor_kwargs),
            ("config_kwargs", config_kwargs),
        ):
            if {"token", "use_auth_token"} & set(options or {}):
                raise ConfigurationError(
                    f"{name} holds a token; pass it as token, which is kept secret"
                )
        if (model_kwargs or {}).get("use_safetensors") is False:
            raise ConfigurationError(
                "model_kwargs use_safetensors=False would unpickle the weights, which can run any "
                "code; convert them to safetensors"
            )
        self._model = check_name(model, "model", "cross-encoder/ettin-reranker-17m-v1")
        self._activation = check_activation(activation)
        self._batch_tokens = optional(check_whole, batch_tokens, "batch_tokens")
        self._token = token
        self._options: dict[str, Any] = {
            "revision": revision,
            "device": None if device is None else str(device),
            "max_length": optional(check_whole, max_length, "max_length"),
            "cache_folder": cache_folder,
            "local_files_only": local_files_only or None,
            "trust_remote_code": trust_remote_code or None,
            "model_kwargs": model_kwargs and dict(model_kwargs),
            "processor_kwargs": processor_kwargs and dict(processor_kwargs),
            "config_kwargs": config_kwargs and dict(config_kwargs),
            "backend": None if backend == "torch" else backend,
        }
        self._model_in_use: LoadedCrossEncoder | None = None
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """The hub id, or the folder's name."""
        return model_name(self._model)

    @property
    def scale(self) -> Scale:
        """`LOGIT` for the activation ``"identity"``, `UNIT` for ``"sigmoid"``; loads the model."""
        return scale_of(self._loaded().activation)

    @property
    def fingerprint(self) -> str:
        """Hub commit or hash of the files, precision, options, maximum length and activation."""
        loaded = self._loaded()
        return (
            f"torch:{self.name}@{loaded.identity}:dtype={loaded.encoder.model.dtype}"
            f":max_length={loaded.max_length}:activation={loaded.activation}"
            f":{json.dumps(self._options, sort_keys=True, default=repr)}"
        )

    @property
    def max_length(self) -> int:
        """Most tokens of a pair that the model reads; loads the model."""
        return self._loaded().max_length

    def load(self) -> None:
        """Load the model now, rather than with the first scoring."""
        self._loaded()

    def close(self) -> None:
        """Release the model; the next scoring loads it again."""
        with self._lock:
            self._model_in_use = None

    def to_config(self) -> dict[str, Any]:
        """The arguments that were set, but for the token, with ``"type": "torch"``.

        Raises:
            ConfigurationError: If an argument is no plain value.
        """
        options = {
            **self._options,
            "activation": self._activation,
            "batch_tokens": self._batch_tokens,
        }
        chosen = {name: value for name, value in options.items() if value is not None}
        try:
            json.dumps(chosen)
        except TypeError as error:
            raise ConfigurationError(
                f"this TorchCrossEncoder cannot be written: {error}; use names instead of objects, "
                "such as 'float16'"
            ) from error
        return {"type": "torch", "model": self._model, **chosen}

    def _loaded(self) -> LoadedCrossEncoder:
        """Load the model, once."""
        with self._lock:
            if self._model_in_use is None:
                self._model_in_use = load_cross_encoder(
                    self._model, self._options, self._token, self._activation
                )
            return self._model_in_use

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        loaded = self._loaded()
        on_cpu = loaded.encoder.model.device.type == "cpu"
        budget = self._batch_tokens or (_BATCH_TOKENS_CPU if on_cpu else _BATCH_TOKENS_ACCELERATOR)
        tally = Tally(len(texts))

        def tick() -> None:
            progress(tally.done, len(texts))

        try:
            for first, piece in rounds(texts):
                encoded = loaded.pairs.encode(query, piece, tick)
                lengths = [encoded.length(at) for at in range(len(piece))]
                fitting = list(piece)
                for at in encoded.truncated:
                    fitting[at] = loaded.pairs.cut(piece[at], len(encoded.texts[at]))
                # The first stage's best first, should this end early.
                for batch in sorted(plan_batches(lengths, budget), key=min):
                    pairs = [(encoded.heads[at].query, fitting[at]) for at in batch]
                    with self._lock:
                        outputs = loaded.predict(pairs)
                    logits = to_logits(outputs, self.name).tolist()
                    tally.add(
                        [first + at for at in batch],
                        apply_activation(loaded.activation, logits),
                        batch_usage(batch, lengths, encoded.truncated, encoded.truncated_queries),
                    )
                    tick()
        except StopScoring:
            pass  # what has come is kept
        return tally.scoring()

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_model", "_activation", "_batch_tokens", "_options")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _token=None, _model_in_use=None)
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"TorchCrossEncoder({self._model!r})"
