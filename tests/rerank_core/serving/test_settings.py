"""Settings of a file and of the command line, and who may reach a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerank_core import ConfigurationError
from rerank_core.serving._settings import KEY_VARIABLE, Settings, read_settings

KEY = "a-key-0123456789-abc"
FILE = """
[models]
fast = "nano"

[models.careful]
type = "deadline"
seconds = 2
scorer = { type = "fallback", scorers = ["cohere:rerank-v5.0-pro", "nano"] }

[server]
port = 9000
queue = 7
"""


def written(folder: Path, content: str) -> Path:
    file = folder / "serve.toml"
    file.write_text(content, encoding="utf-8")
    return file


def test_a_file_and_options_over_it(tmp_path: Path) -> None:
    settings = read_settings(written(tmp_path, FILE), {"port": 0, "host": None, "models": None})
    assert [*settings.models] == ["fast", "careful"]
    assert (settings.port, settings.queue, settings.host) == (0, 7, "127.0.0.1")
    options = settings.app_options()
    assert options["models"]["careful"]["seconds"] == 2
    assert options["queue"] == 7
    other = read_settings(written(tmp_path, FILE), {"models": {"only": "nano"}})
    assert [*other.models] == ["only"]
    assert [*read_settings(None, {}).models] == ["nano"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("models = [", "is not TOML"),
        pytest.param("#" * ((1 << 20) + 1), "is not TOML: it is larger than 1,048,5", id="large"),
        ("[model]\na = 'nano'", "there is no 'model'; there are the tables models and server"),
        ("[server]\nprot = 1", "prot: Extra inputs"),
        ("[server]\nport = 70000", "port: Input should be less than"),
        ("[server]\nqueue = -1", "queue: "),
        ("[server.models]\na = 'nano'", "server must be a table of settings without models"),
        ("server = 1", "server must be a table"),
        ("[models]\na = 7", "models.a: "),
        ("[models]", "models: "),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_settings(written(tmp_path, content), {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_programs_on_this_machine_need_no_key_but_a_name_of_it(host: str) -> None:
    options = Settings(host=host).app_options()
    assert options["api_keys"] == []
    assert {"localhost", "127.0.0.1", host} <= {*options["allowed_hosts"]}
    assert "*" not in options["allowed_hosts"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "rerank.example", ""])
def test_other_machines_need_a_key(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="there must be a key: set RERANK_API_KEY"):
        Settings(host=host).app_options()
    assert Settings(host=host, allow_anyone=True).app_options()["allowed_hosts"] == ["*"]
    monkeypatch.setenv(KEY_VARIABLE, f" {KEY}\n")
    assert Settings(host=host).app_options()["api_keys"] == [KEY]
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}-1\n\n{KEY}-2\n")
    options = Settings(host=host, api_key_file=keys).app_options()
    assert options["api_keys"] == [f"{KEY}-1", f"{KEY}-2"]
    assert options["allowed_hosts"] == ["*"]


@pytest.mark.parametrize("key", ["brief", "with a space 0123456789", "ключ-ключ-ключ-ключ", ""])
def test_what_is_no_key(key: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"\n{key}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        Settings(api_key_file=keys).app_options()
    before, _, after = str(caught.value).partition(str(keys))
    assert after
    assert not key or key not in before + after
    with pytest.raises(FileNotFoundError):
        Settings(api_key_file=tmp_path / "gone").app_options()


def test_a_file_of_keys_that_is_no_text_shows_nothing_of_it(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    for content in (b"\xff" + KEY.encode(), b"k" * ((1 << 20) + 1)):
        keys.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            Settings(api_key_file=keys).app_options()
        assert str(caught.value) == f"{keys} is not a text file of keys"
        assert caught.value.__cause__ is None
