"""`rerank serve` as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import support
from support.remote import without_proxies

RERANK = [sys.executable, "-m", "rerank_core.cli", "serve", "--port", "0"]
KEY = "a-key-0123456789-abc"


def test_it_serves_until_it_is_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_proxies(monkeypatch)
    config = tmp_path / "serve.toml"
    config.write_text('[models]\nfast = "nano"\n[server]\nmax_documents = 2\n')
    certificate = str(Path(support.__file__).with_name("self_signed.pem"))
    with subprocess.Popen(
        [*RERANK, "--config", str(config), "--ssl-certfile", certificate],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RERANK_API_KEY": KEY},
    ) as process:
        assert process.stderr is not None
        said: list[str] = []
        try:
            while not (found := re.search(r"https://\S+", "".join(said))):
                said.append(process.stderr.readline())
                assert said[-1], said
            trust = ssl.create_default_context(cafile=certificate)
            with httpx.Client(base_url=found[0], verify=trust) as client:
                body = {"query": "How do plants eat?", "documents": ["Plants use light.", "Cats"]}
                assert client.post("/v2/rerank", json=body).status_code == 401
                client.headers["Authorization"] = f"Bearer {KEY}"
                answer = client.post("/v2/rerank", json=body).json()
                assert (answer["model"], answer["results"][0]["index"]) == ("fast", 0)
                large = {**body, "documents": ["Cats"] * 3}
                assert client.post("/v2/rerank", json=large).status_code == 413
            process.send_signal(signal.SIGTERM)
            said += process.stderr.readlines()
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    told = "".join(said)
    assert "POST /v2/rerank 200" in told
    assert "model fast, 2 texts" in told
    assert told.splitlines()[-1] == "rerank: ended by SIGTERM"
    assert KEY not in told
    assert "lants" not in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "there must be a key: set RERANK_API_KEY"),
        (["--model", "a=nano", "--model", "a=nano"], "--model has two scorers by the name 'a'"),
        (["--model", "a=nanoo"], "did you mean 'nano'?"),
        (["--model", "=nano"], "models must be a name"),
    ],
)
def test_what_does_not_fit(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from rerank_core.cli._app import app

    with pytest.raises(SystemExit) as ended:
        app(["serve", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_ends_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    done = subprocess.run(
        [*RERANK, "--model", f"broken=onnx:{tmp_path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "model broken cannot be loaded: MissingGraphError" in done.stderr
    assert str(tmp_path) in done.stderr.splitlines()[-1]


def test_without_its_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rerank_core.cli._app import app

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for name in [name for name in sys.modules if name.startswith("rerank_core.serving")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as ended:
        app(["serve"])
    assert ended.value.code == 2
    assert 'pip install "rerank-core[serve]"' in capsys.readouterr().err
