"""The Cohere SDK: imported late, and clients of it that are ready made."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import cohere
import pytest

from rerank_core import (
    AuthenticationError,
    CohereScorer,
    ConfigurationError,
    DeadlineExceeded,
    MissingExtraError,
)
from support.cohere_runs import KEY, QUERY, SCORES, TEXTS, failure, run
from support.cohere_server import CohereServer, Reply


def test_constructing_imports_no_sdk() -> None:
    script = """
        import sys
        from rerank_core import CohereScorer
        CohereScorer("m", api_key="k-0123456789")
        sys.exit(bool({"cohere", "httpx", "tenacity"} & set(sys.modules)))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def test_a_missing_sdk_names_the_extra(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setitem(sys.modules, "cohere", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[cohere\]"'):
        run(CohereScorer("m", api_key=KEY), mode, QUERY, TEXTS)


def test_a_ready_sync_client_serves_both(server: CohereServer, mode: str) -> None:
    with cohere.ClientV2(KEY, base_url=server.url) as client:
        scorer = CohereScorer("m", client=client)
        assert run(scorer, mode, QUERY, TEXTS).scores == SCORES
        scorer.close()
        assert run(scorer, mode, QUERY, TEXTS).scores == SCORES  # closing it stays with its owner


async def test_a_ready_async_client_serves_ascore_only(server: CohereServer) -> None:
    async with cohere.AsyncClientV2(KEY, base_url=server.url) as client:
        scorer = CohereScorer("m", client=client)
        assert (await scorer.ascore(QUERY, TEXTS)).scores == SCORES
        with pytest.raises(ConfigurationError, match="call ascore"):
            scorer.score(QUERY, TEXTS)
        await scorer.aclose()
        assert (await scorer.ascore(QUERY, TEXTS)).scores == SCORES


def test_a_ready_client_is_not_retried_by_the_sdk_as_well(server: CohereServer) -> None:
    server.script(*[Reply({"message": "busy"}, status=503)] * 9)
    with cohere.ClientV2(KEY, base_url=server.url) as client:
        failure(CohereScorer("m", client=client), "score")
    assert len(server.requests) == 3


def test_a_ready_clients_failures_are_mapped_too(server: CohereServer) -> None:
    server.script(Reply({"message": f"no key like {KEY}"}, status=401))
    with cohere.ClientV2(KEY, base_url=server.url) as client:
        error = failure(CohereScorer("m", client=client), "score")
    assert isinstance(error, AuthenticationError)
    assert KEY not in str(error)
    assert len(server.requests) == 1


def test_a_ready_client_is_not_waited_for_longer(server: CohereServer) -> None:
    server.script(Reply(wait_for=threading.Event()))
    with cohere.ClientV2(KEY, base_url=server.url) as client:
        error = failure(CohereScorer("m", client=client, timeout=0.05, max_retries=0), "score")
    assert isinstance(error, DeadlineExceeded)
