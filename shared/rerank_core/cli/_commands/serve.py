"""``rerank serve`` and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rerank_core.cli._command import examples as _examples
from rerank_core.cli._values import scorers, whole

__all__ = ["EPILOG", "HELP", "serve"]

HELP = (
    "Serve scorers over HTTP.\n\n"
    "For applications with many workers, or in other languages. It speaks Cohere's wire (POST "
    "/v2/rerank and /v1/rerank) and that of Text Embeddings Inference (POST /rerank), so that "
    "Cohere's SDK and what is built on it work with base_url. The page at / tries it. GET /health, "
    "/metrics, /v1/models and /openapi.json tell about it. Only programs on this machine are "
    "answered, unless there is an API key: in RERANK_API_KEY, or a file."
)
EPILOG = (
    _examples(
        "rerank serve",
        "rerank serve --model fast=nano --model best=cohere:rerank-v5.0-pro",
        "rerank serve --config serve.toml --host 0.0.0.0 --api-key-file keys.txt",
    )
    + "\n\n"
    "Exit codes: 1 failed; 2 wrong argument, file or installation; 130 interrupted, 143 ended by "
    "SIGTERM, both after requests under way have ended."
)


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="[NAME=]SCORER",
            autocompletion=scorers,
            help="A scorer, as for rank, under the name that requests have for it; may be "
            "repeated, and the first is the default. Default: nano.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="TOML: a table of models, each a name or a configuration, and one of the settings "
            "below, called server. Options override it.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Where to listen. Default: 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole(0), help="Port; 0 takes a free one. Default: 8787."),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="API keys, one a line. Default: the one in RERANK_API_KEY."
        ),
    ] = None,
    allow_anyone: Annotated[
        bool | None,
        typer.Option("--allow-anyone", help="Answer without a key, whatever the address."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole(1), help="Requests that are scored at once. Default: 32."
        ),
    ] = None,
    queue: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(0),
            help="Requests that wait; further ones get status 429. Default: 128.",
        ),
    ] = None,
    max_documents: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=whole(1), help="Most documents of a request. Default: 1000."
        ),
    ] = None,
    max_characters: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole(1),
            help="Most characters of its query and documents. Default: 4000000.",
        ),
    ] = None,
    max_body: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES", parser=whole(1), help="Most bytes of its body. Default: 16777216."
        ),
    ] = None,
    grace: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            parser=whole(0),
            help="How long requests may take to end once the server is told to stop. Default: 30.",
        ),
    ] = None,
    ssl_certfile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate, to serve over TLS.")
    ] = None,
    ssl_keyfile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its key, if it is not in the same file."),
    ] = None,
) -> None:
    """Serve scorers over HTTP."""
    options = locals()
    from rerank_core.cli._serve import run_serve

    run_serve(options.pop("config"), options.pop("model"), options)
