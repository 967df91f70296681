"""Where requests go and which key they carry; a key never leaves over plain http."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from rerank_core.errors import AuthenticationError, ConfigurationError, RerankError

__all__ = ["ApiKey", "Keyring", "base_url_or_default", "is_loopback", "refuse_plain_http"]

ApiKey: TypeAlias = str | Callable[[], str] | Literal[False] | None

# The SDK reads the same variables, but takes an empty one for a key.
_KEY_VARIABLES = ("CO_API_KEY", "COHERE_API_KEY")
_URL_VARIABLE = "CO_API_URL"
_COHERE_DOMAINS = ("cohere.com", "cohere.ai")


def base_url_or_default(base_url: str | None) -> str | None:
    """Return the address to use, checked: the argument, else ``CO_API_URL``, else None.

    Raises:
        ConfigurationError: If it is no http(s) address, or holds a user, a query or a fragment.
    """
    argument = "base_url" if base_url is not None else _URL_VARIABLE
    url = base_url if base_url is not None else os.environ.get(_URL_VARIABLE, "").strip()
    if url == "" and base_url is None:
        return None
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
    if parts.scheme not in ("http", "https") or not host or odd or "?" in url or "#" in url:
        raise ConfigurationError(
            f"{argument} must be an address such as 'https://rerank.example.com/prefix', "
            f"without query or fragment, not {url!r}"
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine: localhost, 127.0.0.0/8, ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refuse_plain_http(scheme: str, host: str) -> None:
    """Allow a key to go to this address, or raise.

    Raises:
        ConfigurationError: If anybody on the way could read it.
    """
    if scheme != "https" and not is_loopback(host):
        raise ConfigurationError(
            f"a key would go to {host!r} over plain http, where others can read it; use an "
            "https base_url, or api_key=False if that server needs no key"
        )


class Keyring:
    """Finds the key for a request, at the time of the request.

    Args:
        api_key: As in `CohereScorer`.
        base_url: A checked address, or None for Cohere's own.
        dropped: Whether an explicit key was left out when the scorer was pickled.
    """

    def __init__(self, api_key: ApiKey, base_url: str | None, dropped: bool = False) -> None:
        if not (api_key is None or api_key is False or isinstance(api_key, str)):
            if not callable(api_key):
                # Not shown: it may be a key in another wrapping, such as bytes.
                raise ConfigurationError(
                    "api_key must be a str, a function without arguments, False (send none) or "
                    f"None (take it from the environment), not a {type(api_key).__name__}"
                )
        elif api_key:
            _sendable(api_key, "api_key")
        if isinstance(api_key, str) and api_key.strip() and base_url is not None:
            parts = urlsplit(base_url)
            refuse_plain_http(parts.scheme, parts.hostname or "")
        self._api_key = api_key
        self._base_url = base_url
        self._dropped = dropped
        host = urlsplit(base_url or "https://api.cohere.com").hostname or ""
        self._needed = any(host == d or host.endswith(f".{d}") for d in _COHERE_DOMAINS)

    @property
    def disabled(self) -> bool:
        """Whether no key is to be sent at all."""
        return self._api_key is False

    def __reduce__(self) -> tuple[Any, ...]:
        # An explicit key never travels, neither does a function that may hold one.
        given = self._api_key is not None and self._api_key is not False
        kept = False if self._api_key is False else None
        return type(self), (kept, self._base_url, self._dropped or given)

    def key(self) -> str:
        """Return the key, or ``""`` where a server other than Cohere's is asked without one.

        Raises:
            AuthenticationError: If there is none and Cohere needs one, or it is unusable.
        """
        if self._api_key is False:
            return ""
        sources = [("api_key", self._from_argument())]
        sources += [(name, os.environ.get(name, "")) for name in _KEY_VARIABLES]
        for source, key in sources:
            if key.strip():
                return _sendable(key, source)
        if not self._needed:
            return ""
        hint = f"Pass api_key, or set {' or '.join(_KEY_VARIABLES)}"
        if self._dropped:
            hint += "; the key given to the constructor is never pickled"
        raise AuthenticationError("there is no API key", provider="cohere", hint=hint)

    def _from_argument(self) -> str:
        if not callable(self._api_key):
            return self._api_key or ""
        try:
            key = self._api_key()
        except RerankError:
            raise
        except Exception as error:
            raise AuthenticationError(
                f"the api_key function raised {type(error).__name__}", provider="cohere"
            ) from error
        if not isinstance(key, str):
            raise AuthenticationError(
                f"the api_key function returned a {type(key).__name__}, not a str",
                provider="cohere",
            )
        return key


def _sendable(key: str, source: str) -> str:
    """Strip a key; refuse one that no header can carry, before a library quotes it in an error."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise AuthenticationError(
            f"the key from {source} holds spaces, control or non-ASCII characters",
            provider="cohere",
            hint="Copy it again, without quotes or a 'Bearer' before it",
        )
    return key
