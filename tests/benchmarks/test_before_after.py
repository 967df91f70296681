from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.before_after import PICTURE, SHOWN, picture
from rerank_core.cli.demo import read_places

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_shows_the_places_of_today() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(read_places())


def test_it_has_a_question_in_each_row() -> None:
    root = ElementTree.fromstring(PICTURE.read_text(encoding="utf-8"))
    assert len(root.findall(f"{SVG}circle[@class='before']")) == SHOWN + 1  # and the legend
    height = float(root.attrib["height"])
    assert all(float(element.attrib["y"]) < height for element in root.findall(f"{SVG}text"))
