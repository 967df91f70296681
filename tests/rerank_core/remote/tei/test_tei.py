"""TeiScorer: real HTTP, a stand-in for Text Embeddings Inference on this machine."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from typing import Any

import pytest

from rerank_core import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    MalformedResponseError,
    MissingExtraError,
    NonFiniteScoreError,
    RateLimitError,
    Scale,
    ScorerError,
    ServiceError,
    StopScoring,
    TeiScorer,
    load_scorer,
)
from rerank_core.testing import Reply
from support.cohere_runs import KEY, QUERY, SCORES, TEXTS, failure, numbered, run
from support.tei_server import TeiServer, refusal


def test_scores_come_back_in_the_texts_order(server: TeiServer, mode: str) -> None:
    scorer = TeiScorer(server.url)
    scoring = run(scorer, mode, QUERY, TEXTS)
    assert scoring.scores == SCORES
    assert scorer.scale is Scale.UNIT
    assert (scoring.usage.pairs, scoring.usage.requests) == (4, 1)
    assert scoring.usage.tokens == 4 * 3 + 2 + 3 + 1 + 2  # from a header of the answer
    assert scoring.usage.cost is None
    [request] = server.reranks
    assert request.body == {
        "query": QUERY,
        "texts": TEXTS[:4],
        "raw_scores": False,
        "return_text": False,
        "truncate": True,
    }
    assert "authorization" not in request.headers


def test_raw_scores_are_asked_for_and_on_the_logit_scale(server: TeiServer, mode: str) -> None:
    scorer = TeiScorer(server.url, raw_scores=True)
    scores = run(scorer, mode, QUERY, TEXTS).scores
    assert scores == pytest.approx((-5 / 3, 5.0, -5.0, 5 / 3, None))
    assert scorer.scale is Scale.LOGIT


def test_options_are_sent(server: TeiServer, mode: str) -> None:
    run(TeiScorer(server.url, truncation_direction="left", truncate=False), mode, QUERY, TEXTS)
    body = server.reranks[0].body
    assert (body["truncate"], body["truncation_direction"]) == (False, "Left")


@pytest.mark.parametrize(
    ("limit", "options", "sizes"),
    [
        (32, {}, [26] * 5),
        (100, {}, [65, 65]),
        (100, {"batch_size": 13}, [13] * 10),
        (5000, {}, [130]),
    ],
)
def test_texts_are_split_as_the_server_allows(
    mode: str, limit: int, options: dict[str, int], sizes: list[int]
) -> None:
    query, texts, expected = numbered(130)
    with TeiServer(limit=limit) as server:
        scorer = TeiScorer(server.url, **options)  # type: ignore[arg-type]
        scoring = run(scorer, mode, query, texts)
        run(scorer, mode)
    assert scoring.scores == expected
    assert [len(request.body["texts"]) for request in server.reranks] == [*sizes, 2]
    assert scoring.usage.requests == len(sizes)
    asked = [request for request in server.requests if request.path == "/info"]
    assert len(asked) == (0 if options else 1)  # once, not at every scoring


@pytest.mark.parametrize(
    "info",
    [
        Reply(b"", status=404),
        Reply(b"", status=401),
        Reply("<html>", status=200),
        Reply([1]),
        Reply({"max_client_batch_size": "many"}),
        Reply({"max_client_batch_size": 0}),
    ],
)
def test_a_server_that_does_not_say_gets_batches_of_32(
    server: TeiServer, mode: str, info: Reply
) -> None:
    server.script(info)
    query, texts, expected = numbered(64)
    scorer = TeiScorer(server.url)
    assert run(scorer, mode, query, texts).scores == expected
    assert run(scorer, mode).scores == (1.0, 0.0)
    assert [len(request.body["texts"]) for request in server.reranks] == [32, 32, 2]
    assert len(server.requests) == 4  # it was asked once


def test_a_server_that_was_down_is_asked_again(server: TeiServer, mode: str) -> None:
    server.limit = 100
    server.script(refusal(503, "Unhealthy", "unhealthy"))
    query, texts, expected = numbered(64)
    scorer = TeiScorer(server.url)
    assert run(scorer, mode, query, texts).scores == expected
    assert run(scorer, mode, query, texts).scores == expected
    assert [len(request.body["texts"]) for request in server.reranks] == [32, 32, 64]


@pytest.mark.parametrize(
    ("reply", "kind", "attempts", "said"),
    [
        (refusal(400, "Empty", "`inputs` cannot be empty"), ServiceError, 1, "cannot be empty"),
        (Reply(b"", status=401), AuthenticationError, 1, "TEI_API_KEY"),
        (Reply(b"", status=404), ServiceError, 1, "'/rerank' is added"),
        (refusal(413, "Validation", "batch size 33 > 32"), ServiceError, 1, "batch_size"),
        (Reply("length limit exceeded", status=413), ServiceError, 1, "--payload-limit"),
        (refusal(422, "Tokenizer", "too long"), ServiceError, 1, "too long"),
        (refusal(424, "Backend", "Inference failed"), ServiceError, 1, "re-ranker"),
        (refusal(429, "Overloaded", "Model is overloaded"), RateLimitError, 3, "overloaded"),
        (refusal(503, "Unhealthy", "unhealthy"), ServiceError, 3, "unhealthy"),
        (Reply("<html>Bad Gateway</html>", status=502), ServiceError, 3, "failed"),
        (Reply(b"", status=307, headers={"Location": "/x"}), ServiceError, 1, "redirects"),
    ],
)
def test_every_status_has_its_error(
    server: TeiServer, mode: str, reply: Reply, kind: type[ScorerError], attempts: int, said: str
) -> None:
    scorer = TeiScorer(server.url, batch_size=8)
    server.script(*[reply] * attempts)
    error = failure(scorer, mode, "tei")
    assert type(error) is kind
    assert error.status_code == reply.status
    assert error.retryable == (attempts > 1)
    assert error.__cause__ is not None
    assert len(server.requests) == attempts
    assert said in str(error)
    assert "<html>" not in str(error)
    assert run(scorer, mode).scores == (1.0, 0.0)


def test_a_passing_failure_is_retried_and_counted(server: TeiServer, mode: str) -> None:
    server.script(refusal(429, "Overloaded", "Model is overloaded"), Reply(drop=True))
    scoring = run(TeiScorer(server.url, batch_size=8), mode)
    assert scoring.scores == (1.0, 0.0)
    assert scoring.usage.requests == 3


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", MalformedResponseError, "cannot be read"),
        (b"\xff\xfe", MalformedResponseError, "cannot be read"),
        (b'[{"index": 0', MalformedResponseError, "cannot be read"),
        (None, MalformedResponseError, "not a list"),
        ({"results": []}, MalformedResponseError, "not a list"),
        ([], MalformedResponseError, "0 scores came back for 2 texts"),
        (["x"], MalformedResponseError, "not an integer: 'x'"),
        ([{"index": 2, "score": 0.5}], MalformedResponseError, "index 2"),
        ([{"index": 0, "score": 0.5}] * 2, MalformedResponseError, "twice"),
        ([{"index": True, "score": 0.5}], MalformedResponseError, "index is True"),
        ([{"index": 0}], MalformedResponseError, "score of text 0 is None"),
        ([{"index": 0, "score": 1.5}], MalformedResponseError, "outside 0 to 1"),
        ([{"index": 0, "score": float("nan")}], NonFiniteScoreError, "nan"),
        (b'[{"index": 0, "score": 1' + b"0" * 400 + b"}]", NonFiniteScoreError, "text 0"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(
    server: TeiServer, mode: str, body: Any, kind: type[ScorerError], said: str
) -> None:
    server.script(Reply(body, headers={"X-Request-Id": "r-1"}))
    error = failure(TeiScorer(server.url, batch_size=8), mode, "tei")
    assert type(error) is kind
    assert said in str(error)
    assert error.request_id == "r-1"


@pytest.mark.parametrize("tokens", ["", "-3", "many", "٣"])
def test_odd_counts_of_tokens_are_no_counts(server: TeiServer, tokens: str) -> None:
    ranks = [{"index": 0, "score": 0.5}]
    server.script(Reply(ranks, headers={"x-compute-tokens": tokens.encode().decode("latin-1")}))
    assert TeiScorer(server.url, batch_size=8).score("a", ["a"]).usage.tokens == 0


def test_a_slow_server_exceeds_the_deadline(server: TeiServer, mode: str) -> None:
    server.script(Reply(wait_for=threading.Event()))
    scorer = TeiScorer(server.url, batch_size=8, timeout=0.05, max_retries=0)
    assert isinstance(failure(scorer, mode, "tei"), DeadlineExceeded)


def test_nobody_listens(mode: str) -> None:
    with TeiServer() as gone:
        pass
    assert failure(TeiScorer(gone.url), mode, "tei").retryable


def test_what_came_before_a_stop_is_kept(server: TeiServer) -> None:
    def stop(done: int, total: int) -> None:
        raise StopScoring

    scoring = TeiScorer(server.url, batch_size=1).score("a", ["a", "b", "c"], progress=stop)
    assert scoring.scores == (1.0, None, None)
    assert scoring.degraded == "stopped early: 1 of 3 texts scored"


def test_the_key_goes_only_where_it_may(
    server: TeiServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = KEY
    error = failure(TeiScorer(server.url), mode, "tei")
    assert isinstance(error, AuthenticationError)
    assert "Set TEI_API_KEY" in str(error)
    assert run(TeiScorer(server.url, api_key=KEY), mode).scores == (1.0, 0.0)
    monkeypatch.setenv("TEI_API_KEY", KEY)
    assert run(TeiScorer(server.url), mode).scores == (1.0, 0.0)
    error = failure(TeiScorer(server.url, api_key=False), mode, "tei")
    assert isinstance(error, AuthenticationError)
    with pytest.raises(ConfigurationError, match="plain http"):
        run(TeiScorer("http://tei.example", batch_size=8), mode)
    with pytest.raises(ConfigurationError, match="plain http"):
        TeiScorer("http://tei.example", api_key=KEY)


def test_a_key_that_the_server_echoes_is_removed(server: TeiServer, mode: str) -> None:
    scorer = TeiScorer(server.url, api_key=KEY, batch_size=8)
    server.script(refusal(422, "Validation", f"no such key: {KEY}"))
    error = failure(scorer, mode, "tei")
    assert KEY not in f"{error} {error!r} {error.__cause__!r} {scorer!r}"
    assert KEY.encode() not in pickle.dumps(scorer)


def test_the_configuration_makes_the_same_scorer(server: TeiServer) -> None:
    options: dict[str, Any] = {
        "model": "BAAI/bge-reranker-base",
        "batch_size": 8,
        "truncate": False,
        "truncation_direction": "left",
        "raw_scores": True,
        "timeout": 5.0,
        "max_retries": 0,
        "prices": {"request": 0.5},
    }
    scorer = TeiScorer(server.url + "/", api_key=KEY, **options)
    assert scorer.to_config() == {"type": "tei", "base_url": server.url, **options}
    assert load_scorer(scorer.to_config()).fingerprint == scorer.fingerprint
    assert pickle.loads(pickle.dumps(scorer)).score("a", ["a"]).usage.cost == 0.5
    assert (scorer.name, TeiScorer(server.url).name) == ("BAAI/bge-reranker-base", "tei")
    assert repr(scorer) == f"TeiScorer({server.url!r}, model='BAAI/bge-reranker-base')"
    disabled = TeiScorer(server.url, api_key=False).to_config()
    assert disabled == {"type": "tei", "base_url": server.url, "api_key": False}


def test_a_scale_can_be_declared(server: TeiServer, mode: str) -> None:
    scorer = TeiScorer(server.url, scale="probability")
    assert scorer.scale is load_scorer(scorer.to_config()).scale is Scale.PROBABILITY
    assert scorer.fingerprint == TeiScorer(server.url).fingerprint
    assert run(scorer, mode, QUERY, TEXTS).scores == SCORES
    with pytest.raises(ConfigurationError, match="not for raw_scores=True"):
        TeiScorer(server.url, scale="unit", raw_scores=True)


def test_what_changes_scores_changes_the_fingerprint() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"model": "other"},
        {"raw_scores": True},
        {"truncate": False},
        {"truncation_direction": "left"},
        {"base_url": "http://127.0.0.1:8"},
    ]
    made = [TeiScorer(**{"base_url": "http://127.0.0.1:9", **change}) for change in changes]
    assert len({scorer.fingerprint for scorer in made}) == len(changes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base_url": "127.0.0.1:8080"}, "base_url"),
        ({"base_url": "http://h/?x=1"}, "base_url"),
        ({"base_url": None}, "base_url"),
        ({"model": ""}, "model"),
        ({"batch_size": 0}, "batch_size"),
        ({"truncate": None}, "truncate"),
        ({"truncation_direction": "up"}, "truncation_direction"),
        ({"raw_scores": 1}, "raw_scores"),
        ({"timeout": 0}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"prices": {"pair": 1}}, "prices"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        TeiScorer(**{"base_url": "http://127.0.0.1:8080", **options})


def test_several_event_loops_and_closing(server: TeiServer) -> None:
    with TeiScorer(server.url) as scorer:
        for _ in range(3):
            assert asyncio.run(scorer.ascore(QUERY, TEXTS)).scores == SCORES
        scorer.score("a", ["a"])

    async def within() -> None:
        async with scorer:
            await scorer.ascore(QUERY, TEXTS)

    asyncio.run(within())
    assert len({request.port for request in server.reranks}) == 2


def test_constructing_imports_nothing_heavy() -> None:
    script = """if True:
        import sys
        from rerank_core import load_scorer
        load_scorer("tei:http://127.0.0.1:8080")
        sys.exit(bool({"cohere", "httpx", "tenacity"} & set(sys.modules)))
    """
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_scoring_imports_no_sdk(server: TeiServer) -> None:
    script = """if True:
        import sys
        from rerank_core import load_scorer
        load_scorer("tei:" + sys.argv[1]).score("a", ["a"])
        sys.exit("cohere" in sys.modules)
    """
    command = [sys.executable, "-c", script, server.url]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("library", ["httpx", "tenacity"])
def test_a_missing_library_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, mode: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[tei\]"'):
        run(TeiScorer("http://127.0.0.1:9"), mode, QUERY, TEXTS)


def test_odd_answers_are_typed_errors_or_read_with_care(server: TeiServer) -> None:
    scorer = TeiScorer(server.url, batch_size=3, max_retries=0, prices={"million_tokens": 1})
    server.script(
        Reply(b"[" * 5000, status=500),
        Reply([{"index": 0, "score": 0.5}], headers={"x-compute-tokens": "9" * 400}),
    )
    with pytest.raises(ServiceError, match="status 500"):
        scorer.score("q", ["a"])
    scoring = scorer.score("q", ["a"])
    assert (scoring.scores, scoring.usage.tokens, scoring.usage.cost) == ((0.5,), 0, None)
