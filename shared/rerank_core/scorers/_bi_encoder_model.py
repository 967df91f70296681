"""Loading a sentence-transformers bi-encoder safely, and calling it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rerank_core.errors import ConfigurationError, MissingExtraError, ScorerError
from rerank_core.scorers._names import local_path, model_name
from rerank_core.scorers._pairs import cut_middle, read_ends
from rerank_core.scorers._torch_model import _hash as hash_folder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["LoadedBiEncoder", "Prompts", "load_bi_encoder"]


class Prompts(NamedTuple):
    """What goes before a query and before a text."""

    query: str
    document: str


class LoadedBiEncoder(NamedTuple):
    """A model and what was read off it."""

    encoder: Any
    tokenizer: Any
    prompts: Prompts
    max_length: int
    width: int
    identity: str

    def lengths(self, texts: Sequence[str]) -> tuple[list[int], set[int]]:
        """Count the tokens of each text as the model will read it, and say which are cut."""
        # Far more characters than there is room for need not be read to know that.
        limit = 16 * (self.max_length + 64)
        read = self.tokenizer.encode_batch_fast([text[:limit] for text in texts])
        counts = [len(found.ids) for found in read]
        cut = {
            at
            for at, count in enumerate(counts)
            if count > self.max_length or len(texts[at]) > limit
        }
        return [min(count, self.max_length) for count in counts], cut

    def fit(self, query: str) -> str:
        """Return a query as it is, or without its middle if it is too long for the model."""
        room = self.max_length - len(self.tokenizer.encode(self.prompts.query).ids)
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
            raise ScorerError(
                f"the model failed on a batch of {len(texts)} texts: {type(error).__name__}",
                provider="torch",
                hint="If memory ran out, lower batch_tokens or max_length",
            ) from error
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
    from tokenizers import Tokenizer

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
    fast = getattr(encoder.tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise ConfigurationError(f"model {model_name(model)!r} has no fast tokenizer")
    # A copy: transformers sets truncation and padding on its own with every call.
    tokenizer = Tokenizer.from_str(fast.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    commit = getattr(getattr(encoder[0], "auto_model", None), "config", None)
    identity = getattr(commit, "_commit_hash", None) or hash_folder(local_path(model))
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
