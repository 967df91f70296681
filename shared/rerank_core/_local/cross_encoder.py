"""Cross-encoders of sentence-transformers, loaded: batches of them, prompts and chat templates."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from rerank_core._checks import describe
from rerank_core._concurrency import ProcessLock, no_forks
from rerank_core._errors import ConfigurationError, MissingExtraError
from rerank_core._local.failures import failures_as
from rerank_core._local.files import model_name
from rerank_core._local.fitting import PairFitter
from rerank_core._local.sentence_transformers import (
    checked_files,
    compute_alone_in_children,
    fast_tokenizer,
    loading_model,
    model_failure,
    weights_identity,
    weights_options,
)
from rerank_core._local.settings import Activation, configured_activation, resolve_max_length

__all__ = ["LoadedCrossEncoder", "load_cross_encoder", "saved_activation"]

# Options that are no arguments of ``CrossEncoder``.
_OWN = ("instruction", "dtype", "attn_implementation")
# More tokens than any pair has: sentence-transformers must not cut pairs that are cut already.
_NO_LIMIT = 10**9


class LoadedCrossEncoder(NamedTuple):
    """A cross-encoder and its settings; the type of `encoder` differs between versions.

    Attributes:
        encoder: The ``CrossEncoder``.
        pairs: Cuts pairs to what it reads.
        activation: Activation that turns its logits into scores.
        max_length: Maximum number of tokens of a pair.
        identity: Identifier of the exact weights.
        prompt: Prompt that sentence-transformers has to add, by a chat template; empty for none;
            None if it must not be told, as it knows no prompts.
    """

    encoder: Any
    pairs: PairFitter
    activation: Activation
    max_length: int
    identity: str
    prompt: str | None

    def predict(self, pairs: list[tuple[str, str]]) -> Any:
        """Return the logits of one batch.

        Raises:
            ScorerError: If the model fails.
        """
        from torch.nn import Identity

        prompt = {} if self.prompt is None else {"prompt": self.prompt}
        with failures_as(lambda error: model_failure(f"{len(pairs)} pairs", error)):
            return self.encoder.predict(
                pairs,
                batch_size=len(pairs),
                activation_fn=Identity(),
                convert_to_numpy=True,
                show_progress_bar=False,
                **prompt,
            )


def load_cross_encoder(
    model: str,
    options: Mapping[str, Any],
    token: str | bool | None,
    activation: Activation | None,
    lock: ProcessLock,
) -> LoadedCrossEncoder:
    """Load a cross-encoder, and read its settings.

    Args:
        model: Hub id or folder.
        options: Options of `TorchCrossEncoder`; those that are None are left out.
        token: Access token for private models.
        activation: Activation instead of the saved one, or None.
        lock: Held while the encoder's tokenizer is used.

    Raises:
        MissingExtraError: If sentence-transformers is not installed.
        ConfigurationError: If the model cannot be loaded, or takes no instruction.
    """
    with loading_model(model, "cross-encoder"):
        files = checked_files(model, trusted=bool(options["trust_remote_code"]))
        encoder = _make_cross_encoder(model, options, token)
        limits = {
            **encoder.config.to_dict(),
            # In a configuration of transformers, "max_length" is a setting of text generation.
            "max_length": _take_saved_limit(encoder),
            "model_max_length": encoder.tokenizer.model_max_length,
        }
        max_length = resolve_max_length(limits, options["max_length"], model_name(model))
        tokenizer = fast_tokenizer(encoder, model)
        prompt = options["instruction"]
        if prompt is None:
            prompt = _saved_prompt(encoder)
        if "message" in getattr(encoder, "modalities", ()):  # it has a chat template
            encoder.tokenizer.model_max_length = _NO_LIMIT
            template = _Template(encoder, prompt, lock)
            if options["instruction"] and not template.has_prompts:
                raise ConfigurationError(
                    f"model {model_name(model)!r} takes no instruction: its chat template has no "
                    "place for one; leave instruction out"
                )
            pairs = PairFitter(tokenizer, max_length, measure=template.lengths)
        else:
            pairs = PairFitter(tokenizer, max_length, prompt)
            prompt = "" if _saved_prompt(encoder) else None
        return LoadedCrossEncoder(
            encoder,
            pairs,
            activation or saved_activation(encoder),
            max_length,
            weights_identity(model, files, options),
            prompt,
        )


def saved_activation(encoder: Any) -> Activation:
    """Return the activation that a loaded ``CrossEncoder`` was saved with."""
    # With one label sentence-transformers has read the configuration. With two its attribute is
    # the same for a default and for a saved activation.
    named = {"activation_fn": type(encoder.activation_fn).__name__}
    return configured_activation(named if encoder.num_labels == 1 else encoder.config.to_dict())


def _take_saved_limit(encoder: Any) -> Any:
    """Return the maximum length that an encoder was saved with, and keep it from cutting at it."""
    # Before sentence-transformers 5.4 there is none, and an encoder has no modules.
    saved = encoder[0].processing_kwargs if hasattr(encoder, "modalities") else {}
    kinds = [saved.get(kind) or {} for kind in ("common", "text", "chat_template")]
    limits = [kind.pop("max_length", None) for kind in kinds]
    return next((limit for limit in reversed(limits) if limit is not None), None)


def _saved_prompt(encoder: Any) -> str:
    """Return the prompt that a model was saved with as its default; empty if there is none."""
    name = getattr(encoder, "default_prompt_name", None)
    prompt = (name and encoder.prompts.get(name)) or ""
    if not isinstance(prompt, str):
        raise ConfigurationError(
            f"the model was saved with a prompt that is no text: {describe(prompt)}; "
            "pass instruction"
        )
    return prompt


class _Template:
    """The chat template of an encoder, which reads a pair as messages."""

    def __init__(self, encoder: Any, prompt: str, lock: ProcessLock) -> None:
        self._encoder = encoder
        self._prompt = prompt
        self._lock = lock
        ids = self._ids("a", "a", prompt)
        if ids in (self._ids("b", "a", prompt), self._ids("a", "b", prompt)):
            # Its scores would mean nothing; later releases of sentence-transformers say so, too.
            raise ValueError("the chat template cannot carry a 'query'/'document' pair")

    @property
    def has_prompts(self) -> bool:
        """True if a prompt changes what the model reads."""
        return bool(self._ids("a", "a", "a") != self._ids("a", "a", "b"))

    def lengths(self, pairs: list[tuple[str, str]]) -> list[int]:
        """Return the number of tokens of each pair."""
        if not pairs:
            return []
        with failures_as(lambda error: model_failure(f"{len(pairs)} pairs", error)):
            mask = self._read(pairs, self._prompt)["attention_mask"]
            found: list[int] = mask.sum(dim=1).tolist()
        return found

    def _ids(self, query: str, text: str, prompt: str) -> Any:
        return self._read([(query, text)], prompt)["input_ids"].tolist()

    def _read(self, pairs: list[tuple[str, str]], prompt: str) -> Any:
        with self._lock:
            return self._encoder.preprocess(pairs, prompt=prompt)


def _make_cross_encoder(model: str, options: Mapping[str, Any], token: str | bool | None) -> Any:
    try:
        with no_forks():
            from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError("torch", "TorchCrossEncoder") from error
    compute_alone_in_children()
    chosen = {
        name: value for name, value in options.items() if value is not None and name not in _OWN
    }
    if token is not None:
        chosen["token"] = token
    if "backend" not in chosen:
        chosen["model_kwargs"] = {**chosen.get("model_kwargs", {}), **weights_options(options)}
    known = inspect.signature(CrossEncoder.__init__).parameters
    if "processor_kwargs" in chosen and "processor_kwargs" not in known:
        chosen["tokenizer_kwargs"] = chosen.pop("processor_kwargs")  # its name before 5.4
    unknown = sorted(set(chosen) - set(known) - {"tokenizer_kwargs"})
    if unknown:
        raise ConfigurationError(
            f"the installed sentence-transformers does not know {', '.join(unknown)}; upgrade it"
        )
    with no_forks(lazily=True):  # transformers imports what a model needs
        return CrossEncoder(model, **chosen)
