"""`RerankPostprocessor`: LlamaIndex nodes in, the best of them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import (
    BaseModel,
    ConfigDict,
    FieldSerializationInfo,
    StrictBool,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from llamaindex_rerank._spans import span_in_node
from rerank_core import (
    Blend,
    ConfigurationError,
    InvalidInputError,
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
from rerank_core.validation import check_budget, describe

__all__ = ["RerankPostprocessor"]

# The key that LlamaIndex's own rerankers use.
_RETRIEVAL_SCORE_KEY = "retrieval_score"

dispatcher = get_dispatcher(__name__)


class RerankPostprocessor(BaseNodePostprocessor):
    """Scores nodes against the query, reorders them and keeps the best.

    What is scored is the text an embedding model would see; `metadata_mode` is the choice.
    First-stage scores are those of the nodes.

    It returns copies: ids, subclasses, relationships and metadata stay as they were, and nothing
    that comes out shares a metadata container with what went in. The `score` of a node that was
    not scored is None: its first-stage score is on another scale. What it writes into metadata
    is kept out of the text for embedding models and LLMs, and is never scored, not even if an
    earlier reranker wrote it. Each call emits LlamaIndex's re-rank events in a span of its own.
    Safe to use from several threads and event loops.

    Args:
        scorer: What scores: the name of one (see `rerank_core.load_scorer`), a mapping that
            `Scorer.to_config` wrote, or a `Scorer`. Default ``"nano"``, the model that comes with
            the package. No model is loaded before the first call.
        top_n: At most this many nodes stay; None keeps all. Default 5.
        min_score: Scored nodes below it are dropped; it is on the scorer's scale, or on the
            blend's where there is one.
        blend: Mix the scores with the first stage: a `Blend`, its method or a mapping.
        max_tokens: At most this many tokens of scored text stay, by `count_tokens`.
        count_tokens: Counts the tokens of a text as the LLM will.
        score_key: Metadata key that gets the score as a plain float. A node that was not scored
            does not have it, not even from an earlier reranker. None writes no score into the
            metadata. Default ``"relevance_score"``.
        span_key: Metadata key that gets the best passage's place in the node's own text, without
            metadata, as ``[start, end]`` in characters. A node whose best passage is not known
            (only scorers such as `rerank_core.Windowed` know it), or lies wholly in its metadata,
            does not have it. Default: None, no such key.
        metadata_mode: Which metadata is scored with a node's text, as in
            ``node.get_content(metadata_mode)``: a `MetadataMode` or its value. With ``"none"``
            the text alone is scored, as LangChain's adapter does with a document of the same
            text. Default ``"embed"``.
        keep_retrieval_score: Put the score a node came with into its metadata, under
            ``"retrieval_score"``. Default False.
        callback_manager: Set by the query engine.

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
    span_key: str | None = None
    metadata_mode: MetadataMode = MetadataMode.EMBED
    keep_retrieval_score: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _drop_class_name(cls, data: Any) -> Any:
        # `model_dump` writes it beside the fields, and `from_dict` alone takes it out again.
        if isinstance(data, Mapping) and data.get("class_name") == cls.class_name():
            return {name: value for name, value in data.items() if name != "class_name"}
        return data

    @field_validator(*OPTIONS, "score_key", "span_key", mode="plain")
    @classmethod
    def _check(cls, value: Any, info: ValidationInfo) -> Any:
        return check_option(str(info.field_name), value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        check_budget(self.max_tokens, self.count_tokens)
        keys = self._keys
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigurationError(
                    f"score_key is {self.score_key!r}, span_key is {self.span_key!r}, and "
                    f"keep_retrieval_score={self.keep_retrieval_score} writes "
                    f"{_RETRIEVAL_SCORE_KEY!r}; give each a key of its own"
                )
        return self

    @property
    def _keys(self) -> list[str]:
        """The metadata keys this writes."""
        kept = _RETRIEVAL_SCORE_KEY if self.keep_retrieval_score else None
        return [key for key in (self.score_key, self.span_key, kept) if key is not None]

    @field_serializer(*OPTIONS)
    def _write(self, value: Any, info: FieldSerializationInfo) -> Any:
        return write_option(info.field_name, value)

    @field_serializer("metadata_mode")
    def _write_mode(self, value: MetadataMode) -> str:
        return value.value

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments in plain JSON values, secrets left out.

        Raises:
            ConfigurationError: If the scorer cannot be written, or there is `count_tokens`.
        """
        for name, value in options(self).items():
            write_option(name, value)  # pydantic would wrap the error in one of its own
        return super().to_dict(**kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # The base class leaves out what cannot be pickled, so a scorer would silently come back
        # as the default one. Callback handlers belong to the process and stay behind.
        state = BaseModel.__getstate__(self)
        fields = {k: v for k, v in state["__dict__"].items() if k != "callback_manager"}
        return {**state, "__dict__": fields}

    @classmethod
    def class_name(cls) -> str:
        """Return the name this class is serialised under."""
        return "RerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        nodes, query = check_items(nodes, NodeWithScore, "nodes"), _query_of(query_bundle)
        copies = [self._copy(node) for node in nodes]
        with self._events(nodes, query) as kept:
            ranking = rerank(query, **self._arguments(copies))
            kept.extend(self._write_results(copies, ranking))
        return kept

    # The base class puts a span around its abstract method only, so this one needs its own.
    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        nodes, query = check_items(nodes, NodeWithScore, "nodes"), _query_of(query_bundle)
        copies = [self._copy(node) for node in nodes]
        with self._events(nodes, query) as kept:
            ranking = await arerank(query, **self._arguments(copies))
            kept.extend(self._write_results(copies, ranking))
        return kept

    @contextmanager
    def _events(self, nodes: list[NodeWithScore], query: str) -> Iterator[list[NodeWithScore]]:
        """Emit the events around a call, which puts the nodes that stay into the list."""
        top_n = len(nodes) if self.top_n is None else self.top_n
        model = options(self)["scorer"].name
        kept: list[NodeWithScore] = []
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=model))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield kept
            event.on_end(payload={EventPayload.NODES: kept})
        dispatcher.event(ReRankEndEvent(nodes=kept))

    def _arguments(self, nodes: list[NodeWithScore]) -> dict[str, Any]:
        prior = None if self.blend is None else [node.score for node in nodes]
        texts = [node.get_content(self.metadata_mode) for node in nodes]
        return {"candidates": texts, "prior": prior, **options(self)}

    def _copy(self, scored: NodeWithScore) -> NodeWithScore:
        """Copy a node without what an earlier reranker wrote."""
        node, keys = scored.node, self._keys
        kept = {key: value for key, value in node.metadata.items() if key not in keys}
        update = {
            "metadata": copy_metadata(kept, without=None),
            "relationships": dict(node.relationships),
            "excluded_embed_metadata_keys": _with_keys(node.excluded_embed_metadata_keys, keys),
            "excluded_llm_metadata_keys": _with_keys(node.excluded_llm_metadata_keys, keys),
        }
        return scored.model_copy(update={"node": node.model_copy(update=update)})

    def _write_results(
        self, copies: list[NodeWithScore], ranking: Ranking
    ) -> Iterator[NodeWithScore]:
        for item in ranking:
            copy = copies[item.index]
            written: dict[str, Any] = {}
            if self.score_key is not None and item.score is not None:
                written[self.score_key] = item.score
            if self.span_key is not None and item.span is not None:
                span = span_in_node(copy.node, item.text, self.metadata_mode, item.span)
                if span is not None:
                    written[self.span_key] = [*span]
            if self.keep_retrieval_score and copy.score is not None:
                written[_RETRIEVAL_SCORE_KEY] = float(copy.score)
            copy.score = item.score
            copy.node.metadata.update(written)
            yield copy


def _query_of(query_bundle: QueryBundle | None) -> str:
    if not isinstance(query_bundle, QueryBundle):
        raise InvalidInputError(
            "a reranker needs the query: pass query_str, or a QueryBundle as query_bundle, "
            f"not {describe(query_bundle)}"
        )
    return query_bundle.query_str


def _with_keys(keys: list[str], added: list[str]) -> list[str]:
    return [*keys, *(key for key in added if key not in keys)]
