"""Cohere's SDK, on HTTP clients of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rerank_core._errors import MissingExtraError
from rerank_core._remote.connections import Connections
from rerank_core._remote.keys import Keyring

if TYPE_CHECKING:
    import cohere
    import httpx

__all__ = ["SdkConnections", "require_sdk"]


def require_sdk() -> None:
    """Import what the extra brings, which takes seconds the first time.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import cohere
        import httpx
        import tenacity  # noqa: F401

        _ = (cohere.ClientV2, httpx.Client)
    except (ImportError, AttributeError) as error:
        raise MissingExtraError("cohere", "CohereScorer") from error


class SdkConnections(Connections["cohere.ClientV2", "cohere.AsyncClientV2"]):
    """The SDK's clients.

    Args:
        url: Where requests go; a checked address.
        timeout: Seconds, as in `CohereScorer`.
        exact: Whether `url` is the whole address, and not what the SDK adds its path to.
        keyring: Where each request takes its key from.
    """

    def __init__(self, url: str, timeout: float, *, exact: bool, keyring: Keyring) -> None:
        super().__init__(url, timeout, exact=exact)
        self._keyring = keyring

    def _require(self) -> None:
        require_sdk()

    def _wrap(self, http: httpx.Client) -> cohere.ClientV2:
        import cohere

        return cohere.ClientV2(
            self._keyring.key, base_url=self._url, timeout=self._timeout, httpx_client=http
        )

    def _awrap(self, http: httpx.AsyncClient) -> cohere.AsyncClientV2:
        import cohere

        return cohere.AsyncClientV2(
            self._keyring.key, base_url=self._url, timeout=self._timeout, httpx_client=http
        )
