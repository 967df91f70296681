"""What the environment says of certificates and proxies, and may say wrongly."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from rerank_core import ConfigurationError, Fallback, HttpScorer
from rerank_core.testing import OverlapScorer
from support.cohere_runs import failure, run
from support.remote import Service

PASSWORD = "hunter2"


@pytest.fixture
def remote(service: Service) -> HttpScorer:
    return service.scorer(base_url="https://rerank.invalid", max_retries=0)


def refused(scorer: HttpScorer, mode: str) -> str:
    """Return what the scorer says in each way, once it has been stood in for."""
    said = set()
    for call in (scorer.load, lambda: run(scorer, mode)):
        with pytest.raises(ConfigurationError) as caught:
            call()
        error: BaseException | None = caught.value
        while error is not None:
            assert PASSWORD not in repr(error)
            error = error.__context__
        said.add(str(caught.value))
    scoring = run(Fallback(scorer, OverlapScorer()), mode)
    assert (scoring.scores, scoring.causes) == ((1.0, 0.0), ("ConfigurationError",))
    (message,) = said
    return message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTPS_PROXY", f"http://user:{PASSWORD}@proxy:port"),
        ("HTTPS_PROXY", f"http://user:{PASSWORD}/x@proxy:80"),
        ("https_proxy", "http://[::1"),
        ("HTTPS_PROXY", "ftp://proxy:21"),
        ("ALL_PROXY", "carrier-pigeon://proxy"),
        ("NO_PROXY", "http://:no-port"),
        ("HTTP_PROXY", "http://\x01"),
    ],
)
def test_a_proxy_that_is_no_address(
    remote: HttpScorer, mode: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert variable in refused(remote, mode)


@pytest.mark.parametrize("proxy", ["127.0.0.1:9", f"user:{PASSWORD}@localhost:99999999", "[x"])
def test_a_proxy_that_cannot_be_reached(
    remote: HttpScorer, mode: str, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
    error = failure(remote, mode)
    assert PASSWORD not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_without_its_package(
    remote: HttpScorer, mode: str, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:1")
    message = refused(remote, mode)
    assert "pip install 'httpx[socks]'" in message
    assert "ALL_PROXY" in message


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("SSL_CERT_FILE", "no/such.pem"),
        ("SSL_CERT_FILE", "."),
        ("SSL_CERT_FILE", "garbage.pem"),
        ("SSLKEYLOGFILE", "no/such.log"),
        ("SSLKEYLOGFILE", "."),
    ],
)
def test_certificates_that_cannot_be_read(
    remote: HttpScorer,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    path: str,
) -> None:
    (tmp_path / "garbage.pem").write_text("no certificate")
    monkeypatch.setenv(variable, str(tmp_path / path))
    assert variable in refused(remote, mode)


def test_the_environment_is_read_anew_after_a_failure(
    remote: HttpScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as wrong:
        wrong.setenv("SSL_CERT_FILE", "/no/such.pem")
        with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
            remote.load()
    remote.load()
    remote.close()


def test_nor_do_proxies_matter_on_this_machine(
    service: Service, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    assert None not in run(service.scorer(), mode).scores
