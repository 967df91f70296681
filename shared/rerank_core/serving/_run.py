"""A server in this process, until it is told to stop."""

from __future__ import annotations

from typing import Any

import uvicorn

from rerank_core.serving._app import create_app
from rerank_core.serving._settings import Settings

__all__ = ["run"]


def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM comes; then finish what has begun, and release the models.

    Args:
        settings: The settings.

    Raises:
        ConfigurationError: If a setting does not fit, or a model cannot be made or run.
        RerankError: If a model cannot be loaded.
        OSError: If a file cannot be read.
        SystemExit: If the address cannot be used; the log says why.
    """
    app = create_app(**settings.app_options())
    failures: list[BaseException] = []
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            access_log=False,  # the application writes its own, without anything a client wrote
            log_config=_LOGS,
            server_header=False,
            ssl_certfile=settings.ssl_certfile,
            ssl_keyfile=settings.ssl_keyfile,
            timeout_graceful_shutdown=settings.grace,
        )
    )

    def give_up(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app.state.on_failure = give_up
    server.run()
    if failures:
        raise failures[0]


_LOGS: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        name: {"handlers": ["stderr"], "level": "INFO"} for name in ("rerank_core", "uvicorn")
    },
}
"""Configuration of the lines on standard error."""
