"""Borders of sentences: nothing is lost, nothing is torn that belongs together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core._trimming.sentences import split

TABLE = "| plant | eats |\n|---|---|\n| fern | light |\n| mould | bread |"
CODE = "```python\nx = 1. \n\nprint(x)\n```"


def parts(text: str) -> list[str]:
    return [text[sentence.start : sentence.end] for sentence in split(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("Dr. Smith paid 3.50 at 5 p.m. today, e.g. for tea.", None),
        ("J. R. Smith vs. Jones, Fig. 3.", None),
        ("Wait... what? Yes.", ["Wait...", "what?", "Yes."]),
        ("Use version 2.0.1 of x.y now. Then go.", ["Use version 2.0.1 of x.y now.", "Then go."]),
        ("猫睡觉。狗跑了！真的吗？是", ["猫睡觉。", "狗跑了！", "真的吗？", "是"]),
        ("「行く。」と言った。次。", ["「行く。」", "と言った。", "次。"]),
        ("هل تنام؟ نعم. حسنا۔ شكرا", ["هل تنام؟", "نعم.", "حسنا۔", "شكرا"]),
        ("पौधे बढ़ते हैं। वे हरे हैं।", ["पौधे बढ़ते हैं।", "वे हरे हैं।"]),
        ("A line\nthat goes on. Next.", ["A line\nthat goes on.", "Next."]),
        ("First\n\nSecond", ["First", "Second"]),
        ("- tea\n- milk. Warm.\n2) rice", ["- tea", "- milk.", "Warm.", "2) rice"]),
        (f"Before.\n{CODE}\nAfter.", ["Before.", CODE, "After."]),
        ("~~~\nno end.\nat all.", ["~~~\nno end.\nat all."]),
        ("# Plants\nThey eat. They grow.", ["# Plants", "They eat.", "They grow."]),
        ("Plants\n======\nThey eat.", ["Plants\n======", "They eat."]),
        ("def f(x):\n    y = x. a\n    return y", ["def f(x):\n    y = x. a\n    return y"]),
        ("", []),
        (" \n\t ", []),
        ("...", ["..."]),
        ("\ud800 a. b\0", None),
    ],
)
def test_borders(text: str, expected: list[str] | None) -> None:
    assert parts(text) == ([text] if expected is None else expected)


@pytest.mark.parametrize(
    "code",
    [
        "````\nCats purr.\n```\nDogs bark.\n```\nFish swim.\n````",
        "```python\nCats purr.\n```not a close\nDogs bark.\n```",
        "~~~\nCats purr.\n```\nDogs bark.\n~~~~",
        "```\nCats purr.\n  ```  ",
    ],
)
def test_a_block_of_code_ends_at_a_fence_like_its_own(code: str) -> None:
    assert parts(f"Before.\n{code}\nAfter.") == ["Before.", code, "After."]


def test_a_row_knows_the_header_of_its_table_and_the_heading_above() -> None:
    rows = split(f"# Food\n\n{TABLE}\n\nThe end.")
    text = f"# Food\n\n{TABLE}\n\nThe end."
    named = [(text[s.start : s.end], s.heading and text[slice(*s.heading)]) for s in rows]
    header = "# Food\n\n| plant | eats |\n|---|---|"
    assert named == [
        ("# Food", None),
        ("| fern | light |", header),
        ("| mould | bread |", header),
        ("The end.", "# Food"),
    ]


def test_thai_is_split_at_spaces_but_not_into_words() -> None:
    phrase = "พืชเปลี่ยนแสงแดดเป็นน้ำตาลเพื่อใช้เป็นอาหารของมัน"
    assert parts(f"{phrase} {phrase} {phrase}") == [phrase] * 3
    assert len(parts("พืช กิน แสง")) == 1


def test_a_giant_sentence_is_cut_at_words() -> None:
    text = "word " * 2000
    found = parts(text)
    assert all(set(part.split()) == {"word"} for part in found)
    assert max(map(len, found)) <= 600
    assert "".join(parts("x" * 5000)) == "x" * 5000


def test_ten_thousand_sentences_are_quick_to_find() -> None:
    assert len(split("Plants eat light. " * 10_000)) == 10_000
    assert len(split("line\n\n" * 10_000)) == 10_000
    assert len(split("| a | b |\n" * 10_000)) >= 1


texts = (
    st.text(st.sampled_from("aB .!?\n|-#`=。 (\"'1)\t\r\u2028é\0\ud800"), max_size=80) | st.text()
)


@given(texts)
def test_every_character_that_can_be_read_is_in_one_sentence(text: str) -> None:
    end = 0
    for sentence in split(text):
        assert end <= sentence.start < sentence.end <= len(text)
        assert not text[end : sentence.start].strip() or sentence.heading
        if sentence.heading:
            start, stop = sentence.heading
            assert 0 <= start < stop <= sentence.start
        end = sentence.end
    kept = {
        position
        for s in split(text)
        for border in ((s.start, s.end), s.heading or (0, 0))
        for position in range(*border)
    }
    assert all(text[i].isspace() for i in range(len(text)) if i not in kept)
