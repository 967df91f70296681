"""Re-rank events and spans: once per call, in their place, and always closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.callbacks.schema import EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.events.span import SpanDropEvent  # type: ignore[attr-defined]
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.schema import NodeWithScore, TextNode

from llamaindex_rerank import RerankPostprocessor
from rerank_core import InvalidInputError
from rerank_core.testing import OverlapScorer
from support.scorers import BlockingScorer


class EventLog(BaseEventHandler):
    events: list[BaseEvent]

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)


class Watch:
    """Events and spans that LlamaIndex's root dispatcher saw."""

    def __init__(self) -> None:
        self.log = EventLog(events=[])
        self.spans = SimpleSpanHandler()

    def of(self, *kinds: type[BaseEvent]) -> list[BaseEvent]:
        return [event for event in self.log.events if isinstance(event, kinds)]


@pytest.fixture
def watch() -> Iterator[Watch]:
    root = get_dispatcher()
    watch = Watch()
    handlers, span_handlers = root.event_handlers, root.span_handlers
    root.event_handlers = [*handlers, watch.log]
    root.span_handlers = [*span_handlers, watch.spans]
    yield watch
    root.event_handlers, root.span_handlers = handlers, span_handlers


def nodes() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text)) for text in ("black coffee", "green tea")]


async def call(how: str, postprocessor: RerankPostprocessor, query: str = "tea") -> Any:
    if how == "sync":
        return postprocessor.postprocess_nodes(nodes(), query_str=query)
    return await postprocessor.apostprocess_nodes(nodes(), query_str=query)


both_ways = pytest.mark.parametrize(
    ("how", "method"), [("sync", "_postprocess_nodes"), ("async", "_apostprocess_nodes")]
)


@both_ways
@pytest.mark.parametrize(("top_n", "announced"), [(1, 1), (7, 7), (None, 2)])
async def test_a_call_is_one_span_with_one_pair_of_events(
    how: str, method: str, top_n: int | None, announced: int, watch: Watch
) -> None:
    results = await call(how, RerankPostprocessor(scorer=OverlapScorer(), top_n=top_n))
    (span,) = watch.spans.completed_spans
    assert span.id_.startswith(f"RerankPostprocessor.{method}-")
    assert not watch.spans.open_spans
    assert not watch.spans.dropped_spans
    start, end = watch.of(ReRankStartEvent, ReRankEndEvent)
    assert isinstance(start, ReRankStartEvent)
    assert isinstance(end, ReRankEndEvent)
    assert (end.tags["scorer"], end.tags["degraded"]) == ("overlap", None)
    assert end.tags["usage"]["pairs"] == len(start.nodes)
    assert end.tags["tokens_before"] is end.tags["tokens_after"] is None
    assert start.span_id == end.span_id == span.id_
    assert (start.query, start.top_n, start.model_name) == ("tea", announced, "overlap")
    assert [node.text for node in start.nodes] == ["black coffee", "green tea"]
    assert [node.score for node in start.nodes] == [None, None]
    assert end.nodes == results


@both_ways
async def test_spans_nest(how: str, method: str, watch: Watch) -> None:
    dispatcher = get_dispatcher("tests")

    @dispatcher.span
    async def caller() -> None:
        await call(how, RerankPostprocessor(scorer=OverlapScorer()))

    await caller()
    inner, outer = watch.spans.completed_spans
    assert inner.id_.startswith(f"RerankPostprocessor.{method}-")
    assert inner.parent_id == outer.id_
    assert outer.parent_id is None


@both_ways
async def test_callback_handlers_see_one_event(how: str, method: str) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = RerankPostprocessor(
        scorer=OverlapScorer(), top_n=1, callback_manager=CallbackManager([handler])
    )
    results = await call(how, postprocessor)
    ((start, end),) = handler.get_event_pairs(CBEventType.RERANKING)
    assert start.payload is not None
    assert start.payload[EventPayload.QUERY_STR] == "tea"
    assert start.payload[EventPayload.MODEL_NAME] == "overlap"
    assert start.payload[EventPayload.TOP_K] == 1
    assert len(start.payload[EventPayload.NODES]) == 2
    assert end.payload == {EventPayload.NODES: results}


@both_ways
async def test_a_failure_closes_everything(how: str, method: str, watch: Watch) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    postprocessor = RerankPostprocessor(
        scorer=OverlapScorer(), callback_manager=CallbackManager([handler])
    )
    with pytest.raises(InvalidInputError, match="query is blank"):
        await call(how, postprocessor, query=" ")
    assert not watch.spans.open_spans
    (span,) = watch.spans.dropped_spans
    assert [type(event) for event in watch.of(BaseEvent)] == [ReRankStartEvent, SpanDropEvent]
    assert watch.of(SpanDropEvent)[0].span_id == span.id_
    ((_, end),) = handler.get_event_pairs(CBEventType.RERANKING)
    assert end.payload is not None
    assert isinstance(end.payload[EventPayload.EXCEPTION], InvalidInputError)


async def test_a_cancelled_call_closes_everything(watch: Watch) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    scorer = BlockingScorer()
    postprocessor = RerankPostprocessor(scorer=scorer, callback_manager=CallbackManager([handler]))
    task = asyncio.create_task(call("async", postprocessor))
    await asyncio.to_thread(scorer.started.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scorer.go_on.set()
    assert not watch.spans.open_spans
    assert len(watch.spans.dropped_spans) == 1
    assert len(handler.get_event_pairs(CBEventType.RERANKING)[0]) == 2


async def test_concurrent_calls_keep_their_events_apart(watch: Watch) -> None:
    postprocessor = RerankPostprocessor(scorer=OverlapScorer())
    await asyncio.gather(*(call("async", postprocessor, f"tea {n}") for n in range(8)))
    spans = {span.id_ for span in watch.spans.completed_spans}
    assert len(spans) == 8
    for kind in (ReRankStartEvent, ReRankEndEvent):
        assert {event.span_id for event in watch.of(kind)} == spans


def test_a_subclass_has_one_span_too(watch: Watch) -> None:
    class Mine(RerankPostprocessor):
        pass

    Mine(scorer=OverlapScorer()).postprocess_nodes(nodes(), query_str="tea")
    asyncio.run(Mine(scorer=OverlapScorer()).apostprocess_nodes(nodes(), query_str="tea"))
    assert [span.id_.split("-")[0] for span in watch.spans.completed_spans] == [
        "Mine._postprocess_nodes",
        "Mine._apostprocess_nodes",
    ]
