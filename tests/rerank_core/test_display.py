from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core._display import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain → naïve 日本語", "plain → naïve 日本語"),
        ("a\r\n\tb\u2028c  d", "a b c d"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("\x9b31m\x07\x7f\x00", "\ufffd31m\ufffd\ufffd\ufffd"),
        ("\u202eevil\ud800", "\ufffdevil\ufffd"),
        ("👩\u200d💻 می\u200cروم", "👩\u200d💻 می\u200cروم"),
    ],
)
def test_texts_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None, categories=None)))
def test_whatever_comes_is_one_harmless_line(text: str) -> None:
    shown = printable(text)
    assert shown.replace("\u200c", "").replace("\u200d", "").isprintable()
    shown.encode()
