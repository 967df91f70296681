"""`TorchCrossEncoder`: a cross-encoder of sentence-transformers, with our own batching."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rerank_core._checks import check_name, check_whole, describe, optional
from rerank_core._errors import ConfigurationError
from rerank_core._local.cross_encoder import LoadedCrossEncoder, load_cross_encoder
from rerank_core._local.files import model_name
from rerank_core._local.graph import apply_activation, to_logits
from rerank_core._local.pairs import batch_usage, plan_batches, rounds
from rerank_core._local.sentence_transformers import (
    Attention,
    DType,
    SentenceTransformersScorer,
    check_precision,
)
from rerank_core._local.settings import Activation, check_activation, scale_of
from rerank_core._planning import Tally
from rerank_core._types import Progress, Scale, Scoring, StopScoring

__all__ = ["TorchCrossEncoder"]

# On a CPU padding costs as much as text does; an accelerator is idle unless batches are large.
_BATCH_TOKENS_CPU = 1024
_BATCH_TOKENS_ACCELERATOR = 16_384


class TorchCrossEncoder(SentenceTransformersScorer[LoadedCrossEncoder]):
    """A cross-encoder run by sentence-transformers on PyTorch.

    Nothing is loaded before the first scoring (or `load`). Weights are read from safetensors files
    only, and no code of the repository runs unless `trust_remote_code` is set. A pair of more than
    `max_length` tokens is cut: first its text, down to half of the length, then the query in its
    middle. Calls from several threads run one at a time, since the tokenizer of transformers
    cannot be used by two threads at once. In a forked child, torch computes on one thread.

    Do not fork while another thread computes or ends: MKL, with which torch multiplies on most
    processors, may hold a lock then, and the child would wait for it.

    Causal models, such as Qwen3-Reranker, are those that sentence-transformers 5.4 or newer loads:
    a language model and a LogitScore, which reads the logits of "yes" and "no" after the pair. They
    read it in their chat template, of which nothing is cut, so that the score is read at its end.

    Args:
        model: Hub id or folder of the model.
        revision: Branch, tag or commit on the hub. Default: its main branch.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, … Default: the best available.
        max_length: Maximum number of tokens of a pair, special tokens included. Default: the
            model's own.
        activation: ``"identity"`` gives logits, ``"sigmoid"`` scores from 0 to 1. Default: the
            one in the model's configuration, else ``"sigmoid"``.
        batch_tokens: Maximum number of tokens of a batch, padding included. Default: 1,024 on a
            CPU, 16,384 elsewhere.
        cache_folder: Folder of hub models. Default: the hub's cache.
        local_files_only: Never ask the hub. Default: False.
        token: Access token for private models; never shown, pickled or written out. Default:
            HF_TOKEN or the stored login.
        trust_remote_code: Run code from the model's repository. Default: False.
        model_kwargs: Further arguments of the model's ``from_pretrained``.
        processor_kwargs: Arguments of the tokenizer.
        config_kwargs: Arguments of the model's configuration.
        backend: ``"torch"``, ``"onnx"`` or ``"openvino"``, as in sentence-transformers.
        instruction: A criterion of relevance, in plain words, for models trained to follow one: the
            ``prompt`` of sentence-transformers. A chat template puts it where it belongs; for
            another model it is the beginning of the query, as `query_prompt` is in
            `BiEncoderScorer`. ``""`` is none. Default: the prompt that the model was saved with as
            its default, else none.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``, which weights are converted to.
            Default: that of transformers, which since its version 5 is the one they were saved in.
        attn_implementation: ``"eager"``, ``"sdpa"``, ``"flash_attention_2"``,
            ``"flash_attention_3"`` or ``"flex_attention"``, as far as the installed packages and
            the device have it. Default: that of transformers, mostly ``"sdpa"``.

    Raises:
        ConfigurationError: If an option is invalid. A model that cannot be loaded, or takes no
            instruction, raises it at first use.

    Example:
        ```python
        from rerank_core import TorchCrossEncoder

        scorer = TorchCrossEncoder("cross-encoder/ettin-reranker-17m-v1", max_length=512)
        print(scorer.name)
        assert scorer.to_config() == {"type": "torch", "model": scorer.name, "max_length": 512}
        ```

        ```text
        cross-encoder/ettin-reranker-17m-v1
        ```
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
        instruction: str | None = None,
        dtype: DType | None = None,
        attn_implementation: Attention | None = None,
    ) -> None:
        if (model_kwargs or {}).get("use_safetensors") is False:
            raise ConfigurationError(
                "model_kwargs use_safetensors=False would unpickle the weights, which can run "
                "arbitrary code; convert them to safetensors"
            )
        super().__init__()
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
            "instruction": instruction,
            **check_precision(dtype, attn_implementation),
        }
        if instruction is not None and not isinstance(instruction, str):
            raise ConfigurationError(f"instruction must be a str, not {describe(instruction)}")
        chosen = {name for name in ("dtype", "attn_implementation") if self._options[name]}
        again = {name.removeprefix("torch_") for name in model_kwargs or ()} & chosen
        if again:
            raise ConfigurationError(f"{min(again)} is in model_kwargs, too; leave it out there")
        if chosen and backend != "torch":
            raise ConfigurationError(
                f"{min(chosen)} is for backend='torch', not {describe(backend)}"
            )
        for name in ("model_kwargs", "processor_kwargs", "config_kwargs"):
            if {"token", "use_auth_token"} & set(self._options[name] or {}):
                raise ConfigurationError(
                    f"{name} contains a token; pass it as token, which is kept secret"
                )

    @property
    def name(self) -> str:
        """The hub id, or the folder's name."""
        return model_name(self._model)

    @property
    def scale(self) -> Scale:
        """`LOGIT` for the activation ``"identity"``, `UNIT` for ``"sigmoid"``.

        Loads the model, unless the activation was chosen.
        """
        return scale_of(self._activation or self._loaded().activation)

    @property
    def fingerprint(self) -> str:
        """The hub's commit or a hash of the files, with the options that change scores."""
        loaded = self._loaded()
        return (
            f"torch:{self.name}@{loaded.identity}:dtype={loaded.encoder.model.dtype}"
            f":max_length={loaded.max_length}:activation={loaded.activation}"
            f":{json.dumps(self._options, sort_keys=True, default=repr)}"
        )

    def to_config(self) -> dict[str, Any]:
        """Return the arguments that were set, without the token, with ``"type": "torch"``.

        Raises:
            ConfigurationError: If an argument cannot be written as JSON.
        """
        own = {"activation": self._activation, "batch_tokens": self._batch_tokens}
        options = {**self._options, **own}
        chosen = {name: value for name, value in options.items() if value is not None}
        try:
            json.dumps(chosen)
        except TypeError as error:
            raise ConfigurationError(
                f"this TorchCrossEncoder cannot be written: {error}; use names instead of objects, "
                "such as 'float16'"
            ) from error
        return {"type": "torch", "model": self._model, **chosen}

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        with self._in_use() as loaded:
            return self._score_with(loaded, query, texts, progress)

    def _score_with(
        self, loaded: LoadedCrossEncoder, query: str, texts: Sequence[str], progress: Progress
    ) -> Scoring:
        on_cpu = loaded.encoder.model.device.type == "cpu"
        budget = self._batch_tokens or (_BATCH_TOKENS_CPU if on_cpu else _BATCH_TOKENS_ACCELERATOR)
        tally = Tally(len(texts))

        def report() -> None:
            progress(tally.done, len(texts))

        try:
            for start, chunk in rounds(texts):
                pairs = loaded.pairs.fit(query, chunk, report)
                lengths = [pair.length for pair in pairs]
                cut = {row for row, pair in enumerate(pairs) if pair.text_cut}
                cut_queries = {row for row, pair in enumerate(pairs) if pair.query_cut}
                # The first stage's best first, in case the scoring is stopped early.
                for batch in sorted(plan_batches(lengths, budget), key=min):
                    with self._lock:
                        outputs = loaded.predict([pairs[row][:2] for row in batch])
                    logits = to_logits(outputs, self.name, len(batch)).tolist()
                    tally.add(
                        [start + row for row in batch],
                        apply_activation(loaded.activation, logits),
                        batch_usage(batch, lengths, cut, cut_queries),
                    )
                    report()
        except StopScoring:
            pass  # the scores so far are kept
        return tally.scoring()

    def _load(self) -> LoadedCrossEncoder:
        return load_cross_encoder(
            self._model, self._options, self._token, self._activation, self._lock
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_token": None}

    def __repr__(self) -> str:
        return f"TorchCrossEncoder({self._model!r})"
