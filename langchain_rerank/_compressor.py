"""`RerankCompressor` and `RerankRunnable`: LangChain documents in, the best of them out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load.serializable import (
    Serializable,
    SerializedConstructor,
    SerializedNotImplemented,
)
from langchain_core.runnables import RunnableConfig, RunnableSerializable, ensure_config
from pydantic import ConfigDict, model_validator
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from langchain_rerank._runs import atraced, traced
from rerank_core import (
    Blend,
    ConfigurationError,
    InvalidInputError,
    Ranking,
)
from rerank_core._adapters import (
    AdapterOptions,
    MetadataKey,
    check_items,
)
from rerank_core._blend import BlendLike
from rerank_core._checks import describe
from rerank_core._loading import ScorerLike
from rerank_core._metadata import (
    ScoredText,
    copy_metadata,
    first_of_each_id,
    results,
    scored_text,
    shift_spans,
)
from rerank_core._reranking import arerank_passages, rerank_passages
from rerank_core._trimming import Passage, TrimLike
from rerank_core._trimming.tokens import CounterLike

if TYPE_CHECKING:
    from typing import Unpack

    from langchain_core.callbacks import Callbacks

__all__ = [
    "CommonOptions",
    "CompressorOptions",
    "RerankCompressor",
    "RerankRunnable",
    "make_compressor",
]


class CommonOptions(TypedDict, total=False):
    """Arguments of `RerankCompressor` that mean the same to a `RerankRetriever`."""

    scorer: ScorerLike
    depth: int | None
    min_score: float | None
    blend: BlendLike | None
    max_tokens: int | None
    count_tokens: CounterLike | None
    trim: Iterable[TrimLike] | TrimLike | None
    score_key: str | None
    span_key: str | None
    trim_key: str | None
    rank_fields: Sequence[str] | None
    text_key: str | None
    prior_key: str | None


class CompressorOptions(CommonOptions, total=False):
    """Arguments of `RerankCompressor`."""

    top_n: int | None
    distinct_ids: bool


class RerankCompressor(BaseDocumentCompressor, Serializable, AdapterOptions):
    """Scores documents against the query, reorders them and keeps the best.

    It returns copies: ids, subclasses and metadata stay as they were, and nothing that comes out
    shares a metadata container with what went in. Each call is a run of its own in LangChain's
    traces. Safe to use from several threads and event loops.

    Args:
        scorer: What scores: the name of one (see `rerank_core.load_scorer`), a mapping that
            `Scorer.to_config` wrote, or a `Scorer`. Default ``"nano"``, the model that comes with
            the package. No model is loaded before the first call.
        depth: Only so many of the first documents are scored; the rest follow unscored. None
            scores all. Default: None.
        top_n: At most this many documents stay; None keeps all. Default 5.
        min_score: Scored documents below it are dropped, and with them those that a
            `rerank_core.Cascade` left to its cheap stage; it is on the scorer's scale, or on the
            blend's where there is one.
        blend: Mix the scores with the first stage: a `Blend`, a string such as ``"rrf:0.3"`` or
            a mapping.
        max_tokens: At most this many tokens of text stay, as with the trimmer `Budget`.
        count_tokens: Counter of these tokens, as for `Budget`. Default: None, which is ``"nano"``.
        trim: Trimmers, names such as ``"excerpt"`` and ``"budget=2000"``, or mappings, as for
            `rerank_core.rerank`. They cut the document's own text; a document that was shortened
            holds what is left. Default: none.
        score_key: Metadata key that gets the score as a plain float. A document that was not
            scored does not have it, not even from an earlier reranker. None leaves all metadata
            as it is. Default ``"relevance_score"``.
        prior_key: Metadata key that holds the first-stage score, higher meaning better; the
            blends ``"minmax"`` and ``"zscore"`` need it.
        span_key: Metadata key that gets the relevant passages of the text, best first, as
            ``[{"start": 0, "end": 80, "score": 0.9}, …]``: characters of the text, and the
            passage's own score where it is known. A document whose passages are not known (only
            scorers such as `rerank_core.Windowed` know them) does not have it. Default: None, no
            such key.
        trim_key: Metadata key that a shortened document gets, with the passages that were kept and
            the whole text: ``{"spans": [{"start": 0, "end": 80}], "original": "…"}``. None
            writes nothing. Default ``"trimmed"``.
        rank_fields: Metadata keys whose values are read before the text, in this order, as
            ``key: value`` lines with a blank line after them. A key that is missing, None or
            blank is left out; a value is written on one line, and one that is no string by
            ``str``, at most 1,000 characters of it. Default: None, the text alone.
        text_key: Metadata key of a text that is scored in place of the document's own, such as
            a sentence of a parent document. The document itself stays as it is. Where the key is
            missing, None or blank, the own text is scored. Passages are given only where both
            texts are the same. Default: None.
        distinct_ids: Keep only the first of several documents with the same id, as ensemble and
            multi-query retrievers give them; documents without id all stay. Default False.

    Raises:
        pydantic.ValidationError: If an argument is unknown or wrong; the message names it. It is
            a ValueError.

    Example:
        ```python
        from langchain_core.documents import Document

        from langchain_rerank import RerankCompressor

        found = [Document("Cats purr."), Document("Plants use light.", metadata={"page": 7})]
        compressor = RerankCompressor(scorer="nano", top_n=1)
        (best,) = compressor.compress_documents(found, "How do plants eat?")
        assert best.metadata["page"] == 7
        print(round(best.metadata["relevance_score"], 2))
        ```

        ```text
        18.31
        ```
    """

    prior_key: Annotated[str | None, MetadataKey("prior_key")] = None

    @model_validator(mode="after")
    def _check_prior_key(self) -> Self:
        if isinstance(self.blend, Blend) and self.blend.method != "rrf" and not self.prior_key:
            raise ConfigurationError(
                f"blend {self.blend.method!r} needs prior_key, the metadata key that holds the "
                "first-stage score; 'rrf' needs positions only"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments in plain JSON values, secrets left out.

        Raises:
            ConfigurationError: If the scorer, `count_tokens` or a trimmer cannot be written.
        """
        self._check_writable()
        return self.model_dump()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a compressor from what `to_dict` returned; keys come from the environment."""
        return cls(**data)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: `langchain_core.load.dumps` writes this class for `loads`."""
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
        return _compress(self, documents, query, ensure_config({"callbacks": callbacks}))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Like `compress_documents`, without blocking the event loop while the scorer works."""
        return await _acompress(self, documents, query, ensure_config({"callbacks": callbacks}))

    def as_runnable(self) -> RerankRunnable:
        """Return a step for chains: ``{"query": …, "documents": …}`` in, documents out."""
        return RerankRunnable(compressor=self)

    def _check(self, documents: Iterable[Document]) -> list[Document]:
        checked = check_items(documents, Document, "documents")
        if self.distinct_ids:
            checked = first_of_each_id(checked, lambda document: document.id)
        return checked

    def _arguments(self, documents: list[Document]) -> dict[str, Any]:
        prior = None
        by_score = isinstance(self.blend, Blend) and self.blend.method != "rrf"
        if by_score and self.prior_key is not None:
            prior = [document.metadata.get(self.prior_key) for document in documents]
        read = [self._scored(document) for document in documents]
        return {
            "candidates": [scored.text for scored in read],
            "passages": [*map(_passage, documents, read)] if self._trims else None,
            "prior": prior,
            **self._for_rerank(),
        }

    def _scored(self, document: Document) -> ScoredText:
        text, metadata = document.page_content, document.metadata
        return scored_text(text, metadata, self.rank_fields, self.text_key)

    def _kept(self, documents: list[Document], ranking: Ranking) -> list[Document]:
        own = [*self._written_keys.values()]  # without what an earlier reranker wrote
        kept = []
        for item in ranking:
            document = documents[item.index]
            metadata = copy_metadata(document.metadata, without=own)
            start, length = self._scored(document).start, len(document.page_content)
            spans = [] if start is None else shift_spans(item.spans, start, length)
            metadata.update(results(item, spans, **self._keys()))
            update: dict[str, Any] = {"metadata": metadata}
            if item.kept:
                update["page_content"] = item.excerpt
            kept.append(document.model_copy(update=update))
        return kept


def _passage(document: Document, read: ScoredText) -> Passage:
    source = document.metadata.get("source")
    name = None if source is None else str(source)
    return Passage(document.page_content, read.header, document.metadata, name, read.start)


def _compress(
    compressor: RerankCompressor, documents: Iterable[Document], query: str, config: RunnableConfig
) -> list[Document]:
    checked = compressor._check(documents)
    with traced(config, type(compressor).__name__, query, checked) as finish:
        ranking = rerank_passages(query, **compressor._arguments(checked))
        return finish(compressor._kept(checked, ranking), ranking)


async def _acompress(
    compressor: RerankCompressor, documents: Iterable[Document], query: str, config: RunnableConfig
) -> list[Document]:
    checked = compressor._check(documents)
    async with atraced(config, type(compressor).__name__, query, checked) as finish:
        ranking = await arerank_passages(query, **compressor._arguments(checked))
        return finish(compressor._kept(checked, ranking), ranking)


def make_compressor(
    compressor: RerankCompressor | None, options: Mapping[str, Any]
) -> RerankCompressor:
    """Return the compressor, or make one from options.

    Raises:
        ConfigurationError: If there are options beside a compressor.
        pydantic.ValidationError: If an option is unknown or wrong.
    """
    if compressor is None:
        return RerankCompressor(**options)
    if options:
        raise ConfigurationError(
            f"{', '.join(options)}: arguments of the compressor, and there is one already; "
            "give them to it"
        )
    return compressor


class RerankInput(TypedDict):
    """The query and the documents to rerank for it."""

    query: str
    documents: Sequence[Document]


class RerankRunnable(RunnableSerializable[Mapping[str, Any], list[Document]]):
    """Takes ``{"query": …, "documents": …}``, gives the best documents, best first.

    Other keys in the mapping do not matter.

    `RerankCompressor.as_runnable` makes it. It has all that a Runnable has: ``ainvoke``,
    ``batch``, ``astream_events``, ``with_retry``, ``with_fallbacks``, and tags, metadata and
    callbacks by ``config``. A call is one run in the traces, the same as a compressor's: it ends
    with the documents, the scorer's name, the scale, why it is degraded, and the usage.

    Args:
        compressor: What reranks. Without it, one is made from `options`.
        name: The name in traces.
        **options: Arguments of `RerankCompressor`.

    Raises:
        ConfigurationError: If there are `options` beside a `compressor`.
        pydantic.ValidationError: If an argument is unknown or wrong; the message names it.

    Example:
        ```python
        from langchain_core.documents import Document

        from langchain_rerank import RerankRunnable

        found = [Document("Cats purr."), Document("Plants use light.")]
        step = RerankRunnable(scorer="nano", top_n=1)
        (best,) = step.invoke({"query": "How do plants eat?", "documents": found})
        assert best.page_content == "Plants use light."
        ```
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    compressor: RerankCompressor

    def __init__(
        self,
        *,
        compressor: RerankCompressor | None = None,
        name: str | None = None,
        **options: Unpack[CompressorOptions],
    ) -> None:
        # As one mapping: to type checkers the base class has no fields but its own.
        fields: dict[str, Any] = {"compressor": make_compressor(compressor, options), "name": name}
        super().__init__(**fields)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: `langchain_core.load.dumps` writes this class for `loads`."""
        return True

    @property
    def InputType(self) -> type[RerankInput]:  # noqa: N802  the base class calls it so
        """The type of the input, for schemas."""
        return RerankInput

    def invoke(
        self,
        input: Mapping[str, Any],  # noqa: A002  the base class calls it so
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Rerank the documents for the query.

        Args:
            input: The query and the documents, in first-stage order.
            config: Callbacks, tags, metadata and the name of the run.
            **kwargs: There are none; they are here for the base class.

        Returns:
            Copies of the documents that stayed, best first.

        Raises:
            InvalidInputError: If `input` is no mapping with both keys, or holds something wrong,
                or if there are other arguments.
            ScorerError: If the scorer fails.
        """
        return _compress(self.compressor, *_unpack(input), self._configure(config, kwargs))

    async def ainvoke(
        self,
        input: Mapping[str, Any],  # noqa: A002  the base class calls it so
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Like `invoke`, without blocking the event loop while the scorer works."""
        return await _acompress(self.compressor, *_unpack(input), self._configure(config, kwargs))

    def _configure(
        self, config: RunnableConfig | None, others: Mapping[str, Any]
    ) -> RunnableConfig:
        if others:
            raise InvalidInputError(
                f"{', '.join(others)}: the step takes an input and a config only; options are "
                "arguments of the compressor"
            )
        filled = ensure_config(config)
        filled.setdefault("run_name", self.get_name())
        return filled


def _unpack(given: object) -> tuple[Sequence[Document], str]:
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            'the input must be a mapping with "query" and "documents", such as RunnableParallel '
            f"gives, not {type(given).__name__}"
        )
    for key in ("query", "documents"):
        if key not in given:
            raise InvalidInputError(
                f"the input has no {key!r}, only {describe(sorted(map(str, given)))}; it needs "
                '"query" and "documents"'
            )
    return given["documents"], given["query"]
