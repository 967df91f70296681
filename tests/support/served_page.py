"""Use the page of ``rerank serve`` in Chromium: ``python -m support.served_page``.

On a laptop and on a phone, with the keyboard alone; with a key, with spans, and with a model that
is degraded. The exit code is 1 if something is not as it should be.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core import Scoring, Span
from rerank_core.testing import ScriptedScorer
from support.serving import served
from support.site import WIDTHS, chromium, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["use_page"]

KEY = "a-key-0123456789-abc"
HOSTILE = "<img src=x onerror=alert(1)>"


def spans(_: str, texts: tuple[str, ...]) -> Scoring:
    """Score the later ones higher, and mark the second and third character of each."""
    found = tuple((Span(1, 3, 1.0),) for _ in texts)
    return Scoring(tuple(float(i) for i, _ in enumerate(texts)), spans=found)


def half(_: str, texts: tuple[str, ...]) -> Scoring:
    """Score the first only."""
    scores = (1.0, *[None] * (len(texts) - 1))
    return Scoring(scores, degraded="the budget is used up", causes=("other",))


def use_page(screenshots: Path | None = None) -> None:
    """Use the page in both widths.

    Args:
        screenshots: A folder for pictures.

    Raises:
        AssertionError: If it is not as it should be.
    """
    from playwright.sync_api import sync_playwright

    models = {"nano": "nano", "spans": ScriptedScorer(spans), "half": ScriptedScorer(half)}
    with (
        served(models, api_keys=[KEY]) as closed,
        served(models) as free,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for width in WIDTHS:
            _take_example(browser, free.url, width, screenshots)
            _by_keyboard(browser, free.url, width)
        _with_a_key(browser, closed.url)
        browser.close()


def _take_example(browser: Browser, url: str, width: int, screenshots: Path | None) -> None:
    with watched(browser, url, width) as (page, seen):
        page.goto(url)
        assert not page.get_by_label("API key").is_visible()
        page.get_by_role("button", name="Take the example").click()
        after = page.locator("#after li")
        after.first.wait_for()
        assert after.count() == page.locator("#before li").count() == 6
        assert "json.dump writes" in after.first.inner_text()
        assert "up 3" in after.first.inner_text()
        assert "now 5" in page.locator("#before li").first.inner_text()
        assert "on the scale logit" in _status(page)
        boxes: list[Any] = [page.locator(part).bounding_box() for part in ("#before", "#after")]
        beside = boxes[0]["y"] == boxes[1]["y"]
        assert beside is (width > 800), "side by side on a laptop, one below the other on a phone"
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        if screenshots:
            page.screenshot(path=screenshots / f"serve-{width}.png", full_page=True)
    assert not seen, seen


def _by_keyboard(browser: Browser, url: str, width: int) -> None:
    with watched(browser, url, width) as (page, seen):
        page.goto(url)
        page.locator("option[value=spans]").wait_for(state="attached")
        page.keyboard.press("Tab")
        page.keyboard.type("spans")
        page.keyboard.press("Tab")
        page.keyboard.type("any question")
        page.keyboard.press("Tab")
        page.keyboard.insert_text(f"{HOSTILE}\n\n  \n\n\U0001f600abc")
        page.keyboard.press("Control+Enter")
        page.locator("mark").first.wait_for()
        # Spans count code points, of which a smiley is one and JavaScript's strings have two.
        assert page.locator("mark").all_inner_texts() == ["ab", HOSTILE[1:3]]
        assert page.locator("#after img").count() == 0
        assert page.evaluate("document.activeElement.id") == "after-title"
        page.locator("#model").select_option("half")
        page.get_by_role("button", name="Rerank", exact=True).click()
        page.get_by_text("the budget is used up").wait_for()
        assert "not scored" in page.locator("#after li").last.inner_text()
    assert not seen, seen


def _with_a_key(browser: Browser, url: str) -> None:
    with watched(browser, url, WIDTHS[0]) as (page, seen):
        page.goto(url)
        page.get_by_label("API key").fill(KEY)
        page.get_by_label("API key").blur()
        page.locator("option[value=nano]").wait_for(state="attached")
        page.get_by_role("button", name="Take the example").click()
        page.locator("#after li").first.wait_for()
    # The browser itself tells of the first answer, which asks for a key.
    assert all("401" in line for line in seen), seen


def _status(page: Page) -> str:
    return page.get_by_role("status").inner_text()


def main() -> None:
    """Use the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screenshots", type=Path, help="write pictures there")
    options = parser.parse_args()
    if chromium() is None:
        sys.exit("no Chromium found: install it, on Debian with `apt-get install chromium`")
    if options.screenshots:
        options.screenshots.mkdir(parents=True, exist_ok=True)
    use_page(options.screenshots)
    sys.stdout.write("the page works\n")


if __name__ == "__main__":
    main()
