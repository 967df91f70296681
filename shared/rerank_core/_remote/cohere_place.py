"""Which address a `CohereScorer` asks."""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import urlsplit

from rerank_core._errors import ConfigurationError
from rerank_core._remote.keys import check_url

__all__ = ["DEFAULT_PATH", "Place", "find_place"]

DEFAULT_PATH = "/v2/rerank"  # what the SDK adds by itself
_COHERE = "https://api.cohere.com"
_COHERE_DOMAINS = ("cohere.com", "cohere.ai")
_VARIABLE = "CO_API_URL"  # the SDK's


class Place(NamedTuple):
    """An address.

    Attributes:
        base_url: As it was set, in the argument or the environment; None for Cohere's.
        url: What the SDK is given; the whole address if `exact`.
        exact: Whether the SDK's own path must be replaced.
        is_coheres: Whether it is Cohere's, who want a key.
    """

    base_url: str | None
    url: str
    exact: bool
    is_coheres: bool

    @property
    def address(self) -> str:
        """Where requests really go."""
        return self.url if self.exact else self.url + DEFAULT_PATH


def find_place(base_url: str | None, path: str) -> Place:
    """Put the address together from the argument, else ``CO_API_URL``, else Cohere's.

    Args:
        base_url: The address without the path, or with it if `path` is empty.
        path: A checked path.

    Raises:
        ConfigurationError: If it is no address.
    """
    argument = "base_url" if base_url is not None else _VARIABLE
    given = base_url if base_url is not None else os.environ.get(_VARIABLE, "").strip()
    if given == "" and base_url is None:
        if path == "":
            raise ConfigurationError("path='' needs base_url, which then is the whole address")
        base, given = None, _COHERE
    else:
        base = given = check_url(given, argument, query=path == "")
    exact = path != DEFAULT_PATH
    host = urlsplit(given).hostname or ""
    is_coheres = any(host == domain or host.endswith(f".{domain}") for domain in _COHERE_DOMAINS)
    return Place(base, given + path if exact else given, exact, is_coheres)
