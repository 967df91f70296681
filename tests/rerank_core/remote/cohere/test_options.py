"""Options of a CohereScorer, and what of them is copied, pickled, described and shown."""

from __future__ import annotations

import json
import pickle
from typing import Any

import cohere
import pytest

from rerank_core import (
    AuthenticationError,
    CohereScorer,
    ConfigurationError,
    Scale,
    load_scorer,
)
from support.cohere_runs import KEY
from support.cohere_server import CohereServer


def sent_key(server: CohereServer) -> str | None:
    return server.requests[-1].headers.get("authorization")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"model": "rerank-english-v2.0"}, "rerank-v5.0-fast.*rerank-english-v3.0"),
        ({"model": "rerank-multilingual-v2.0"}, "rerank-v5.0-fast.*rerank-multilingual-v3.0"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
        ({"priority": -1}, "priority"),
        ({"relevant_spans": "yes"}, "relevant_spans must be True, False, or a mapping"),
        ({"relevant_spans": None}, "relevant_spans must be"),
        ({"relevant_spans": 1}, "relevant_spans must be"),
        ({"relevant_spans": {"treshold": 1}}, "did you mean 'threshold'"),
        ({"relevant_spans": {"mode": "enabled"}}, "it has threshold and max_spans"),
        ({"relevant_spans": {1: 2}}, "it has threshold and max_spans"),
        ({"relevant_spans": {"threshold": 1.5}}, "threshold must be a number from 0 to 1"),
        ({"relevant_spans": {"threshold": float("nan")}}, "threshold must be"),
        ({"relevant_spans": {"threshold": True}}, "threshold must be"),
        ({"relevant_spans": {"max_spans": 0}}, "max_spans must be"),
        ({"relevant_spans": {"max_spans": 1.5}}, "max_spans must be"),
        ({"scale": "calibrated"}, "scale must be 'unit' or 'probability'"),
        ({"scale": "logit"}, "scale must be"),
        ({"scale": "probability", "raw_scores": True}, "not for raw_scores=True"),
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


def test_a_scale_is_declared_never_guessed() -> None:
    assert CohereScorer("rerank-v5.0-pro").scale is Scale.UNIT
    declared = CohereScorer("rerank-v5.0-pro", scale="probability")
    for scorer in (declared, pickle.loads(pickle.dumps(declared))):
        assert scorer.scale is Scale.PROBABILITY
    assert load_scorer(json.loads(json.dumps(declared.to_config()))).scale is Scale.PROBABILITY
    assert CohereScorer("m", scale=Scale.UNIT).to_config()["scale"] == "unit"  # type: ignore[arg-type]


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


@pytest.mark.parametrize("key", [KEY, lambda: KEY])
def test_an_unpickled_scorer_explains_where_its_key_went(key: Any) -> None:
    copied = pickle.loads(pickle.dumps(CohereScorer("m", api_key=key)))
    again = pickle.loads(pickle.dumps(copied))
    for scorer in (copied, again):
        with pytest.raises(AuthenticationError, match="never pickled"):
            scorer.score("a", ["a"])


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


def test_cohere_itself_needs_a_key() -> None:
    for scorer in (CohereScorer("m"), CohereScorer("m", base_url="https://eu.api.cohere.com")):
        with pytest.raises(AuthenticationError, match="CO_API_KEY") as caught:
            scorer.score("a", ["a"])
        assert not caught.value.retryable


def test_the_address_from_the_environment_is_kept(
    server: CohereServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO_API_URL", server.url)
    scorer = CohereScorer("m", api_key=KEY)
    monkeypatch.setenv("CO_API_URL", "https://other.example")
    copied = pickle.loads(pickle.dumps(scorer))
    assert copied.to_config()["base_url"] == server.url
    assert copied.score("a", ["a"]).scores == (1.0,)
    monkeypatch.setenv("CO_API_URL", " ")
    assert "base_url" not in CohereScorer("m").to_config()


@pytest.mark.parametrize("url", ["rerank.example", "https://h/?q=1", "https://[::1"])
def test_an_address_from_the_environment_that_cannot_work(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("CO_API_URL", url)
    with pytest.raises(ConfigurationError, match="CO_API_URL"):
        CohereScorer("m")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CO_API_KEY": "from-co", "COHERE_API_KEY": "from-cohere"}, "from-co"),
        ({"CO_API_KEY": "", "COHERE_API_KEY": "from-cohere"}, "from-cohere"),
        ({"CO_API_KEY": " \n", "COHERE_API_KEY": "from-cohere\n"}, "from-cohere"),
    ],
)
def test_two_variables_may_hold_the_key(
    server: CohereServer,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    expected: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    CohereScorer("m", base_url=server.url).score("a", ["a"])
    assert sent_key(server) == f"Bearer {expected}"
