"""The settings of ``rerank serve``: those of a file, and those of the command line over them."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FilePath, NonNegativeInt, PositiveInt
from pydantic import ValidationError as _ValidationError

from rerank_core._errors import ConfigurationError
from rerank_core._files import bounded_bytes
from rerank_core.serving._door import check_keys

__all__ = ["KEY_VARIABLE", "Settings", "read_settings"]

KEY_VARIABLE = "RERANK_API_KEY"


class Settings(BaseModel):
    """Settings of a server.

    Attributes:
        models: Scorers by name, each a name or a configuration as for `load_scorer`.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        api_key_file: File of keys, one a line. Without it, the key is in ``RERANK_API_KEY``.
        allow_anyone: Answer without a key, whatever the address, and whatever name it is asked by.
        grace: Seconds that requests may take to end after the server was told to stop.
        ssl_certfile: Certificate for TLS.
        ssl_keyfile: Its key, if the certificate's file does not hold it.
        concurrency: As for `create_app`, as are those below.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, str | dict[str, Any]] = Field(default={"nano": "nano"}, min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=0, le=65535)
    api_key_file: Path | None = None
    allow_anyone: bool = False
    grace: NonNegativeInt = 30
    ssl_certfile: FilePath | None = None
    ssl_keyfile: FilePath | None = None
    concurrency: PositiveInt = 32
    queue: NonNegativeInt = 128
    max_documents: PositiveInt = 1000
    max_characters: PositiveInt = 4_000_000
    max_body: PositiveInt = 16 * 2**20

    def app_options(self) -> dict[str, Any]:
        """Return the arguments of `create_app`.

        Raises:
            ConfigurationError: If others than programs on this machine could ask without a key, or
                a key cannot be one.
            OSError: If the file of keys cannot be read.
        """
        keys = self._keys()
        local = self._is_loopback()
        if not keys and not local and not self.allow_anyone:
            raise ConfigurationError(
                f"host {self.host!r} lets other machines ask, so there must be a key: set "
                f"{KEY_VARIABLE}, or name a file of keys with --api-key-file; "
                "--allow-anyone does without"
            )
        # A web page in a browser on this machine may ask through a name of its own that leads here.
        names = ["localhost", "127.0.0.1", "::1", "[::1]", self.host]
        limits = ("concurrency", "queue", "max_documents", "max_characters", "max_body")
        return {
            "models": self.models,
            "api_keys": keys,
            "allowed_hosts": ["*"] if keys or self.allow_anyone else names,
            **{name: getattr(self, name) for name in limits},
        }

    def _keys(self) -> list[str]:
        if self.api_key_file is not None:
            source = str(self.api_key_file)
            try:
                lines = bounded_bytes(self.api_key_file).decode().splitlines()
            except ValueError:  # the error would show a byte of a key
                raise ConfigurationError(f"{source} is not a text file of keys") from None
        else:
            source, lines = KEY_VARIABLE, [os.environ.get(KEY_VARIABLE, "")]
        keys = [line.strip() for line in lines if line.strip()]
        if self.api_key_file is not None and not keys:
            raise ConfigurationError(f"{source} holds no key; `openssl rand -hex 32` makes one")
        return check_keys(keys, source)

    def _is_loopback(self) -> bool:
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def read_settings(file: Path | None, given: Mapping[str, Any]) -> Settings:
    """Read a file of settings, and put those of the command line over it.

    Args:
        file: TOML with a table ``models``, and perhaps a table ``server`` with the other fields of
            `Settings`. None for no file.
        given: Settings of the command line; None where one is not given.

    Raises:
        ConfigurationError: If the file cannot be read, or a setting is unknown or does not fit.
        OSError: If the file cannot be read.
    """
    found: dict[str, Any] = {}
    if file is not None:
        try:
            content = tomllib.loads(bounded_bytes(file).decode())
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{file} is not TOML: {error}") from error
        server = content.pop("server", {})
        if not isinstance(server, dict) or "models" in server:
            raise ConfigurationError(f"{file}: server must be a table of settings without models")
        if unknown := sorted(content.keys() - {"models"}):
            raise ConfigurationError(
                f"{file}: there is no {unknown[0]!r}; there are the tables models and server"
            )
        found = content | server
    found |= {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**found)
    except _ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"][:2]))
        raise ConfigurationError(f"{place}: {first['msg']}") from error
