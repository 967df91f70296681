"""Look at every page of a built site in Chromium: ``python -m support.site build/docs``.

The exit code is 1 if a page writes an error to the console, asks for something from elsewhere, has
a link or a picture that leads nowhere, or is wider than a phone or a laptop, or if the search does
not find what it should.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urldefrag, urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

__all__ = ["WIDTHS", "chromium", "look_at", "watched"]

WIDTHS = (1280, 390)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PACKAGES = (
    "rerank_core",
    "rerank_core.bulk",
    "rerank_core.evaluation",
    "rerank_core.export",
    "rerank_core.serving",
    "rerank_core.testing",
    "rerank_core.training",
    "langchain_rerank",
    "langchain_rerank.middleware",
    "llamaindex_rerank",
)
"""The packages whose names are public."""

SEARCHES = ("CUDA", "quantize", "German", "Docker", "top_k", "install")
_FACTS = """() => ({
    links: [...document.querySelectorAll("a[href]")].map(a => a.href),
    ids: [...document.querySelectorAll("[id]")].map(e => e.id),
    blank: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src),
    wide: document.documentElement.scrollWidth > window.innerWidth,
    tables: [...document.querySelectorAll("table")].filter(
        t => t.offsetWidth && (t.scrollWidth > t.parentElement.clientWidth + 1)).length,
})"""


def chromium() -> str | None:
    """Return the path of the Chromium of this machine, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def look_at(
    folder: Path, *, searches: Sequence[str] = (), screenshots: Path | None = None
) -> list[str]:
    """Load every page of a site in both widths and return what is wrong, a line each.

    Args:
        folder: The built site.
        searches: Words that its search must find.
        screenshots: A folder for pictures of every page, in both widths and colour schemes.
    """
    from playwright.sync_api import sync_playwright

    with _served(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        visit = _Visit(browser, folder, address)
        for page in sorted(folder.rglob("*.html")):
            if not page.relative_to(folder).parts[0].startswith("_"):
                visit.load(page.relative_to(folder).as_posix(), screenshots)
        visit.follow_links()
        for word in searches:
            visit.search(word)
        browser.close()
    return visit.problems


class _Visit:
    def __init__(self, browser: Browser, folder: Path, address: str) -> None:
        self._browser = browser
        self._folder = folder
        self._address = address
        self._links: dict[str, set[str]] = {}
        self._ids: dict[str, set[str]] = {}
        self.problems: list[str] = []

    def load(self, name: str, screenshots: Path | None) -> None:
        for width in WIDTHS:
            for scheme in SCHEMES if screenshots else SCHEMES[:1]:
                with self._open(name, width, scheme) as page:
                    facts = page.evaluate(_FACTS)
                    if screenshots:
                        file = f"{name.removesuffix('.html').replace('/', '_')}-{width}-{scheme}"
                        page.screenshot(path=screenshots / f"{file}.png")
            self._links[name] = set(facts["links"])
            self._ids[name] = set(facts["ids"])
            found = [f"picture missing: {picture}" for picture in facts["blank"]]
            if facts["wide"]:
                found.append("horizontal scroll bar")
            if facts["tables"]:
                found.append(f"tables that do not fit: {facts['tables']}")
            self.problems += [f"{name} at {width}: {problem}" for problem in found]

    def follow_links(self) -> None:
        for name, links in self._links.items():
            for link in sorted(links):
                if not link.startswith(self._address):
                    continue  # the web is not ours to check
                path, anchor = urldefrag(link)
                target = unquote(urlsplit(path).path).lstrip("/") or "index.html"
                if not (self._folder / target).is_file():
                    self.problems.append(f"{name}: link to a missing page: {target}")
                elif anchor and unquote(anchor) not in self._ids.get(target, {anchor}):
                    self.problems.append(f"{name}: link to a missing anchor: {target}#{anchor}")

    def search(self, word: str) -> None:
        with self._open(f"search.html?q={word}", WIDTHS[0], "light") as page:
            results = page.locator("#search-results ul.search li a")
            page.wait_for_function(
                "document.title && /Search finished|did not match/.test("
                "document.querySelector('#search-results').innerText)"
            )
            if not results.count():
                self.problems.append(f"search finds nothing for {word}")

    @contextmanager
    def _open(self, name: str, width: int, scheme: Literal["light", "dark"]) -> Iterator[Page]:
        with watched(self._browser, self._address, width, scheme) as (page, seen):
            page.goto(f"{self._address}/{name}")
            yield page
        self.problems += [f"{name} at {width}: {problem}" for problem in dict.fromkeys(seen)]


@contextmanager
def watched(
    browser: Browser, address: str, width: int, scheme: Literal["light", "dark"] = "light"
) -> Iterator[tuple[Page, list[str]]]:
    """Open an empty page, and note errors in it and requests that do not go to an address."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    seen: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            seen.append(f"asks for {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", asked)
    yield page, seen
    page.close()


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> int:
    """Check the site of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--screenshots", type=Path, help="write pictures of all pages there")
    options = parser.parse_args()
    if chromium() is None:
        sys.exit("no Chromium found: install it, on Debian with `apt-get install chromium`")
    if options.screenshots:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    problems = look_at(options.site, searches=SEARCHES, screenshots=options.screenshots)
    sys.stdout.write("\n".join(problems or ["nothing wrong"]) + "\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
