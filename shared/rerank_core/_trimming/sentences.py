"""Borders of sentences, list items, table rows and code blocks in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Sentence", "split"]

# A sentence that is longer is cut at a line break, a semicolon, a comma or a space.
_LONGEST = 600

_STOPS = ".!?…‼⁇⁈⁉؟۔।॥။።។"  # with a space after them
_WIDE_STOPS = "。！？｡．"  # without one
_CLOSING = "\"'”’»)]}」』】）〉》"
_END = re.compile(
    rf"[{re.escape(_STOPS)}]+[{re.escape(_CLOSING)}]*(?=\s)|[{_WIDE_STOPS}]+[{re.escape(_CLOSING)}]*"
)
# Thai has no stop: a space ends a phrase or a sentence.
_THAI_END = re.compile(r"(?<=[\u0e00-\u0e7f])(?=\s+[\u0e00-\u0e7f])")
_THAI_SHORTEST = 40

_ABBREVIATIONS = frozenset(
    "al approx ca cf ch co corp dept dr ed eds e.g eq est ex gen gov i.e inc jr "  # noqa: SIM905
    "lt ltd mr mrs ms mt op prof ref resp rev sen sr st vs bzw z.b d.h u.a "
    "usw bspw dgl sog bsp jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_BEFORE_NUMBERS = frozenset({"art", "fig", "figs", "no", "nos", "nr", "p", "pp", "sec", "vol"})
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘„«]*$")

_FENCE = re.compile(r"\s{0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+\S")
_UNDERLINE = re.compile(r"\s{0,3}(=+|-{2,})\s*$")
_ITEM = re.compile(r"\s*([-*+•‣◦]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])\s+\S")
_RULE = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
_CODE_LINE = re.compile(r"( {4}|\t)|.*[{};:,(\[\\]\s*$|\s*[})\]]")


class Sentence(NamedTuple):
    """A part of a text that is kept or left out whole.

    Attributes:
        start: Its first character.
        end: The character after its last.
        heading: Borders of the heading above it, or of the header of its table with the
            heading right above that; None without one.
        is_heading: Whether it is a heading itself, which stays with what is below it.
    """

    start: int
    end: int
    heading: tuple[int, int] | None = None
    is_heading: bool = False


def split(text: str) -> list[Sentence]:
    """Find the sentences of a text, in order and without overlap.

    A heading, a list item and the row of a table begin anew; a block of code is one part. Together
    the parts hold every character that is not white space.
    """
    sentences: list[Sentence] = []
    heading: tuple[int, int] | None = None
    for kind, start, end, header in _blocks(text):
        if kind == "heading":
            heading = (start, end)
            sentences.append(Sentence(start, end, is_heading=True))
        elif kind == "text":
            sentences += (Sentence(s, e, heading) for s, e in _sentences(text, start, end))
        else:
            above = header or heading
            if header and heading and not text[heading[1] : header[0]].strip():
                above = (heading[0], header[1])
            sentences.append(Sentence(start, end, above))
    return sentences


def _blocks(text: str) -> Iterator[tuple[str, int, int, tuple[int, int] | None]]:
    """Yield the kind, the borders and the table's header of each block of lines."""
    lines = _lines(text)
    position = 0
    while position < len(lines):
        start, end = lines[position]
        line = text[start:end]
        after = position + 1
        following = text[slice(*lines[after])] if after < len(lines) else ""
        if not line.strip():
            position = after
        elif fence := _FENCE.match(line):
            closing = re.compile(rf"\s*{fence[1][0]}{{{len(fence[1])},}}\s*")
            while after < len(lines) and not closing.fullmatch(text, *lines[after]):
                after += 1
            position = min(after + 1, len(lines))
            yield "code", start, lines[position - 1][1], None
        elif _HEADING.match(line):
            position = after
            yield "heading", start, end, None
        elif "|" in line and "|" in following and _RULE.match(following):
            header = (start, lines[after][1])
            first = position = after + 1
            while position < len(lines) and "|" in text[slice(*lines[position])]:
                yield "row", *lines[position], header
                position += 1
            if position == first:
                yield "row", *header, None
        elif _UNDERLINE.match(following) and not _ITEM.match(line):
            position = after + 1
            yield "heading", start, lines[after][1], None
        else:
            while after < len(lines) and _goes_on(text[slice(*lines[after])]):
                after += 1
            block = lines[position:after]
            position = after
            borders = (block[0][0], block[-1][1])
            marked = sum(_CODE_LINE.match(text[slice(*line)]) is not None for line in block)
            is_code = (
                len(block) > 2 and marked * 2 > len(block) and not _ITEM.match(text[start:end])
            )
            yield "code" if is_code else "text", *borders, None


def _goes_on(line: str) -> bool:
    """Return whether a line belongs to the paragraph or list item before it."""
    begins = _ITEM.match(line) or _HEADING.match(line) or _FENCE.match(line)
    return bool(line.strip()) and not begins


def _lines(text: str) -> list[tuple[int, int]]:
    lines = []
    start = 0
    for line in text.splitlines(keepends=True):
        lines.append((start, start + len(line.rstrip("\r\n"))))
        start += len(line)
    return lines


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for border in [*_borders(text, start, end), end]:
        yield from _cut(text, begin, border)
        begin = border


def _borders(text: str, start: int, end: int) -> Iterator[int]:
    last = start
    ends = {match.end() for match in _END.finditer(text, start, end) if _is_end(text, match)}
    thai = (match.start() for match in _THAI_END.finditer(text, start, end))
    for border in sorted(ends.union(thai)):
        if border in ends or border - last >= _THAI_SHORTEST:
            yield border
            last = border


def _is_end(text: str, match: re.Match[str]) -> bool:
    """Return whether a stop ends a sentence, rather than an abbreviation or an initial."""
    if not match[0].startswith(".") or match[0].startswith(".."):
        return True
    rest = text[match.end() : match.end() + 8].lstrip(" \t\r\n" + _CLOSING + "(“‘„«\"'")
    if rest[:1].islower():
        return False
    word = _LAST_WORD.search(text[max(0, match.start() - 20) : match.start()])
    last = word[0] if word else ""
    if last.lower() in _BEFORE_NUMBERS:
        return not rest[:1].isdigit()
    return not (last.lower() in _ABBREVIATIONS or (len(last) == 1 and last.isupper()))


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield a sentence without white space around it, in parts if it is very long."""
    while True:
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if end - start <= _LONGEST:
            if start < end:
                yield start, end
            return
        border = _border_within(text, start, start + _LONGEST)
        yield start, border
        start = border


def _border_within(text: str, start: int, end: int) -> int:
    for mark in ("\n", "; ", "；", ", ", "，", "、", " "):
        found = text.rfind(mark, start + _LONGEST // 3, end)
        if found > 0:
            return found + len(mark.rstrip()) if mark.strip() else found
    return end
