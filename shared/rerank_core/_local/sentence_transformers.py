"""Models of sentence-transformers: what bi-encoders and cross-encoders share, and bi-encoders."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypeVar,
    get_args,
)
from uuid import uuid4

import numpy as np

from rerank_core._checks import check_choice, describe, optional
from rerank_core._concurrency import Lazy, ProcessLock, no_forks
from rerank_core._display import printable
from rerank_core._errors import ConfigurationError, MissingExtraError, ScorerError
from rerank_core._local.failures import failures_as, loading, tokenizing
from rerank_core._local.files import local_path, model_name
from rerank_core._local.pairs import cut_middle, read_ends
from rerank_core._local.reading import folder_files, hash_files, read_json
from rerank_core._local.settings import resolve_max_length
from rerank_core._scorer import Scorer

if TYPE_CHECKING:
    import numpy.typing as npt
    from tokenizers import Tokenizer

__all__ = [
    "Attention",
    "DType",
    "LoadedBiEncoder",
    "Prompts",
    "SentenceTransformersScorer",
    "check_precision",
    "checked_files",
    "compute_alone_in_children",
    "fast_tokenizer",
    "hub_commit",
    "load_bi_encoder",
    "loading_model",
    "model_failure",
    "weights_identity",
    "weights_options",
]

DType: TypeAlias = Literal["float32", "bfloat16", "float16"]
Attention: TypeAlias = Literal[
    "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"
]


def check_precision(dtype: object, attn_implementation: object) -> dict[str, Any]:
    """Return the two options of how a model is computed, by name, if they are known or None.

    Raises:
        ConfigurationError: If one is unknown.
    """
    return {
        "dtype": optional(check_choice, dtype, "dtype", get_args(DType)),
        "attn_implementation": optional(
            check_choice, attn_implementation, "attn_implementation", get_args(Attention)
        ),
    }


def weights_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of ``from_pretrained``: those chosen, and none but safetensors files.

    Args:
        options: A scorer's options, with those of `check_precision`.
    """
    chosen = {
        "torch_dtype": options["dtype"],  # releases of transformers before 4.56 know only this name
        "attn_implementation": options["attn_implementation"],
    }
    return {
        "use_safetensors": True,
        **{name: value for name, value in chosen.items() if value is not None},
    }


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
        with failures_as(lambda error: model_failure(f"{len(texts)} texts", error)):
            vectors = self.encoder.encode(
                texts,
                prompt=prompt or None,
                batch_size=len(texts),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            return np.asarray(vectors, dtype=np.float32).reshape(len(texts), self.width)


class _Loaded(Protocol):
    @property
    def max_length(self) -> int: ...


Loaded = TypeVar("Loaded", bound=_Loaded)


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
        with no_forks():
            from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("torch", "BiEncoderScorer") from error
    compute_alone_in_children()
    with loading_model(model, "sentence-transformers bi-encoder"):
        files = checked_files(model, trusted=False)
        with no_forks(lazily=True):  # transformers imports what a model needs
            encoder = SentenceTransformer(
                model,
                device=options["device"],
                revision=options["revision"],
                local_files_only=bool(options["local_files_only"]),
                model_kwargs=weights_options(options),
            )
        config = getattr(getattr(encoder[0], "auto_model", None), "config", None)
        max_length = int(encoder.max_seq_length or 0)
        if options["max_length"] or max_length <= 0:
            limits = {"max_position_embeddings": getattr(config, "max_position_embeddings", None)}
            max_length = resolve_max_length(limits, options["max_length"], model_name(model))
        encoder.max_seq_length = max_length
        return LoadedBiEncoder(
            encoder,
            fast_tokenizer(encoder, model),
            _prompts(encoder.prompts or {}, options["query_prompt"], options["document_prompt"]),
            max_length,
            len(encoder.encode(["a"], show_progress_bar=False)[0]),
            weights_identity(model, files, options),
        )


@cache
def compute_alone_in_children() -> None:
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


def checked_files(model: str, *, trusted: bool) -> list[Path] | None:
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


def fast_tokenizer(encoder: Any, model: str) -> Tokenizer:
    """Return a copy of a model's fast tokenizer, without truncation and padding.

    Raises:
        ConfigurationError: If it has none.
    """
    from tokenizers import Tokenizer

    fast = getattr(encoder.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise ConfigurationError(f"model {model_name(model)!r} has no fast tokenizer")
    # A copy, because transformers sets truncation and padding on its own with every call.
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def weights_identity(model: str, files: list[Path] | None, options: Mapping[str, Any]) -> str:
    """Return an identifier of the exact weights: a hash of the files, or the hub's commit.

    Args:
        model: Folder, or hub id of a model that was loaded.
        files: The folder's files; None for a hub id.
        options: A scorer's options: where and at what revision the model was looked for.
    """
    folder = local_path(model)
    if files is not None and folder is not None:
        return hash_files(files, folder)
    # Without a commit the weights are unknown.
    return hub_commit(model, options) or uuid4().hex


def hub_commit(model: str, options: Mapping[str, Any]) -> str | None:
    """Return the commit of a model in the hub's cache; None if it is not there, or is a folder."""
    from huggingface_hub import try_to_load_from_cache

    if local_path(model) is not None:
        return None
    folder = options.get("cache_folder") or os.environ.get("SENTENCE_TRANSFORMERS_HOME")
    for name in ("modules.json", "config.json"):
        found = try_to_load_from_cache(model, name, folder, options["revision"])
        if isinstance(found, str):
            return Path(found).parent.name
    return None


def loading_model(model: str, kind: str) -> AbstractContextManager[None]:
    """Raise `ConfigurationError` in place of what is raised while a model of a kind is loaded."""
    return loading(
        f"model {model!r} could not be loaded",
        f"it must be a folder or hub id of a {kind} with safetensors weights, in the local cache "
        "or reachable on the hub",
    )


def model_failure(batch: str, error: BaseException) -> ScorerError:
    """Return the error of a model that failed on a batch."""
    return ScorerError(
        f"the model failed on a batch of {batch}: {type(error).__name__}",
        provider="torch",
        hint="If memory ran out, lower batch_tokens or max_length",
    )
