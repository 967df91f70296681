"""The postprocessor in LlamaIndex's chat engines: the question it gets, and what the LLM reads."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.memory import ChatMemoryBuffer

from llamaindex_rerank import RerankPostprocessor
from rerank_core.testing import OverlapScorer
from support.llamaindex import BEST, QUERY, ScriptedLLM, found, make_index

ANSWER = "steep it"


def chat(kind: Any, llm: ScriptedLLM, scorer: OverlapScorer) -> Any:
    return kind.from_defaults(
        retriever=make_index().as_retriever(similarity_top_k=5),
        llm=llm,
        memory=ChatMemoryBuffer.from_defaults(token_limit=1000, tokenizer_fn=str.split),
        node_postprocessors=[
            RerankPostprocessor(scorer=scorer, top_n=2, keep_retrieval_score=True)
        ],
    )


async def ask(engine: Any, how: str, question: str) -> tuple[str, Any]:
    if how == "chat":
        response = engine.chat(question)
    elif how == "achat":
        response = await engine.achat(question)
    elif how == "stream_chat":
        response = engine.stream_chat(question)
        return "".join(response.response_gen), response.source_nodes
    else:
        response = await engine.astream_chat(question)
        said = "".join([token async for token in response.async_response_gen()])
        return said, response.source_nodes
    return str(response), response.source_nodes


every_way = pytest.mark.parametrize("how", ["chat", "achat", "stream_chat", "astream_chat"])


def assert_reads_the_best_two_only(prompt: str) -> None:
    assert "how to brew green tea" in prompt
    assert "green tea with milk" in prompt
    assert "tea from china" not in prompt
    assert "score" not in prompt


@every_way
async def test_in_a_context_chat_engine(how: str) -> None:
    llm = ScriptedLLM(ANSWER)
    said, nodes = await ask(chat(ContextChatEngine, llm, OverlapScorer()), how, QUERY)
    assert said == ANSWER
    assert found(nodes) == BEST
    assert_reads_the_best_two_only(llm.prompts[-1])


@every_way
async def test_a_condensed_question_is_what_is_reranked_for(how: str) -> None:
    llm, scorer = ScriptedLLM("Which drink?", QUERY, ANSWER), OverlapScorer()
    engine = chat(CondensePlusContextChatEngine, llm, scorer)
    await ask(engine, how, "green")
    said, nodes = await ask(engine, how, "And how do I make it?")
    assert said == ANSWER
    assert [query for query, _ in scorer.calls] == ["green", QUERY]
    assert found(nodes) == BEST
    assert_reads_the_best_two_only(llm.prompts[-1])
