"""Models of sentence-transformers: loaded safely, and called."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from rerank_core._errors import ConfigurationError, MissingExtraError, ScorerError
from rerank_core._local.files import local_path, model_name
from rerank_core._local.settings import Activation, configured_activation, resolve_max_length

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from tokenizers import Tokenizer

    from rerank_core._local.pairs import PairEncoder

__all__ = [
    "LoadedBiEncoder",
    "LoadedCrossEncoder",
    "Prompts",
    "load_bi_encoder",
    "load_cross_encoder",
    "saved_activation",
]


class LoadedCrossEncoder(NamedTuple):
    """A cross-encoder and what was read off it; the type of `encoder` differs between versions."""

    encoder: Any
    pairs: PairEncoder
    activation: Activation
    max_length: int
    identity: str

    def predict(self, pairs: list[tuple[str, str]]) -> Any:
        """Return the logits of one batch.

        Raises:
            ScorerError: If the model fails.
        """
        from torch.nn import Identity

        try:
            return self.encoder.predict(
                pairs,
                batch_size=len(pairs),
                activation_fn=Identity(),
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        except (RuntimeError, ValueError, IndexError) as error:
            raise _failed(f"{len(pairs)} pairs", error) from error


def load_cross_encoder(
    model: str,
    options: Mapping[str, Any],
    token: str | bool | None,
    activation: Activation | None,
) -> LoadedCrossEncoder:
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
    from rerank_core._local.pairs import PairEncoder

    encoder = _make_cross_encoder(model, options, token)
    limits = {
        **encoder.config.to_dict(),
        "max_length": None,  # a generation setting in configurations of transformers
        "model_max_length": encoder.tokenizer.model_max_length,
    }
    max_length = resolve_max_length(limits, options["max_length"], model_name(model))
    return LoadedCrossEncoder(
        encoder,
        PairEncoder(_fast_tokenizer(encoder, model), max_length),
        activation or saved_activation(encoder),
        max_length,
        _identity(encoder.model.config, model),
    )


def saved_activation(encoder: Any) -> Activation:
    """Return the activation that a loaded ``CrossEncoder`` was saved with."""
    # With one label sentence-transformers has read the configuration; with two it does not tell
    # a default from a choice.
    named = {"activation_fn": type(encoder.activation_fn).__name__}
    return configured_activation(named if encoder.num_labels == 1 else encoder.config.to_dict())


def _make_cross_encoder(model: str, options: Mapping[str, Any], token: str | bool | None) -> Any:
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


class Prompts(NamedTuple):
    """Prompts before a query and before a text."""

    query: str
    document: str


class LoadedBiEncoder(NamedTuple):
    """A bi-encoder and what was read off it."""

    encoder: Any
    tokenizer: Any
    prompts: Prompts
    max_length: int
    width: int
    identity: str

    def lengths(self, texts: Sequence[str]) -> tuple[list[int], set[int]]:
        """Return the tokens of each text as the model reads it, and the positions of those cut."""
        # Far more characters than there is room for need not be read to know that.
        limit = 16 * (self.max_length + 64)
        read = self.tokenizer.encode_batch_fast([text[:limit] for text in texts])
        counts = [len(found.ids) for found in read]
        cut = {
            position
            for position, count in enumerate(counts)
            if count > self.max_length or len(texts[position]) > limit
        }
        return [min(count, self.max_length) for count in counts], cut

    def fit(self, query: str) -> str:
        """Return a query as it is, or without its middle if it is too long for the model."""
        room = self.max_length - len(self.tokenizer.encode(self.prompts.query).ids)
        from rerank_core._local.pairs import cut_middle, read_ends

        read, ids, whole = read_ends(self.tokenizer, query, max(1, room))
        if len(ids) > room:
            return cut_middle(self.tokenizer, read, max(1, room))[0]
        return query if whole else read

    def encode(self, texts: list[str], prompt: str) -> npt.NDArray[np.float32]:
        """Embed one batch.

        Raises:
            ScorerError: If the model fails.
        """
        import numpy as np

        try:
            vectors = self.encoder.encode(
                texts,
                prompt=prompt or None,
                batch_size=len(texts),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        except (RuntimeError, ValueError, IndexError) as error:
            raise _failed(f"{len(texts)} texts", error) from error
        return np.asarray(vectors, dtype=np.float32)


def load_bi_encoder(model: str, options: Mapping[str, Any]) -> LoadedBiEncoder:
    """Load a bi-encoder, and read off it how it is to be run.

    Args:
        model: Hub id or folder.
        options: What `BiEncoderScorer` was given.

    Raises:
        MissingExtraError: If sentence-transformers is not installed.
        ConfigurationError: If the model cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("torch", "BiEncoderScorer") from error
    _refuse_code(model)
    try:
        encoder = SentenceTransformer(
            model,
            device=options["device"],
            revision=options["revision"],
            local_files_only=bool(options["local_files_only"]),
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"model {model!r} could not be loaded: {error}; it must be a folder or hub id of a "
            "sentence-transformers bi-encoder with safetensors weights, in the local cache or "
            "within reach"
        ) from error
    max_length = _max_length(encoder, options["max_length"], model_name(model))
    encoder.max_seq_length = max_length
    config = getattr(getattr(encoder[0], "auto_model", None), "config", None)
    tokenizer = _fast_tokenizer(encoder, model)
    identity = _identity(config, model)
    saved = {name: prompt or "" for name, prompt in (encoder.prompts or {}).items()}
    document = next(
        (saved[name] for name in ("document", "passage", "corpus") if saved.get(name)), ""
    )
    prompts = Prompts(
        _chosen(options["query_prompt"], saved.get("query", "")),
        _chosen(options["document_prompt"], document),
    )
    width = len(encoder.encode(["a"], show_progress_bar=False)[0])
    return LoadedBiEncoder(encoder, tokenizer, prompts, max_length, width, identity)


def _chosen(option: str | None, saved: str) -> str:
    return saved if option is None else option


def _max_length(encoder: Any, chosen: int | None, name: str) -> int:
    own = encoder.max_seq_length
    config = getattr(getattr(encoder[0], "auto_model", None), "config", None)
    positions = getattr(config, "max_position_embeddings", None)
    if chosen is None:
        return int(own or positions or 512)
    if isinstance(positions, int) and chosen > positions:
        raise ConfigurationError(
            f"max_length {chosen} is more than the {positions} positions of model {name!r}"
        )
    return chosen


def _refuse_code(model: str) -> None:
    """Refuse a folder whose modules are its own code, which older versions would run unasked."""
    folder = local_path(model)
    if folder is None or not (folder / "modules.json").is_file():
        return
    try:
        kinds = [
            str(module["type"]) for module in json.loads((folder / "modules.json").read_text())
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"{folder / 'modules.json'} cannot be read: {error!r}") from error
    foreign = [kind for kind in kinds if not kind.startswith("sentence_transformers.")]
    if foreign:
        raise ConfigurationError(
            f"model {model!r} needs code of its own ({', '.join(foreign)}), which is never run"
        )


def _fast_tokenizer(encoder: Any, model: str) -> Tokenizer:
    from tokenizers import Tokenizer

    fast = getattr(encoder.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise ConfigurationError(f"model {model_name(model)!r} has no fast tokenizer")
    # A copy: transformers sets truncation and padding on its own with every call.
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _identity(config: Any, model: str) -> str:
    """Name the exact weights: the hub's commit, or a hash of the folder's files."""
    commit = getattr(config, "_commit_hash", None)
    folder = local_path(model)
    if commit or folder is None:  # without either, nothing says which weights these are
        return commit or uuid4().hex
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".onnx", ".bin"}:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _failed(batch: str, error: Exception) -> ScorerError:
    return ScorerError(
        f"the model failed on a batch of {batch}: {type(error).__name__}",
        provider="torch",
        hint="If memory ran out, lower batch_tokens or max_length",
    )
