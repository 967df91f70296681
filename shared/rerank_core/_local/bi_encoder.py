"""`BiEncoderScorer`: cosine similarity of embeddings, by sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rerank_core._checks import check_name, check_whole, describe, optional
from rerank_core._errors import ConfigurationError
from rerank_core._local.files import model_name
from rerank_core._local.pairs import batch_usage, plan_batches, rounds
from rerank_core._local.sentence_transformers import (
    Attention,
    DType,
    LoadedBiEncoder,
    SentenceTransformersScorer,
    check_precision,
    load_bi_encoder,
)
from rerank_core._planning import Tally
from rerank_core._types import Progress, Scale, Scoring, StopScoring
from rerank_core._usage import Usage

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BiEncoderScorer"]

_BATCH_TOKENS = 4096


class _Embedded(NamedTuple):
    """Vectors of texts, the positions of the embedded ones, and the usage."""

    vectors: npt.NDArray[np.float32]
    positions: list[int]
    usage: Usage


class BiEncoderScorer(SentenceTransformersScorer[LoadedBiEncoder]):
    """Scores a text by the cosine similarity of its embedding and the query's.

    A bi-encoder embeds query and text separately, without attention between them. Dense
    retrievers work this way, so it is the baseline that a reranker after one has to beat. Nothing
    is loaded before the first use. Weights are read from safetensors files only, and no code of
    the model's folder runs. Calls from several threads run one at a time. In a forked child, torch
    computes on one thread.

    Do not fork while another thread computes or ends: MKL, with which torch multiplies on most
    processors, may hold a lock then, and the child would wait for it.

    By default the prompts that a model was saved with are used: ``"query"`` for queries, and
    ``"document"``, ``"passage"`` or ``"corpus"`` for texts.

    Args:
        model: Hub id or folder of the model.
        max_length: Maximum number of tokens of a text, special tokens included. Default: the
            model's own.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, … Default: ``"cpu"``.
        batch_tokens: Maximum number of tokens of a batch, padding included. Default: 4,096.
        query_prompt: Prefix of a query, such as ``"query: "``: what `instruction` is in
            `TorchCrossEncoder`. Default: the model's own.
        document_prompt: Prefix of a text, such as ``"passage: "``. Default: the model's own.
        revision: Branch, tag or commit on the hub. Default: its main branch.
        local_files_only: Never ask the hub. Default: False.
        dtype: As in `TorchCrossEncoder`. Default: that of transformers.
        attn_implementation: As in `TorchCrossEncoder`. Default: that of transformers.

    Raises:
        ConfigurationError: If an option is invalid. A model that cannot be loaded raises it at
            first use.

    Example:
        ```python
        from rerank_core import BiEncoderScorer

        scorer = BiEncoderScorer("intfloat/e5-small-v2", query_prompt="query: ")
        print(scorer.name)
        print(scorer.to_config()["query_prompt"])
        ```

        ```text
        bi:intfloat/e5-small-v2
        query:
        ```
    """

    _cuts_pairs = True

    def __init__(
        self,
        model: str,
        *,
        max_length: int | None = None,
        device: str = "cpu",
        batch_tokens: int | None = None,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        dtype: DType | None = None,
        attn_implementation: Attention | None = None,
    ) -> None:
        for name, prompt in (("query_prompt", query_prompt), ("document_prompt", document_prompt)):
            if prompt is not None and not isinstance(prompt, str):
                raise ConfigurationError(f"{name} must be a str, not {describe(prompt)}")
        super().__init__()
        self._model = check_name(model, "model", "sentence-transformers/all-MiniLM-L6-v2")
        self._options: dict[str, Any] = {
            "max_length": optional(check_whole, max_length, "max_length"),
            "device": str(device),
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
            "revision": revision,
            "local_files_only": bool(local_files_only) or None,
            "batch_tokens": optional(check_whole, batch_tokens, "batch_tokens"),
            **check_precision(dtype, attn_implementation),
        }

    @property
    def name(self) -> str:
        """``bi:`` and the hub id, or the folder's name."""
        return f"bi:{model_name(self._model)}"

    @property
    def scale(self) -> Scale:
        """`LOGIT`: a cosine can be negative, and only differences within a query are meaningful."""
        return Scale.LOGIT

    @property
    def fingerprint(self) -> str:
        """The hub's commit or a hash of the files, with the options that change scores."""
        loaded = self._loaded()
        return (
            f"{self.name}@{loaded.identity}:dtype={loaded.encoder.dtype}"
            f":max_length={loaded.max_length}:prompts={loaded.prompts!r}"
            f":device={self._options['device']}:attention={self._options['attn_implementation']}"
        )

    def embed_queries(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed queries.

        Args:
            queries: The queries.

        Returns:
            One row per query, of Euclidean norm 1.
        """
        return self._embed(queries, self._loaded().prompts.query).vectors

    def embed_documents(
        self, texts: Sequence[str], *, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """Embed documents.

        Args:
            texts: The documents' texts.
            progress: Called between batches with (texts done, texts in total).

        Returns:
            One row per text, of Euclidean norm 1.
        """
        return self._embed(texts, self._loaded().prompts.document, progress).vectors

    def to_config(self) -> dict[str, Any]:
        """Return the arguments that were set, with ``"type": "bi"``."""
        chosen = {name: value for name, value in self._options.items() if value is not None}
        return {"type": "bi", "model": self._model, **chosen}

    def _score(self, query: str, texts: Sequence[str], progress: Progress) -> Scoring:
        with self._in_use() as loaded:
            cut_query = loaded.fit(query)
        (query_vector,) = self.embed_queries([cut_query])
        vectors, positions, usage = self._embed(texts, loaded.prompts.document, progress)
        if cut_query != query:
            usage += Usage(truncated_queries=len(positions))
        tally = Tally(len(texts))
        # One by one: in a matrix product a score could depend on the other texts.
        tally.add(positions, [float(vectors[i] @ query_vector) for i in positions], usage)
        return tally.scoring()

    def _embed(
        self, texts: Sequence[str], prompt: str, progress: Progress | None = None
    ) -> _Embedded:
        """Embed texts: all of them, unless `progress` stops the work."""
        with self._in_use() as loaded:
            return self._embed_with(loaded, texts, prompt, progress)

    def _embed_with(
        self,
        loaded: LoadedBiEncoder,
        texts: Sequence[str],
        prompt: str,
        progress: Progress | None,
    ) -> _Embedded:
        vectors = np.zeros((len(texts), loaded.width), dtype=np.float32)
        positions: list[int] = []
        usage = Usage()

        def report() -> None:
            if progress is not None:
                progress(len(positions), len(texts))

        budget = self._options["batch_tokens"] or _BATCH_TOKENS
        try:
            for start, chunk in rounds(texts):
                if start:
                    report()
                with self._lock:
                    lengths, truncated = loaded.lengths([prompt + text for text in chunk])
                # The first stage's best first, in case the work is stopped early.
                for batch in sorted(plan_batches(lengths, budget), key=min):
                    rows = [start + i for i in batch]
                    with self._lock:
                        vectors[rows] = loaded.encode([chunk[i] for i in batch], prompt)
                    positions += rows
                    usage += batch_usage(batch, lengths, truncated)
                    report()
        except StopScoring:
            pass  # the vectors so far are kept
        return _Embedded(vectors, positions, usage)

    def _load(self) -> LoadedBiEncoder:
        return load_bi_encoder(self._model, self._options)

    def __repr__(self) -> str:
        return f"BiEncoderScorer({self._model!r})"
