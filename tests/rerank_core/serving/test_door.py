"""Keys, names of the host, request ids, and what is logged."""

from __future__ import annotations

import logging
import re
from typing import Any

import httpx
import pytest

from rerank_core import AuthenticationError, CohereScorer, ConfigurationError
from rerank_core.serving import create_app
from rerank_core.testing import OverlapScorer
from support.serving import Records, served

KEYS = ["first-key-0123456789", "other-key-0123456789"]
BODY = {"query": "a needle", "documents": ["hay with a needle", "straw"]}


def test_keys_open_all_but_the_page_and_health() -> None:
    with served({"m": OverlapScorer()}, api_keys=KEYS) as running, httpx.Client() as client:

        def status(path: str, authorization: str | None = None) -> int:
            headers = {} if authorization is None else {"Authorization": authorization}
            return client.get(running.url + path, headers=headers).status_code

        for path in ("/", "/page.js", "/page.css", "/health/live"):
            assert status(path) == 200
        for path in ("/v1/models", "/metrics", "/info", "/openapi.json", "/nowhere"):
            assert status(path) == 401
        for wrong in (KEYS[0], f"Basic {KEYS[0]}", "Bearer", f"Bearer {KEYS[0]}x"):
            assert status("/v1/models", wrong) == 401
        # The header Host must not decide what is asked for.
        for host in ("x/health?", "x/health/live#", "x/?"):
            assert client.get(f"{running.url}/v1/models", headers={"Host": host}).status_code == 401
        for key in KEYS:
            assert status("/v1/models", f"Bearer {key}") == 200
            assert status("/v1/models", f"bearer  {key}") == 200
        refused = client.post(f"{running.url}/v2/rerank", json=BODY)
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.json()["error_type"] == "Unauthorized"
        large = client.post(f"{running.url}/v2/rerank", content=b"x" * 2**20)
        assert large.status_code == 401
        scorer = CohereScorer("m", base_url=running.url, api_key=lambda: KEYS[1])
        assert scorer.score("needle", ["a needle", "hay"]).scores == (1.0, 0.0)
        stranger = CohereScorer("m", base_url=running.url, api_key=lambda: "a-key-of-nobody")
        with pytest.raises(AuthenticationError):
            stranger.score("needle", ["a needle"])


@pytest.mark.parametrize("keys", [KEYS[0], [""], ["short"], [7], ["with a space 0123456789"]])
def test_what_cannot_be_a_key(keys: Any) -> None:
    with pytest.raises(ConfigurationError, match="api_keys"):
        create_app({"m": OverlapScorer()}, api_keys=keys)


def test_only_names_that_are_allowed() -> None:
    with served({"m": OverlapScorer()}, allowed_hosts=["127.0.0.1"]) as running:
        assert httpx.get(f"{running.url}/health/live").status_code == 200
        rebound = httpx.get(f"{running.url}/health/live", headers={"Host": "evil.example"})
        assert rebound.status_code == 400


def test_request_ids(client: httpx.Client) -> None:
    given = client.get("/v1/models", headers={"X-Request-Id": "abc-1.2_3"})
    assert given.headers["x-request-id"] == "abc-1.2_3"
    for odd in ("", "a b", "x" * 200, "<script>"):
        answered = client.get("/v1/models", headers={"X-Request-Id": odd})
        assert re.fullmatch("[0-9a-f]{32}", answered.headers["x-request-id"])
    answer = client.post("/v2/rerank", json=BODY, headers={"X-Request-Id": "mine"})
    assert answer.json()["id"] == "mine"


def test_no_text_in_logs_and_metrics(
    client: httpx.Client, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    found = []
    with caplog.at_level(logging.DEBUG):
        for path, body in (
            ("/v2/rerank", BODY),
            ("/rerank?query=needle", {"query": "needle", "texts": ["hay", 7]}),
            ("/needle", BODY),
            ("/v2/rerank", {**BODY, "model": "needle"}),
        ):
            client.post(path, json=body)
            found.append(records.of_request())
    assert [getattr(record, "rerank.status") for record in found] == [200, 422, 404, 404]
    assert getattr(found[0], "rerank.model") == "overlap"
    assert getattr(found[0], "rerank.texts") == 2
    ours = [r for r in caplog.records if r.name.startswith(("rerank_core", "uvicorn.error"))]
    for record in (*found, *ours):
        assert not re.search("needle|hay|straw", f"{record.getMessage()} {record.__dict__}")
    assert "needle" not in client.get("/metrics").text


def test_the_page_comes_from_the_package_and_asks_nobody_else(client: httpx.Client) -> None:
    for path, kind in (("/", "html"), ("/page.css", "css"), ("/page.js", "javascript")):
        file = client.get(path)
        assert (file.status_code, kind in file.headers["content-type"]) == (200, True)
        assert "default-src 'none'" in file.headers["content-security-policy"]
        assert "://" not in file.text
