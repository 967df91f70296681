"""Models of sentence-transformers: loading them safely, and running them on batches."""

from __future__ import annotations

import inspect
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from uuid import uuid4

import numpy as np

from rerank_core._checks import describe
from rerank_core._concurrency import Lazy, ProcessLock, importing
from rerank_core._display import printable
from rerank_core._errors import ConfigurationError, MissingExtraError, ScorerError
from rerank_core._local.failures import failures_as, loading, tokenizing
from rerank_core._local.files import local_path, model_name
from rerank_core._local.pairs import PairEncoder, cut_middle, read_ends
from rerank_core._local.reading import folder_files, hash_files, read_json
from rerank_core._local.settings import Activation, configured_activation, resolve_max_length
from rerank_core._scorer import Scorer

if TYPE_CHECKING:
    import numpy.typing as npt
    from tokenizers import Tokenizer

__all__ = [
    "LoadedBiEncoder",
    "LoadedCrossEncoder",
    "Prompts",
    "SentenceTransformersScorer",
    "load_bi_encoder",
    "load_cross_encoder",
    "saved_activation",
]


class LoadedCrossEncoder(NamedTuple):
    """A cross-encoder and its settings; the type of `encoder` differs between versions."""

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

        with failures_as(lambda error: _failure(f"{len(pairs)} pairs", error)):
            return self.encoder.predict(
                pairs,
                batch_size=len(pairs),
                activation_fn=Identity(),
                convert_to_numpy=True,
                show_progress_bar=False,
            )


def load_cross_encoder(
    model: str,
    options: Mapping[str, Any],
    token: str | bool | None,
    activation: Activation | None,
) -> LoadedCrossEncoder:
    """Load a cross-encoder, and read its settings.

    Args:
        model: Hub id or folder.
        options: Arguments of ``CrossEncoder``; those that are None are left out.
        token: Access token for private models.
        activation: Activation instead of the saved one, or None.

    Raises:
        MissingExtraError: If sentence-transformers is not installed.
        ConfigurationError: If the model cannot be loaded.
    """
    with _loading(model, "cross-encoder"):
        files = _check_folder(model, trusted=bool(options["trust_remote_code"]))
        encoder = _make_cross_encoder(model, options, token)
        limits = {
            **encoder.config.to_dict(),
            "max_length": None,  # in a configuration of transformers a setting of text generation
            "model_max_length": encoder.tokenizer.model_max_length,
        }
        max_length = resolve_max_length(limits, options["max_length"], model_name(model))
        return LoadedCrossEncoder(
            encoder,
            PairEncoder(_fast_tokenizer(encoder, model), max_length),
            activation or saved_activation(encoder),
            max_length,
            _identity(encoder.model.config, model, files),
        )


def saved_activation(encoder: Any) -> Activation:
    """Return the activation that a loaded ``CrossEncoder`` was saved with."""
    # With one label sentence-transformers has read the configuration. With two its attribute is
    # the same for a default and for a saved activation.
    named = {"activation_fn": type(encoder.activation_fn).__name__}
    return configured_activation(named if encoder.num_labels == 1 else encoder.config.to_dict())


def _make_cross_encoder(model: str, options: Mapping[str, Any], token: str | bool | None) -> Any:
    try:
        with importing():
            from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError("torch", "TorchCrossEncoder") from error
    _compute_alone_in_children()
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
    with importing(lazily=True):  # transformers imports what a model needs
        return CrossEncoder(model, **chosen)


class Prompts(NamedTuple):
    """Prompts before a query and before a text."""

    query: str
    document: str


class LoadedBiEncoder(NamedTuple):
    """A bi-encoder and its settings."""

    encoder: Any
    tokenizer: Any
    prompts: Prompts
    max_length: int
    width: int
    identity: str

    @tokenizing()
    def lengths(self, texts: Sequence[str]) -> tuple[list[int], set[int]]:
        """Return the number of tokens of each text, and the positions of texts that are cut."""
        # More characters than this never fit, so the rest need not be tokenised.
        limit = 16 * (self.max_length + 64)
        encodings = self.tokenizer.encode_batch_fast([text[:limit] for text in texts])
        counts = [len(encoding.ids) for encoding in encodings]
        cut = {
            position
            for position, count in enumerate(counts)
            if count > self.max_length or len(texts[position]) > limit
        }
        return [min(count, self.max_length) for count in counts], cut

    @tokenizing()
    def fit(self, query: str) -> str:
        """Return a query, without its middle if it is too long for the model."""
        room = self.max_length - len(self.tokenizer.encode(self.prompts.query).ids)
        read = read_ends(self.tokenizer, query, max(1, room))
        if len(read.ids) > room:
            return cut_middle(self.tokenizer, read, max(1, room))[0]
        return query if read.whole else read.text

    def encode(self, texts: list[str], prompt: str) -> npt.NDArray[np.float32]:
        """Embed one batch.

        Raises:
            ScorerError: If the model fails.
        """
        with failures_as(lambda error: _failure(f"{len(texts)} texts", error)):
            vectors = self.encoder.encode(
                texts,
                prompt=prompt or None,
                batch_size=len(texts),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            return np.asarray(vectors, dtype=np.float32).reshape(len(texts), self.width)


Loaded = TypeVar("Loaded", LoadedCrossEncoder, LoadedBiEncoder)


class SentenceTransformersScorer(Scorer, Generic[Loaded]):
    """Holds a model from its first use until `close`; pickled without it."""

    def __init__(self) -> None:
        self._lock = ProcessLock()  # for what one thread alone may do with the model
        self._model_in_memory: Lazy[Loaded] = Lazy()

    @abstractmethod
    def _load(self) -> Loaded:
        """Read the model's files."""

    def _loaded(self) -> Loaded:
        """Load the model, once."""
        return self._model_in_memory.get(self._load)

    def _in_use(self) -> AbstractContextManager[Loaded]:
        """Load the model, once, and note that it is in use within the block."""
        return self._model_in_memory.use(self._load)

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of an input, special tokens included; loads the model."""
        return self._loaded().max_length

    def load(self) -> None:
        """Load the model now, rather than with the first scoring."""
        self._loaded()

    def close(self) -> None:
        """Release the model; the next scoring loads it again."""
        self._model_in_memory.clear()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"], state["_model_in_memory"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        SentenceTransformersScorer.__init__(self)
        self.__dict__.update(state)


def load_bi_encoder(model: str, options: Mapping[str, Any]) -> LoadedBiEncoder:
    """Load a bi-encoder, and read its settings.

    Args:
        model: Hub id or folder.
        options: Options of `BiEncoderScorer`.

    Raises:
        MissingExtraError: If sentence-transformers is not installed.
        ConfigurationError: If the model cannot be loaded.
    """
    try:
        with importing():
            from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("torch", "BiEncoderScorer") from error
    _compute_alone_in_children()
    with _loading(model, "sentence-transformers bi-encoder"):
        files = _check_folder(model, trusted=False)
        with importing(lazily=True):  # transformers imports what a model needs
            encoder = SentenceTransformer(
                model,
                device=options["device"],
                revision=options["revision"],
                local_files_only=bool(options["local_files_only"]),
                model_kwargs={"use_safetensors": True},
            )
        config = getattr(getattr(encoder[0], "auto_model", None), "config", None)
        max_length = int(encoder.max_seq_length or 0)
        if options["max_length"] or max_length <= 0:
            limits = {"max_position_embeddings": getattr(config, "max_position_embeddings", None)}
            max_length = resolve_max_length(limits, options["max_length"], model_name(model))
        encoder.max_seq_length = max_length
        return LoadedBiEncoder(
            encoder,
            _fast_tokenizer(encoder, model),
            _prompts(encoder.prompts or {}, options["query_prompt"], options["document_prompt"]),
            max_length,
            len(encoder.encode(["a"], show_progress_bar=False)[0]),
            _identity(config, model, files),
        )


@cache
def _compute_alone_in_children() -> None:
    """Let torch compute on one thread in forked children, which do not have its other threads.

    With more, OpenMP would wait for those of the parent for ever.
    """
    import torch

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def _prompts(saved: Mapping[str, str | None], query: str | None, document: str | None) -> Prompts:
    """Return the user's prompts, or else those that the model was saved with."""
    if query is None:
        query = saved.get("query") or ""
    if document is None:
        known = (saved.get(name) for name in ("document", "passage", "corpus"))
        document = next(filter(None, known), "")
    for prompt in (query, document):
        if not isinstance(prompt, str):
            raise ConfigurationError(
                f"the model was saved with a prompt that is no text: {describe(prompt)}; "
                "pass query_prompt and document_prompt"
            )
    return Prompts(query, document)


def _check_folder(model: str, *, trusted: bool) -> list[Path] | None:
    """Check the files of a folder before a library opens them.

    Args:
        model: Folder, or hub id, which is not checked: the hub has regular files only.
        trusted: Whether code in the folder may run. Else modules of its own are refused, whose
            code some versions of sentence-transformers run unasked.

    Returns:
        The folder's files; None for a hub id.
    """
    folder = local_path(model)
    if folder is None:
        return None
    files = folder_files(folder)
    modules = folder / "modules.json"
    if trusted or modules not in files:
        return files
    described = read_json(modules)
    try:
        kinds = [str(module["type"]) for module in described]
    except (TypeError, KeyError) as error:
        raise ConfigurationError(
            f"{modules} cannot be read: it must hold a list of modules, each with its type"
        ) from error
    foreign = [kind for kind in kinds if not kind.startswith("sentence_transformers.")]
    if foreign:
        names = printable(", ".join(foreign)[:300])
        raise ConfigurationError(
            f"model {model!r} needs code of its own ({names}), which is never run"
        )
    return files


def _fast_tokenizer(encoder: Any, model: str) -> Tokenizer:
    from tokenizers import Tokenizer

    fast = getattr(encoder.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise ConfigurationError(f"model {model_name(model)!r} has no fast tokenizer")
    # A copy, because transformers sets truncation and padding on its own with every call.
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _identity(config: Any, model: str, files: list[Path] | None) -> str:
    """Return an identifier of the exact weights: a hash of the files, or the hub's commit."""
    folder = local_path(model)
    if files is not None and folder is not None:
        return hash_files(files, folder)
    # Without a commit the weights are unknown.
    return getattr(config, "_commit_hash", None) or uuid4().hex


def _loading(model: str, kind: str) -> AbstractContextManager[None]:
    return loading(
        f"model {model!r} could not be loaded",
        f"it must be a folder or hub id of a {kind} with safetensors weights, in the local cache "
        "or reachable on the hub",
    )


def _failure(batch: str, error: BaseException) -> ScorerError:
    return ScorerError(
        f"the model failed on a batch of {batch}: {type(error).__name__}",
        provider="torch",
        hint="If memory ran out, lower batch_tokens or max_length",
    )
