"""Voyage, SGLang and NIM at their wire, against stand-ins on this machine."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from rerank_core import (
    AuthenticationError,
    ConfigurationError,
    HttpScorer,
    MalformedResponseError,
    NimScorer,
    Scale,
    ServiceError,
    SglangScorer,
    VoyageScorer,
    load_scorer,
)
from rerank_core.testing import Reply, Request, ScriptedServer
from support.cohere_runs import KEY, QUERY, SCORES, TEXTS, failure, numbered, run
from support.services import nim, sglang, voyage

LOGITS = tuple(None if score is None else score * 10 - 5 for score in SCORES)
TOKENS = 4 * 3 + 2 + 3 + 1 + 2
ADDRESS = "http://127.0.0.1:9"


class Wire(NamedTuple):
    """A service: its stand-in, its scorers, and what they are expected to do."""

    respond: Callable[[Request], Reply]
    make: Callable[..., HttpScorer]
    scores: tuple[float | None, ...]
    path: str
    body: dict[str, Any]
    config: dict[str, Any]
    variable: str

    def scorer(self, url: str, **options: Any) -> HttpScorer:
        return self.make(base_url=url, **options)


def make_voyage(**options: Any) -> HttpScorer:
    return VoyageScorer("rerank-2.5", **options)


def make_nim(**options: Any) -> HttpScorer:
    return NimScorer("nvidia/rerank", **options)


WIRES = {
    "voyage": Wire(
        voyage,
        make_voyage,
        SCORES,
        "/v1/rerank",
        {"model": "rerank-2.5", "query": QUERY, "documents": TEXTS[:4], "truncation": True},
        {"type": "voyage", "model": "rerank-2.5"},
        "VOYAGE_API_KEY",
    ),
    "sglang": Wire(
        sglang,
        SglangScorer,
        LOGITS,
        "/v1/rerank",
        {"query": QUERY, "documents": TEXTS[:4], "return_documents": False},
        {"type": "sglang"},
        "SGLANG_API_KEY",
    ),
    "nim": Wire(
        nim,
        make_nim,
        LOGITS,
        "/v1/ranking",
        {
            "model": "nvidia/rerank",
            "query": {"text": QUERY},
            "passages": [{"text": text} for text in TEXTS[:4]],
            "truncate": "END",
        },
        {"type": "nim", "model": "nvidia/rerank"},
        "NVIDIA_API_KEY",
    ),
}


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture
def server(wire: Wire) -> Iterator[ScriptedServer]:
    with ScriptedServer(respond=wire.respond) as running:
        yield running


def test_scores_come_back_in_the_texts_order(wire: Wire, server: ScriptedServer, mode: str) -> None:
    scorer = wire.scorer(server.url, api_key=KEY, prices={"million_tokens": 50_000})
    scoring = run(scorer, mode, QUERY, TEXTS)
    assert scoring.scores == pytest.approx(wire.scores)
    assert scorer.scale is (Scale.UNIT if wire.scores == SCORES else Scale.LOGIT)
    assert (scoring.usage.pairs, scoring.usage.requests) == (4, 1)
    assert (scoring.usage.tokens, scoring.usage.cost) == (TOKENS, 1.0)
    [request] = server.requests
    assert (request.path, request.body) == (wire.path, wire.body)
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_no_key_is_sent_where_there_is_none(
    wire: Wire, server: ScriptedServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(wire.scorer(server.url), mode)
    monkeypatch.setenv(wire.variable, KEY)
    run(wire.scorer(server.url, api_key=False), mode)
    run(wire.scorer(server.url), mode)
    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == [None, None, f"Bearer {KEY}"]


def test_voyage_itself_needs_a_key() -> None:
    with pytest.raises(AuthenticationError, match="VOYAGE_API_KEY"):
        VoyageScorer("rerank-2.5").score("a", ["a"])


@pytest.mark.parametrize(
    ("kind", "count", "options", "sizes"),
    [
        ("voyage", 1200, {}, [600, 600]),
        ("voyage", 7, {"batch_size": 3}, [2, 2, 3]),
        ("voyage", 1200, {"batch_size": 5000}, [600, 600]),
        ("nim", 600, {}, [300, 300]),
    ],
)
def test_texts_are_split(
    mode: str, kind: str, count: int, options: dict[str, int], sizes: list[int]
) -> None:
    query, texts, _ = numbered(count)
    wire = WIRES[kind]
    with ScriptedServer(respond=wire.respond) as server:
        scoring = run(wire.scorer(server.url, **options), mode, query, texts)
    assert None not in scoring.scores
    bodies = [request.body for request in server.requests]
    assert sorted(len(body.get("documents", body.get("passages"))) for body in bodies) == sizes


@pytest.mark.parametrize(
    ("kind", "options", "sent"),
    [
        ("voyage", {"truncation": False}, {"truncation": False}),
        ("voyage", {"instruction": "Find law."}, {"query": f"Find law.\nQuery: {QUERY}"}),
        ("sglang", {"model": "m", "instruction": "i"}, {"model": "m", "instruct": "i"}),
        ("nim", {"truncate": False}, {"truncate": "NONE"}),
    ],
)
def test_options_are_sent_and_told_apart(
    mode: str, kind: str, options: dict[str, Any], sent: dict[str, Any]
) -> None:
    wire = WIRES[kind]
    with ScriptedServer(respond=wire.respond) as server:
        scorer = wire.scorer(server.url, **options)
        run(scorer, mode, QUERY, TEXTS)
        assert server.requests[0].body == wire.body | sent
    config = {**wire.config, "base_url": server.url, **options}
    assert scorer.to_config() == config
    again = load_scorer(json.loads(json.dumps(config)))
    assert again.fingerprint == scorer.fingerprint != wire.scorer(server.url).fingerprint


def test_the_configuration_makes_the_same_scorer(wire: Wire, server: ScriptedServer) -> None:
    scorer = wire.scorer(server.url, api_key=KEY, timeout=5, max_retries=0)
    config = scorer.to_config()
    assert config == {**wire.config, "base_url": server.url, "timeout": 5.0, "max_retries": 0}
    for again in (load_scorer(config), pickle.loads(pickle.dumps(scorer))):
        assert again.fingerprint == scorer.fingerprint
        assert again.scale is scorer.scale
        assert again.score(QUERY, TEXTS).scores == pytest.approx(wire.scores)
    assert KEY not in f"{scorer!r} {config}"
    assert KEY.encode() not in pickle.dumps(scorer)


@pytest.mark.parametrize("kind", ["sglang", "nim"])
def test_scores_from_0_to_1_can_be_declared(mode: str, kind: str) -> None:
    wire = WIRES[kind]

    def respond(request: Request) -> Reply:
        text = json.dumps(wire.respond(request).body)
        return Reply(text.replace("-5.0", "0.25").replace("5.0", "0.75"))

    with ScriptedServer(respond=respond) as server:
        scorer = wire.scorer(server.url, raw_scores=False, scale="probability")
        assert run(scorer, mode).scores == (0.75, 0.25)
        assert scorer.scale is load_scorer(scorer.to_config()).scale is Scale.PROBABILITY
        unaware = ScriptedServer(respond=wire.respond)
        with unaware:
            error = failure(wire.scorer(unaware.url, raw_scores=False), mode)
    assert type(error) is MalformedResponseError
    assert "raw_scores=True" in str(error)
    with pytest.raises(ConfigurationError, match="scale is for scores from 0 to 1"):
        wire.scorer(server.url, scale="probability")


def test_nvidias_own_address_is_whole(mode: str) -> None:
    whole = "/v1/retrieval/nvidia/rerank/reranking"

    def respond(request: Request) -> Reply:
        return nim(Request("/v1/ranking", request.headers, request.body, request.port))

    with ScriptedServer(respond=respond) as server:
        scorer = NimScorer("nvidia/rerank", base_url=server.url + whole, path="")
        assert run(scorer, mode, QUERY, TEXTS).scores == pytest.approx(LOGITS)
        assert server.requests[0].path == whole
    assert load_scorer(scorer.to_config()).fingerprint == scorer.fingerprint


@pytest.mark.parametrize(
    "body", [None, [], {}, "x", 3, [{"index": 0}], {"data": {}, "rankings": {}}, ["x", "y"]]
)
def test_an_answer_of_another_shape_is_refused(
    wire: Wire, server: ScriptedServer, mode: str, body: Any
) -> None:
    server.script(Reply(body))
    error = failure(wire.scorer(server.url), mode)
    assert type(error) is MalformedResponseError


@pytest.mark.parametrize("count", [None, "many", -1, True, 1e300, [3], {"total_tokens": 1}])
def test_odd_counts_of_tokens_are_no_counts(wire: Wire, server: ScriptedServer, count: Any) -> None:
    def respond(request: Request) -> Reply:
        body = json.loads(json.dumps(wire.respond(request).body))
        for holder in body if isinstance(body, list) else [body]:
            name = "meta_info" if isinstance(body, list) else "usage"
            holder[name] = dict.fromkeys(("prompt_tokens", "total_tokens"), count)
        return Reply(body)

    server.script(respond)
    scoring = wire.scorer(server.url, prices={"million_tokens": 1}).score("a", ["a"])
    assert (scoring.usage.tokens, scoring.usage.cost) == (0, None)


def test_a_refusal_says_where_it_was_sent(wire: Wire, server: ScriptedServer, mode: str) -> None:
    server.script(Reply({"detail": f"no {KEY}"}, status=404))
    error = failure(wire.scorer(server.url, api_key=KEY), mode)
    assert type(error) is ServiceError
    assert f"'{wire.path}' is added to it" in str(error)
    assert KEY not in f"{error!s} {error.__cause__!r}"


def test_too_many_tokens_for_voyage_have_a_hint(mode: str) -> None:
    with ScriptedServer(Reply({"detail": "too many tokens"}, status=400)) as server:
        error = failure(make_voyage(base_url=server.url), mode)
    assert "lower batch_size" in str(error)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: VoyageScorer(" "), "model must be a name such as 'rerank-2.5'"),
        (lambda: VoyageScorer("m", truncation="yes"), "truncation must be True or False"),  # type: ignore[arg-type]
        (lambda: VoyageScorer("m", instruction=""), "instruction must be"),
        (lambda: VoyageScorer("m", batch_size=0), "batch_size must be"),
        (lambda: VoyageScorer("m", timeout=0), "timeout must be"),
        (lambda: VoyageScorer("m", base_url="http://far.example", api_key=KEY), "plain http"),
        (lambda: SglangScorer("127.0.0.1:30000"), "base_url must be"),
        (lambda: SglangScorer(ADDRESS, model=""), "model must be"),
        (lambda: SglangScorer(ADDRESS, instruction=3), "instruction must be"),  # type: ignore[arg-type]
        (lambda: SglangScorer(ADDRESS, raw_scores=None), "raw_scores must be"),  # type: ignore[arg-type]
        (lambda: NimScorer("", base_url=ADDRESS), "model must be"),
        (lambda: NimScorer("m", base_url=None), "base_url must be"),  # type: ignore[arg-type]
        (lambda: NimScorer("m", base_url=ADDRESS, path="x"), "path must be '/v1/ranking'"),
        (lambda: NimScorer("m", base_url=ADDRESS, truncate="END"), "truncate must be"),  # type: ignore[arg-type]
    ],
)
def test_options_that_cannot_work(make: Callable[[], HttpScorer], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make()
