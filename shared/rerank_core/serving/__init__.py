"""An HTTP server over any scorer, on Cohere's wire and on Text Embeddings Inference's.

``rerank serve`` runs it. `create_app` returns the ASGI application, for a server of your own.
"""

from rerank_core._errors import MissingExtraError

try:
    import fastapi
    import prometheus_client
    import uvicorn
except ModuleNotFoundError as _error:
    raise MissingExtraError("serve", "The server") from _error
del fastapi, prometheus_client, uvicorn

from rerank_core.serving._app import create_app  # noqa: E402 - only with the extra

__all__ = ["create_app"]
