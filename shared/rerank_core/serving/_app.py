"""The ASGI application: its routes, and its life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header, Request, Response
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from rerank_core._checks import check_whole
from rerank_core._loading import ScorerLike
from rerank_core._version import __version__
from rerank_core.serving._answers import cohere_response, tei_ranks
from rerank_core.serving._door import KeyCheck, Observed, check_keys, seen
from rerank_core.serving._failures import FAILURES, Refused, add_failures
from rerank_core.serving._page import add_page
from rerank_core.serving._service import Service
from rerank_core.serving._wire import (
    AnyRequest,
    CohereRequest,
    CohereResponse,
    Health,
    Info,
    Model,
    Models,
    TeiRank,
)

__all__ = ["create_app"]

Deadline = Annotated[
    float | None,
    Header(
        alias="X-Request-Timeout",
        gt=0,
        allow_inf_nan=False,
        description="Seconds for the request. Texts that are not scored by then come last.",
    ),
]


def create_app(
    models: Mapping[str, ScorerLike],
    *,
    api_keys: Collection[str] = (),
    allowed_hosts: Sequence[str] = ("*",),
    concurrency: int = 32,
    queue: int = 128,
    max_documents: int = 1000,
    max_characters: int = 4_000_000,
    max_body: int = 16 * 2**20,
) -> FastAPI:
    """Make the ASGI application that ``rerank serve`` runs, for a server of your own.

    Models are loaded when it starts, and released when it stops. Without keys it answers everybody
    who reaches it: bind its server to loopback only, or put something in front that checks.

    Args:
        models: Scorers by the names that requests have for them, as `load_scorer` takes them; the
            first is the default. A `Scorer` object is not closed.
        api_keys: Keys, one of which a request must have as ``Authorization: Bearer KEY``. Default:
            none, and no request needs one.
        allowed_hosts: Values that the header ``Host`` may have. Default: any.
        concurrency: Requests that are scored at once. Default: 32.
        queue: Requests that wait; those beyond have status 429. Default: 128.
        max_documents: Most documents of a request. Default: 1,000.
        max_characters: Most characters of its query and documents. Default: 4,000,000.
        max_body: Most bytes of its body. Default: 16 MiB.

    Returns:
        The application.

    Raises:
        ConfigurationError: If there is no model, one cannot be made, a limit is out of range, or a
            key is shorter than 16 characters.

    Example:
        ```python
        from rerank_core.serving import create_app

        app = create_app({"fast": "nano"}, api_keys=["a-key-of-mine-0123456789"], max_documents=200)
        assert "/v2/rerank" in app.openapi()["paths"]
        ```
    """
    service = Service(
        models,
        places=concurrency,
        queue=queue,
        max_documents=max_documents,
        max_characters=max_characters,
    )
    app = FastAPI(
        title="rerank-core",
        version=__version__,
        lifespan=lambda app: _life(app, service),
        docs_url=None,  # its page fetches scripts from elsewhere
        redoc_url=None,
        max_body_size=check_whole(max_body, "max_body"),
    )
    app.state.on_failure = lambda _: None
    # The last one added comes first.
    if keys := check_keys(api_keys, "api_keys"):
        app.add_middleware(
            AuthenticationMiddleware, backend=KeyCheck(keys), on_error=KeyCheck.refuse
        )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts, www_redirect=False)
    app.add_middleware(Observed, metrics=service.metrics)
    add_failures(app)
    _add_scoring(app, service)
    _add_facts(app, service)
    add_page(app)
    return app


@asynccontextmanager
async def _life(app: FastAPI, service: Service) -> AsyncIterator[None]:
    """Load the models while the server listens already, and close them in the end."""

    def ended(loading: asyncio.Task[None]) -> None:
        if not loading.cancelled() and (error := loading.exception()):
            app.state.on_failure(error)

    loading = asyncio.create_task(service.load())
    loading.add_done_callback(ended)
    try:
        yield
    finally:
        loading.cancel()
        await asyncio.wait([loading])
        await service.close()


def _add_scoring(app: FastAPI, service: Service) -> None:
    async def rank_cohere(
        request: Request, body: CohereRequest, seconds: float | None, version: str
    ) -> CohereResponse:
        ranking = await service.rank(request, body.model, body.query, body.texts, seconds)
        facts = seen(request)
        return cohere_response(
            ranking, body, request_id=facts.id, model=facts.model, version=version
        )

    def add_cohere(version: str) -> None:
        @app.post(
            f"/v{version}/rerank",
            name=f"rerank_v{version}",
            response_model_exclude_none=True,
            responses=FAILURES,
        )
        async def cohere(
            request: Request, body: CohereRequest, seconds: Deadline = None
        ) -> CohereResponse:
            """Score documents, as Cohere's API does."""
            return await rank_cohere(request, body, seconds, version)

    add_cohere("2")
    add_cohere("1")

    @app.post("/rerank", name="rerank", response_model_exclude_none=True, responses=FAILURES)
    async def tei(
        request: Request, response: Response, body: AnyRequest, seconds: Deadline = None
    ) -> list[TeiRank] | CohereResponse:
        """Score texts, as Text Embeddings Inference does, or documents, as vLLM does."""
        if isinstance(body, CohereRequest):
            return await rank_cohere(request, body, seconds, "2")
        ranking = await service.rank(request, body.model, body.query, body.texts, seconds)
        if body.truncate is False and ranking.usage.truncated + ranking.usage.truncated_queries:
            raise Refused(
                422, "Validation", "a pair is longer than the model reads; truncate must be true"
            )
        response.headers["x-compute-tokens"] = str(ranking.usage.tokens)
        if ranking.causes:
            response.headers["X-Rerank-Degraded"] = ", ".join(ranking.causes)
        return tei_ranks(ranking, body)


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def models() -> Models:
        """List the models."""
        return Models(
            data=[
                Model(id=name, scorer=scorer.name, scale=str(scorer.scale))
                for name, scorer in service.models.items()
            ]
        )

    @app.get("/info")
    async def info() -> Info:
        """Describe the default model, as Text Embeddings Inference does."""
        name, scorer = next(iter(service.models.items()))
        return Info(
            model_id=name,
            max_client_batch_size=service.max_documents,
            max_input_length=scorer.max_length,
            version=__version__,
        )

    @app.get("/health/live")
    async def live() -> Health:
        """Answer as long as the server lives."""
        return Health(ready=service.ready)

    @app.get("/health", responses={503: {"model": Health}})
    @app.get("/health/ready", responses={503: {"model": Health}})
    async def ready(response: Response) -> Health:
        """Tell whether all models are loaded: status 200, else 503."""
        response.status_code = 200 if service.ready else 503
        return Health(ready=service.ready)

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Return metrics in Prometheus' format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")
