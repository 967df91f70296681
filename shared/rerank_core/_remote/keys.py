"""API keys and the addresses that they are for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from rerank_core._checks import describe
from rerank_core._errors import AuthenticationError, ConfigurationError, RerankError
from rerank_core._remote.connections import refuse_plain_http

__all__ = ["ApiKey", "Keyring", "check_path", "check_url"]

ApiKey: TypeAlias = str | Callable[[], str] | Literal[False] | None


def check_url(url: object, argument: str = "base_url", *, query: bool = False) -> str:
    """Return an address without a slash at its end.

    Args:
        url: The address.
        argument: Its name in an error.
        query: Whether it may have a query, such as ``?api-version=1``.

    Raises:
        ConfigurationError: If it is no http(s) address, or holds a user, a query or a fragment.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"{argument} must be a str, not a {type(url).__name__}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    # The address itself stays out of the message: a user part may hold a password.
    if "@" in url:
        raise ConfigurationError(
            f"{argument} must not hold a user or password; pass the key as api_key"
        )
    odd = "\\" in url or any(character.isspace() for character in url)
    odd = odd or "#" in url or ("?" in url and not query)
    if parts.scheme not in ("http", "https") or not host or odd:
        raise ConfigurationError(
            f"{argument} must be an address such as 'https://rerank.example.com/prefix', "
            f"without query or fragment, not {url!r}"
        )
    return url if query else url.rstrip("/")


def check_path(path: object, examples: str) -> str:
    """Return what is added to an address: empty, or something that begins with a slash.

    Args:
        path: The path.
        examples: Examples of it, for the error.

    Raises:
        ConfigurationError: If it is anything else, or holds a query or a fragment.
    """
    if (
        not isinstance(path, str)
        or any(c in "?#\\" or c.isspace() for c in path)
        or not (path == "" or path.startswith("/"))
    ):
        raise ConfigurationError(
            f"path must be {examples} or the like, or '' if base_url is the whole address, "
            f"not {describe(path)}"
        )
    return path


class Keyring:
    """Looks up the key for a request, at the time of the request.

    Args:
        api_key: As in `HttpScorer`.
        url: Address that the key is for, checked.
        provider: Name of the service, for errors.
        variables: Environment variables that may hold the key, in this order.
        needed: Whether the service refuses to work without one.
    """

    def __init__(
        self, api_key: ApiKey, url: str, provider: str, variables: tuple[str, ...], needed: bool
    ) -> None:
        self._provider = provider
        self._variables = variables
        self._needed = needed
        self._dropped = False  # whether an explicit key was left out of a pickle
        if isinstance(api_key, str):
            if self._sendable(api_key, "api_key"):
                parts = urlsplit(url)
                refuse_plain_http(parts.scheme, parts.hostname or "")
        elif not (api_key is None or api_key is False or callable(api_key)):
            # Not shown: it may be a key in another wrapping, such as bytes.
            raise ConfigurationError(
                "api_key must be a str, a function without arguments, False (send none) or "
                f"None (take it from the environment), not a {type(api_key).__name__}"
            )
        self._api_key = api_key

    def __getstate__(self) -> dict[str, Any]:
        # An explicit key never travels, neither does a function that may hold one.
        if self._api_key is None or self._api_key is False:
            return self.__dict__
        return {**self.__dict__, "_api_key": None, "_dropped": True}

    def key(self) -> str:
        """Return the key, or ``""`` where a service is asked without one.

        Raises:
            AuthenticationError: If there is none but one is needed, or it is unusable.
        """
        if self._api_key is False:
            return ""
        sources = [("api_key", self._from_argument())]
        sources += [(name, os.environ.get(name, "")) for name in self._variables]
        for source, key in sources:
            if key.strip():
                return self._sendable(key, source)
        if not self._needed:
            return ""
        hint = f"Set {' or '.join(self._variables)}, or pass api_key"
        if self._dropped:
            hint += "; the key given to the constructor is never pickled"
        raise AuthenticationError("there is no API key", provider=self._provider, hint=hint)

    def _from_argument(self) -> str:
        if not callable(self._api_key):
            return self._api_key or ""
        try:
            key = self._api_key()
        except RerankError:
            raise
        except Exception as error:
            raise AuthenticationError(
                f"the api_key function raised {type(error).__name__}", provider=self._provider
            ) from error
        if not isinstance(key, str):
            raise AuthenticationError(
                f"the api_key function returned a {type(key).__name__}, not a str",
                provider=self._provider,
            )
        return key

    def _sendable(self, key: str, source: str) -> str:
        """Return a stripped key; refuse one that no header can carry, before an error quotes it."""
        key = key.strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise AuthenticationError(
                f"the key from {source} holds spaces, control or non-ASCII characters",
                provider=self._provider,
                hint="Copy it again, without quotes or a 'Bearer' before it",
            )
        return key
