"""`RerankPostprocessor`: LlamaIndex nodes in, the best of them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import BaseModel, StrictBool, field_serializer, model_validator

from llamaindex_rerank._spans import text_start
from rerank_core import (
    Blend,
    ConfigurationError,
    InvalidInputError,
    Ranking,
    Span,
)
from rerank_core._adapters import (
    AdapterOptions,
    check_items,
    ranking_facts,
)
from rerank_core._checks import describe
from rerank_core._metadata import (
    ScoredText,
    copy_metadata,
    first_of_each_id,
    replacement_text,
    results,
    scored_text,
    shift_spans,
)
from rerank_core._reranking import arerank_passages, rerank_passages
from rerank_core._trimming import Passage

__all__ = ["RerankPostprocessor"]

# The key that LlamaIndex's own rerankers use.
_RETRIEVAL_SCORE_KEY = "retrieval_score"

dispatcher = get_dispatcher(__name__)

_Finish = Callable[[Iterable[NodeWithScore], Ranking], list[NodeWithScore]]


class RerankPostprocessor(BaseNodePostprocessor, AdapterOptions):
    """Scores nodes against the query, reorders them and keeps the best.

    What is scored is the text an embedding model would see; `metadata_mode`, `rank_fields` and
    `text_key` are the choices.
    Where metadata cannot be written as text, the node's own text is scored alone.
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
        depth: Only so many of the first nodes are scored; the rest follow unscored. None scores
            all. Default: None.
        top_n: At most this many nodes stay; None keeps all. Default 5.
        min_score: Scored nodes below it are dropped, and with them those that a
            `rerank_core.Cascade` left to its cheap stage; it is on the scorer's scale, or on the
            blend's where there is one.
        blend: Mix the scores with the first stage: a `Blend`, a string such as ``"rrf:0.3"`` or
            a mapping.
        max_tokens: At most this many tokens of text stay, as with the trimmer `Budget`.
        count_tokens: Counter of these tokens, as for `Budget`. Default: None, which is ``"nano"``.
        trim: Trimmers, names such as ``"excerpt"`` and ``"budget=2000"``, or mappings, as for
            `rerank_core.rerank`. They cut the node's own text; a node that was shortened
            holds what is left. Default: none.
        score_key: Metadata key that gets the score as a plain float. A node that was not scored
            does not have it, not even from an earlier reranker. None writes no score into the
            metadata. Default ``"relevance_score"``.
        span_key: Metadata key that gets the relevant passages of the node's own text, without
            metadata, best first, as ``[{"start": 0, "end": 80, "score": 0.9}, …]``: characters,
            and the passage's own score where it is known. A node whose passages are not known
            (only scorers such as `rerank_core.Windowed` know them), or lie wholly in its
            metadata, does not have it. Default: None, no such key.
        trim_key: Metadata key that a shortened node gets, with the passages that were kept and
            the whole text: ``{"spans": [{"start": 0, "end": 80}], "original": "…"}``. None
            writes nothing. Default ``"trimmed"``.
        rank_fields: Metadata keys whose values are read before the text, in this order, as
            ``key: value`` lines with a blank line after them. A key that is missing, None or
            blank is left out; a value is written on one line, and one that is no string by
            ``str``, at most 1,000 characters of it. Default: None, what `metadata_mode` says.
        text_key: Metadata key of a text that is scored in place of the node's own, such as
            the ``"window"`` of a sentence; it is no part of the metadata that `metadata_mode`
            lets through. The node itself stays as it is. Where the key is missing, None or blank,
            the own text is scored. Passages are given only where both texts are the same.
            Default: None.
        distinct_ids: Keep only the first of several nodes with the same id, as fusion and
            multi-query retrievers give them. Default False.
        metadata_mode: Which metadata is scored with a node's text, as in
            ``node.get_content(metadata_mode)``: a `MetadataMode` or its value. With ``"none"``
            the text alone is scored, as LangChain's adapter does with a document of the same
            text. Default ``"embed"``; with `rank_fields`, which cannot be given beside it, None.
        keep_retrieval_score: Put the score a node came with into its metadata, under
            ``"retrieval_score"``. Default False.
        callback_manager: Set by the query engine.

    Raises:
        pydantic.ValidationError: If an argument is unknown or wrong; the message names it. It is
            a ValueError.

    Example:
        ```python
        from llama_index.core.schema import NodeWithScore, TextNode

        from llamaindex_rerank import RerankPostprocessor

        texts = ["Cats purr.", "Plants use light."]
        found = [NodeWithScore(node=TextNode(text=text), score=0.5) for text in texts]
        postprocessor = RerankPostprocessor(scorer="nano", top_n=1)
        (best,) = postprocessor.postprocess_nodes(found, query_str="How do plants eat?")
        assert best.text == "Plants use light."
        ```
    """

    metadata_mode: MetadataMode | None = None
    keep_retrieval_score: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _drop_class_name(cls, data: Any) -> Any:
        # `model_dump` writes it beside the fields, and `from_dict` alone takes it out again.
        if isinstance(data, Mapping) and data.get("class_name") == cls.class_name():
            return {name: value for name, value in data.items() if name != "class_name"}
        return data

    @model_validator(mode="before")
    @classmethod
    def _choose_mode(cls, data: Any) -> Any:
        names = ("rank_fields", "metadata_mode")
        if isinstance(data, Mapping) and all(data.get(name) is None for name in names):
            return {**data, "metadata_mode": MetadataMode.EMBED}
        return data

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.rank_fields is not None and self.metadata_mode is not None:
            raise ConfigurationError(
                "rank_fields and metadata_mode both choose the metadata to read; give only one"
            )
        return self

    @property
    def _written_keys(self) -> dict[str, str]:
        kept = {"keep_retrieval_score": _RETRIEVAL_SCORE_KEY} if self.keep_retrieval_score else {}
        return {**super()._written_keys, **kept}

    @field_serializer("metadata_mode")
    def _write_mode(self, value: MetadataMode | None) -> str | None:
        return None if value is None else value.value

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the arguments in plain JSON values, secrets left out.

        Raises:
            ConfigurationError: If the scorer, `count_tokens` or a trimmer cannot be written.
        """
        self._check_writable()
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
        nodes, query = self._check(nodes), _query_of(query_bundle)
        copies = self._copies(nodes)
        with self._events(nodes, query) as finish:
            arguments = self._arguments(copies)
            ranking = rerank_passages(query, **arguments)
            return finish(self._write_results(copies, arguments["candidates"], ranking), ranking)

    # The base class puts a span around its abstract method only, so this one needs its own.
    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        nodes, query = self._check(nodes), _query_of(query_bundle)
        copies = self._copies(nodes)
        with self._events(nodes, query) as finish:
            arguments = self._arguments(copies)
            ranking = await arerank_passages(query, **arguments)
            return finish(self._write_results(copies, arguments["candidates"], ranking), ranking)

    def _check(self, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        checked = check_items(nodes, NodeWithScore, "nodes")
        if self.distinct_ids:
            checked = first_of_each_id(checked, lambda scored: scored.node.node_id)
        return checked

    @contextmanager
    def _events(self, nodes: list[NodeWithScore], query: str) -> Iterator[_Finish]:
        """Emit the events around a call, which tells the nodes that stay and their ranking."""
        top_n = len(nodes) if self.top_n is None else self.top_n
        model = self._for_rerank()["scorer"].name
        kept: list[NodeWithScore] = []
        facts: dict[str, Any] = {}

        def finish(stayed: Iterable[NodeWithScore], ranking: Ranking) -> list[NodeWithScore]:
            kept.extend(stayed)
            facts.update(ranking_facts(ranking))
            return kept

        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=model))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: model,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield finish
            event.on_end(payload={EventPayload.NODES: kept})
        dispatcher.event(ReRankEndEvent(nodes=kept, tags=facts))

    def _arguments(self, nodes: list[NodeWithScore]) -> dict[str, Any]:
        by_score = isinstance(self.blend, Blend) and self.blend.method != "rrf"
        prior = [node.score for node in nodes] if by_score else None
        texts = [self._read(node.node) for node in nodes]
        return {
            "candidates": texts,
            "passages": [*map(self._passage, nodes, texts)] if self._trims else None,
            "prior": prior,
            **self._for_rerank(),
        }

    def _passage(self, scored: NodeWithScore, read: str) -> Passage:
        node = scored.node
        text = node.get_content(MetadataMode.NONE)
        start = self._start(node, read, text)
        return Passage(text, ScoredText(read, start).header, node.metadata, node.ref_doc_id, start)

    def _read(self, node: BaseNode) -> str:
        """Return the text of a node as it is scored."""
        if self.rank_fields is not None:
            text = node.get_content(MetadataMode.NONE)
            return scored_text(text, node.metadata, self.rank_fields, self.text_key).text
        return _scored_text(self._with_text(node), self.metadata_mode or MetadataMode.EMBED)

    def _with_text(self, node: BaseNode) -> BaseNode:
        """Return the node, or a copy that has the text of `text_key` as its own only."""
        if self.text_key not in node.metadata:
            return node
        text = replacement_text(node.metadata, self.text_key)
        metadata = {key: value for key, value in node.metadata.items() if key != self.text_key}
        other = node.model_copy(update={"metadata": metadata})
        if text is not None:
            other.set_content(text)
        return other

    def _spans(self, node: BaseNode, scored: str, spans: Sequence[Span]) -> list[Span]:
        """Return the passages of a node's own text."""
        if not spans:
            return []
        text = node.get_content(MetadataMode.NONE)
        start = self._start(node, scored, text)
        return [] if start is None else shift_spans(spans, start, len(text))

    def _start(self, node: BaseNode, scored: str, text: str) -> int | None:
        """Count the characters before a node's own text in the text that is scored."""
        if self.rank_fields is not None:
            return scored_text(text, node.metadata, self.rank_fields, self.text_key).start
        read = self._with_text(node)
        if read.get_content(MetadataMode.NONE) != text:
            return None
        return text_start(read, scored, self.metadata_mode or MetadataMode.EMBED)

    def _copies(self, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        """Copy nodes without what an earlier reranker wrote."""
        keys = [*self._written_keys.values()]
        copies = []
        for scored in nodes:
            node = scored.node
            update = {
                "metadata": copy_metadata(node.metadata, without=keys),
                "relationships": dict(node.relationships),
                "excluded_embed_metadata_keys": _with_keys(node.excluded_embed_metadata_keys, keys),
                "excluded_llm_metadata_keys": _with_keys(node.excluded_llm_metadata_keys, keys),
            }
            copies.append(scored.model_copy(update={"node": node.model_copy(update=update)}))
        return copies

    def _write_results(
        self, copies: list[NodeWithScore], texts: Sequence[str], ranking: Ranking
    ) -> Iterator[NodeWithScore]:
        for item in ranking:
            copy = copies[item.index]
            spans = self._spans(copy.node, texts[item.index], item.spans)
            written = results(item, spans, **self._keys())
            if item.kept:
                copy.node.set_content(item.excerpt)
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


def _scored_text(node: BaseNode, mode: MetadataMode) -> str:
    """Return the text of a node with its metadata, or without it where it cannot be written."""
    try:
        return node.get_content(mode)
    except Exception:
        if all(map(_has_text, node.metadata.values())):
            raise
        return node.get_content(MetadataMode.NONE)


def _has_text(value: object) -> bool:
    try:
        str(value)
    except Exception:  # noqa: BLE001 - nested too deeply, or a class of the user's
        return False
    return True


def _with_keys(keys: list[str], added: list[str]) -> list[str]:
    return [*keys, *(key for key in added if key not in keys)]
