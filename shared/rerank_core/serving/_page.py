"""The page at ``/``, to try the server in a browser."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response

__all__ = ["PAGE_PATHS", "add_page"]

_FOLDER = Path(__file__).with_name("page")
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
PAGE_PATHS = frozenset(_FILES)
"""Folder of the page's files."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_page(app: FastAPI) -> None:
    """Add the page and its files to an application."""

    def add(path: str, name: str, media_type: str) -> None:
        content = (_FOLDER / name).read_bytes()

        @app.get(path, include_in_schema=False)
        async def file() -> Response:
            return Response(content, headers=_HEADERS, media_type=media_type)

    for path, (name, media_type) in _FILES.items():
        add(path, name, media_type)
