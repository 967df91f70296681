"""Agreement of the parts of a release; `make release-check` tries it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from release.installed import EXTRAS
from rerank_core import __version__
from support.markdown import relative_links

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## \[(.+?)\] - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


def test_every_extra_for_users_is_tried_and_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {"bench", "dev", "docs"}  # for work on this repository
    extras = set(project["optional-dependencies"]) - ours
    assert set(EXTRAS) == {"base", *extras}
    page = (ROOT / "docs" / "install.md").read_text()
    assert not {extra for extra in extras if f"`{extra}`" not in page}


def test_links_lead_somewhere() -> None:
    for name in ("CHANGELOG.md", "RELEASING.md", "SECURITY.md"):
        assert all(link.exists() for link in relative_links(ROOT / name))
