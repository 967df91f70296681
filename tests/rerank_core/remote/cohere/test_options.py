"""Options of a CohereScorer, and what of them is copied, pickled, described and shown."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import cohere
import pytest

from rerank_core import AuthenticationError, CohereScorer, ConfigurationError
from support.cohere_runs import KEY
from support.cohere_server import CohereServer


def sent_key(server: CohereServer) -> str | None:
    return server.requests[-1].headers.get("authorization")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"model": "rerank-english-v2.0"}, "rerank-v4.0-fast.*rerank-english-v3.0"),
        ({"model": "rerank-multilingual-v2.0"}, "rerank-v4.0-fast.*rerank-multilingual-v3.0"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"priority": -1}, "priority"),
        ({"relevant_spans": "yes"}, "relevant_spans"),
        ({"api_key": 7}, "api_key"),
        ({"api_key": b"sk-test-0123456789"}, "not a bytes"),
        ({"api_key": True}, "api_key"),
        ({"client": object()}, "client"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        CohereScorer(**{"model": "m", **options})
    assert KEY not in str(caught.value)


def test_a_client_brings_its_own_key_and_address() -> None:
    client = cohere.ClientV2(KEY)
    for options in ({"api_key": KEY}, {"base_url": "https://rerank.example"}):
        with pytest.raises(ConfigurationError, match="on the client"):
            CohereScorer("m", client=client, **options)  # type: ignore[arg-type]


def test_the_configuration_makes_the_same_scorer_without_the_key() -> None:
    options: dict[str, Any] = {
        "base_url": "https://rerank.example/prefix",
        "timeout": 5.0,
        "max_retries": 0,
        "max_tokens_per_doc": 512,
        "priority": 0,
        "relevant_spans": True,
    }
    config = CohereScorer("m", api_key=KEY, **options).to_config()
    assert config == {"type": "cohere", "model": "m", **options}
    loaded = CohereScorer(
        **{k: v for k, v in json.loads(json.dumps(config)).items() if k != "type"}
    )
    assert loaded.to_config() == config
    assert CohereScorer("m", api_key=KEY).to_config() == {"type": "cohere", "model": "m"}
    assert CohereScorer("m", api_key=False).to_config()["api_key"] is False


def test_a_pickle_holds_everything_but_the_key(
    server: CohereServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = CohereScorer("rerank-v4.0-fast", api_key=KEY, base_url=server.url, timeout=7)
    scorer.score("a", ["a"])  # with open connections
    data = pickle.dumps(scorer)
    assert KEY.encode() not in data
    copied = pickle.loads(data)
    assert copied.to_config() == scorer.to_config()
    assert copied.fingerprint == scorer.fingerprint
    monkeypatch.setenv("CO_API_KEY", "from-environment")
    assert copied.score("a", ["a"]).scores == (1.0,)
    assert sent_key(server) == "Bearer from-environment"


@pytest.mark.parametrize("key", [KEY, lambda: KEY])
def test_an_unpickled_scorer_explains_where_its_key_went(key: Any) -> None:
    copied = pickle.loads(pickle.dumps(CohereScorer("m", api_key=key)))
    again = pickle.loads(pickle.dumps(copied))
    for scorer in (copied, again):
        with pytest.raises(AuthenticationError, match="never pickled"):
            scorer.score("a", ["a"])


def test_false_as_a_key_survives_the_pickle(
    server: CohereServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO_API_KEY", KEY)
    copied = pickle.loads(pickle.dumps(CohereScorer("m", api_key=False, base_url=server.url)))
    copied.score("a", ["a"])
    assert sent_key(server) is None


def test_a_copy_is_the_same_scorer(server: CohereServer) -> None:
    scorer = CohereScorer("m", api_key=KEY, base_url=server.url)
    copy.deepcopy(scorer).score("a", ["a"])
    copy.copy(scorer).score("a", ["a"])
    assert {r.headers["authorization"] for r in server.requests} == {f"Bearer {KEY}"}


def test_a_scorer_with_a_ready_client_refuses_to_travel() -> None:
    scorer = CohereScorer("m", client=cohere.ClientV2(KEY))
    for act in (lambda: pickle.dumps(scorer), scorer.to_config):
        with pytest.raises(ConfigurationError, match="ready client"):
            act()


def test_repr_shows_model_and_address_never_the_key() -> None:
    shown = repr(CohereScorer("m", api_key=KEY, base_url="https://rerank.example"))
    assert shown == "CohereScorer('m', base_url='https://rerank.example')"
    assert repr(CohereScorer("m", api_key=KEY)) == "CohereScorer('m')"
    assert repr(CohereScorer("m", client=cohere.ClientV2(KEY))) == (
        "CohereScorer('m', client=ClientV2)"
    )
