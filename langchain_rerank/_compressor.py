"""`RerankCompressor`: LangChain documents in, the best of them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self, TypedDict

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load.serializable import (
    Serializable,
    SerializedConstructor,
    SerializedNotImplemented,
)
from langchain_core.runnables.config import (
    RunnableConfig,
    ensure_config,
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)
from pydantic import (
    ConfigDict,
    FieldSerializationInfo,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from rerank_core import (
    Blend,
    ConfigurationError,
    RankedItem,
    Ranking,
    Scorer,
    arerank,
    rerank,
)
from rerank_core.adapting import (
    DEFAULT_TOP_N,
    OPTIONS,
    check_items,
    check_option,
    copy_metadata,
    options,
    write_option,
)
from rerank_core.validation import check_budget

if TYPE_CHECKING:
    from langchain_core.callbacks import Callbacks

    from langchain_rerank._runnable import RerankRunnable

__all__ = ["RerankCompressor"]


class _Outputs(TypedDict):
    """What a run ends with."""

    documents: list[Document]
    scorer: str
    scale: str
    degraded: str | None
    usage: dict[str, Any]


class RerankCompressor(BaseDocumentCompressor, Serializable):
    """Scores documents against the query, reorders them and keeps the best.

    It returns copies: ids, subclasses and metadata stay as they were, and nothing that comes out
    shares a metadata container with what went in. Each call is a run of its own in LangChain's
    traces. Safe to use from several threads and event loops.

    Args:
        scorer: What scores: the name of one (see `rerank_core.load_scorer`), a mapping that
            `Scorer.to_config` wrote, or a `Scorer`. Default ``"nano"``, the model that comes with
            the package. No model is loaded before the first call.
        top_n: At most this many documents stay; None keeps all. Default 5.
        min_score: Scored documents below it are dropped; it is on the scorer's scale, or on the
            blend's where there is one.
        blend: Mix the scores with the first stage: a `Blend`, its method or a mapping.
        max_tokens: At most this many tokens of text stay, by `count_tokens`.
        count_tokens: Counts the tokens of a text as the LLM will.
        score_key: Metadata key that gets the score as a plain float. A document that was not
            scored does not have it, not even from an earlier reranker. None leaves all metadata
            as it is. Default ``"relevance_score"``.
        prior_key: Metadata key that holds the first-stage score, higher meaning better; the
            blends ``"minmax"`` and ``"zscore"`` need it.
        span_key: Metadata key that gets the best passage's place in the text as
            ``[start, end]``, in characters. A document whose best passage is not known (only
            scorers such as `rerank_core.Windowed` know it) does not have it. Default: None, no
            such key.

    Raises:
        pydantic.ValidationError: If an argument is unknown or wrong; the message names it. It is
            a ValueError.
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        validate_default=True,
        validate_assignment=True,
        # A refused argument may hold a key.
        hide_input_in_errors=True,
    )

    scorer: Scorer | Mapping[str, Any] | str = "nano"
    top_n: int | None = DEFAULT_TOP_N
    min_score: float | None = None
    blend: Blend | Mapping[str, Any] | str | None = None
    max_tokens: int | None = None
    count_tokens: Callable[[str], int] | None = None
    score_key: str | None = "relevance_score"
    prior_key: str | None = None
    span_key: str | None = None

    @field_validator(*OPTIONS, "score_key", "prior_key", "span_key", mode="plain")
    @classmethod
    def _check(cls, value: Any, info: ValidationInfo) -> Any:
        return check_option(str(info.field_name), value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        check_budget(self.max_tokens, self.count_tokens)
        if isinstance(self.blend, Blend) and self.blend.method != "rrf" and not self.prior_key:
            raise ConfigurationError(
                f"blend {self.blend.method!r} needs prior_key, the metadata key that holds the "
                "first-stage score; 'rrf' needs positions only"
            )
        if self.span_key is not None and self.span_key == self.score_key:
            raise ConfigurationError(
                f"span_key and score_key are both {self.span_key!r}; give each a key of its own"
            )
        return self

    @field_serializer(*OPTIONS)
    def _write(self, value: Any, info: FieldSerializationInfo) -> Any:
        return write_option(info.field_name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments in plain JSON values, secrets left out.

        Raises:
            ConfigurationError: If the scorer cannot be written, or there is `count_tokens`.
        """
        fields = type(self).model_fields
        return {name: write_option(name, getattr(self, name)) for name in fields}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a compressor from what `to_dict` returned; keys come from the environment."""
        return cls(**data)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Say that `langchain_core.load.dumps` writes this class so that `loads` can read it."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return what `dumps` writes; `loads` refuses it where `to_dict` would fail."""
        try:
            kwargs = self.to_dict()
        except ConfigurationError:
            return self.to_json_not_implemented()
        return {"lc": 1, "type": "constructor", "id": self.lc_id(), "kwargs": kwargs}

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Score the documents for the query, order them, and keep the best.

        Args:
            documents: In first-stage order. Read once, so a generator will do.
            query: What the user asked; not blank.
            callbacks: Callbacks, or the manager of the run this call is part of. Inside a
                Runnable they are found without being passed.

        Returns:
            Copies of the documents that stayed, best first.

        Raises:
            InvalidInputError: If the query, a document or a first-stage score is wrong.
            ScorerError: If the scorer fails.
        """
        return self._compress(documents, query, ensure_config({"callbacks": callbacks}))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Like `compress_documents`, without blocking the event loop while the scorer works."""
        return await self._acompress(documents, query, ensure_config({"callbacks": callbacks}))

    def as_runnable(self) -> RerankRunnable:
        """Return a step for chains: ``{"query": …, "documents": …}`` in, documents out."""
        from langchain_rerank._runnable import RerankRunnable

        return RerankRunnable(compressor=self)

    def _compress(
        self, documents: Iterable[Document], query: str, config: RunnableConfig
    ) -> list[Document]:
        checked = check_items(documents, Document, "documents")
        manager = get_callback_manager_for_config(config)
        run = manager.on_chain_start(**self._describe_run(query, checked, config))
        try:
            ranking = rerank(query, **self._arguments(checked))
            outputs = self._outputs(checked, ranking)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(outputs)
        return outputs["documents"]

    async def _acompress(
        self, documents: Iterable[Document], query: str, config: RunnableConfig
    ) -> list[Document]:
        checked = check_items(documents, Document, "documents")
        manager = get_async_callback_manager_for_config(config)
        run = await manager.on_chain_start(**self._describe_run(query, checked, config))
        try:
            ranking = await arerank(query, **self._arguments(checked))
            outputs = self._outputs(checked, ranking)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(outputs)
        return outputs["documents"]

    def _describe_run(
        self, query: str, documents: list[Document], config: RunnableConfig
    ) -> dict[str, Any]:
        name = config.get("run_name") or type(self).__name__
        return {
            # The name, not the arguments: handlers may send this anywhere.
            "serialized": {"name": name},
            "inputs": {"query": query, "documents": documents},
            "name": name,
            "run_id": config.get("run_id"),
        }

    def _arguments(self, documents: list[Document]) -> dict[str, Any]:
        prior = None
        if self.blend is not None and self.prior_key is not None:
            prior = [document.metadata.get(self.prior_key) for document in documents]
        texts = [document.page_content for document in documents]
        return {"candidates": texts, "prior": prior, **options(self)}

    def _outputs(self, documents: list[Document], ranking: Ranking) -> _Outputs:
        return {
            "documents": [self._copy(documents[item.index], item) for item in ranking],
            "scorer": ranking.scorer,
            "scale": ranking.scale.value,
            "degraded": ranking.degraded,
            "usage": asdict(ranking.usage),
        }

    def _copy(self, document: Document, item: RankedItem) -> Document:
        metadata = copy_metadata(document.metadata, without=self.score_key)
        if self.score_key is not None and item.score is not None:
            metadata[self.score_key] = item.score
        if self.span_key is not None:
            metadata.pop(self.span_key, None)  # an earlier reranker's
            if item.span is not None:
                metadata[self.span_key] = [*item.span]
        return document.model_copy(update={"metadata": metadata})
