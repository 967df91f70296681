"""The site builds without a warning, lists every public name, and is searchable."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.site import PACKAGES, SEARCHES, chromium, look_at

ROOT = Path(__file__).parents[2]
GOOD = "<link rel=icon href=data:,><title>a</title><p id=here>Words.</p><a href=b.html#there>b</a>"
BAD = """<link rel=icon href=data:,><title>b</title><p id=there style="width: 900px">Wide.</p>
<a href=a.html#gone>a</a> <a href=gone.html>c</a> <img src=gone.png>
<script>console.error("broken")</script><script src=http://127.0.0.1:9/elsewhere.js></script>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("furo") is None:
        pytest.skip("needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), "docs", str(folder / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    page = {
        f"{package}.{name}": site / "reference" / "api" / f"{package}.{name}.html"
        for package in PACKAGES
        for name in importlib.import_module(package).__all__
        if name != "__version__"
    }
    groups = "".join(
        path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html")
    )
    assert not [
        name
        for name, path in page.items()
        if f'id="{name}"' not in (path.read_text(encoding="utf-8") if path.exists() else groups)
    ]


def test_the_search_has_what_people_look_for(site: Path) -> None:
    script = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(script.removeprefix("Search.setIndex(").removesuffix(")"))
    terms = {term[:5] for term in (*index["terms"], *index["titleterms"])}  # they are stems
    assert {word.lower()[:5] for word in SEARCHES} <= terms


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" type="text/css" href="http' not in text, page


@pytest.mark.skipif(chromium() is None, reason="needs Chromium: `apt-get install chromium`")
def test_the_check_of_pages_finds_what_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    (tmp_path / "a.html").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.html").write_text(BAD, encoding="utf-8")
    problems = look_at(tmp_path)
    assert all(problem.startswith("b.html") for problem in problems), problems
    text = "\n".join(problems)
    assert "b.html at 390: horizontal scroll bar" in text
    assert "b.html at 1280: horizontal scroll bar" not in text
    assert "at 390: picture missing: " in text
    assert "at 1280: broken" in text
    assert "asks for http://127.0.0.1:9/elsewhere.js" in text
    assert "link to a missing page: gone.html" in text
    assert "link to a missing anchor: a.html#gone" in text
