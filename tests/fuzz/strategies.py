"""Documents that were valid once: mutations of JSON, of lines and of bytes, and what they may do.

Random bytes are refused at the first look. What reaches the code behind that look is a valid
document with a few things wrong.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from hypothesis import strategies as st

from rerank_core import RerankError

__all__ = [
    "KEY",
    "Hang",
    "bounded",
    "damaged",
    "json_text",
    "json_value",
    "leaks",
    "odd_scalars",
    "outcome",
    "table",
]

T = TypeVar("T")

KEY = "sk/fuzz+0123456789=="  # what a service may echo, and nothing of ours may show
_ECHOES = (KEY, f"Bearer {KEY}", KEY.replace("/", "\\/"), quote(KEY, safe=""))

_DEEP = 3000
_RAW = (
    "NaN",
    "-Infinity",
    "1e999",
    "-0",
    "9" * 5000,
    "[" * _DEEP + "]" * _DEEP,
    '{"a":' * _DEEP + "1" + "}" * _DEEP,
    "[" * 100_000,
    '"\\ud800"',
    '"\\u0000"',
    "[[],[]]",
)
_SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 10**400, -(10**400)),
    *(0.5, -1.5, 1e308, float("nan"), float("inf"), -0.0),
    *("", " ", "0", "1", "\u0661", "a", "\x00", "\ud800", "\x1b[31m\n", "\u202e", "x" * 5000),
    *_ECHOES,
)
_NAMES = ("", "id", "index", "type", "text", "score", "\ud800", "a" * 3000, *_ECHOES)
_BYTES = (
    *(b"", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b", b"\n"),
    *(b"\r\n", b"\r", b'"', b"\\", b"{", b"[", b"]", b"}", b",", b"\t", b"'", b"0", b"-", b"e9"),
    *(b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b'"\\ud800"', *map(str.encode, _ECHOES)),
)


class Hang(BaseException):
    """Raised in the main thread when an example takes too long."""


class _Raw(str):
    """JSON that is written as it is."""


class _Object(list[Any]):
    """Members of an object, so that a name can be there twice."""


def _tree(value: Any) -> Any:
    if isinstance(value, dict):
        return _Object([name, _tree(member)] for name, member in value.items())
    return [_tree(item) for item in value] if isinstance(value, list) else value


def _copy(node: Any) -> Any:
    return type(node)(map(_copy, node)) if isinstance(node, list) else node


def _text(node: Any) -> str:
    if isinstance(node, _Raw):
        return str(node)
    if isinstance(node, _Object):
        members = ", ".join(f"{json.dumps(name)}: {_text(value)}" for name, value in node)
        return f"{{{members}}}"
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    return json.dumps(node)


def _value(node: Any) -> Any:
    if isinstance(node, _Raw):
        try:
            return json.loads(node)
        except (ValueError, RecursionError):
            return node[:100]
    if isinstance(node, _Object):
        return {name: _value(value) for name, value in node}
    return [_value(item) for item in node] if isinstance(node, list) else node


def _places(node: list[Any]) -> Iterator[tuple[list[Any], int]]:
    """Return every place that holds a value: the list, or the pair of a member, and the index."""
    for index, item in enumerate(node):
        holder, place = (item, 1) if isinstance(node, _Object) else (node, index)
        yield holder, place
        if isinstance(holder[place], list):
            yield from _places(holder[place])


def odd_scalars() -> st.SearchStrategy[Any]:
    """Return values that are no list and no object, most of them where nobody expects them."""
    return st.one_of(st.sampled_from(_SCALARS), st.text(max_size=5), st.floats(), st.integers())


def _odd() -> st.SearchStrategy[Any]:
    raw = st.sampled_from(_RAW).map(_Raw)
    return st.one_of(odd_scalars(), raw, st.sampled_from([[], _Object()]).map(_copy))


@st.composite
def _mutated(draw: st.DrawFn, valid: Any, edits: int) -> Any:
    root = [_tree(valid)]
    for _ in range(draw(st.integers(0, edits))):
        places = list(_places(root))
        holder, index = places[draw(st.integers(0, len(places) - 1))]
        value = holder[index]
        match draw(st.integers(0, 6)):
            case 0 | 1:
                holder[index] = draw(_odd())
            case 2:
                other, position = places[draw(st.integers(0, len(places) - 1))]
                holder[index] = _copy(other[position])
            case 3:
                name = draw(st.sampled_from(_NAMES))
                holder[index] = draw(st.sampled_from([[value], [], _Object([[name, value]])]))
            case 4 if isinstance(value, list) and value:
                value.append(_copy(value[draw(st.integers(0, len(value) - 1))]))
            case 5 if isinstance(value, list) and value:
                del value[draw(st.integers(0, len(value) - 1))]
            case 6 if isinstance(value, _Object):
                value.append([draw(st.sampled_from(_NAMES)), draw(_odd())])
            case _:
                holder[index] = draw(odd_scalars())
    return root[0]


def json_value(*valid: Any, edits: int = 3) -> st.SearchStrategy[Any]:
    """Return one of some JSON values with a few things wrong."""
    return st.one_of([_mutated(value, edits).map(_value) for value in valid])


def json_text(*valid: Any, edits: int = 3) -> st.SearchStrategy[bytes]:
    """Return the JSON of some values with a few things wrong, names that repeat among them."""
    return st.one_of([_mutated(value, edits).map(_text).map(str.encode) for value in valid])


@st.composite
def damaged(draw: st.DrawFn, content: bytes | st.SearchStrategy[bytes], edits: int = 3) -> bytes:
    """Return bytes that were cut off, and of which some were left out, doubled or replaced."""
    data = content if isinstance(content, bytes) else draw(content)
    for _ in range(draw(st.integers(0, edits))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 64)))
        piece = draw(st.one_of(st.sampled_from(_BYTES), st.binary(max_size=4)))
        match draw(st.integers(0, 4)):
            case 0:
                data = data[:start]
            case 1:
                data = data[:start] + data[end:]
            case 2:
                data = data[:end] + data[start:]
            case 3:
                data = data[:start] + piece + data[end:]
            case _:
                data = data[:start] + piece + data[start:]
    return data


@st.composite
def table(draw: st.DrawFn, rows: Sequence[Sequence[str]], delimiter: str = "\t") -> bytes:
    """Return a table of which some cells were replaced, and which was then damaged."""
    cells = [list(row) for row in rows]
    for _ in range(draw(st.integers(0, 3))):
        row = cells[draw(st.integers(0, len(cells) - 1))]
        if row:
            odd = draw(
                st.one_of(odd_scalars().map(str), st.sampled_from(["9" * 5000, "inf", "1_0"]))
            )
            row[draw(st.integers(0, len(row) - 1))] = odd
    text = "\n".join(delimiter.join(row) for row in cells) + "\n"
    return draw(damaged(text.encode("utf-8", "surrogatepass"), 2))


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _mebibytes(field: str) -> float:
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def bounded(seconds: float, mebibytes: float) -> Iterator[None]:
    """Refuse an example that takes too long, or far more memory than it is given."""

    def stop(*_: object) -> None:
        raise Hang(f"over {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with suppress(OSError):
        _CLEAR.write_text("5")  # the peak begins anew
    held = _mebibytes("VmRSS")
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        grown = _mebibytes("VmHWM") - held
        assert grown < mebibytes, f"{grown:.0f} MiB"


def outcome(
    call: Callable[[], T], *, seconds: float = 5.0, mebibytes: float = 300.0
) -> T | RerankError:
    """Return what a call returns, or the error of ours that it raises.

    Args:
        call: The call.
        seconds: Time that it may take.
        mebibytes: Memory that it may take at its peak.

    Raises:
        AssertionError: If it raises anything else, takes too long, or takes too much memory.
    """
    try:
        with bounded(seconds, mebibytes):
            return call()
    except RerankError as error:
        found = error
    except AssertionError:
        raise
    except BaseException as error:  # a panic of an extension, too
        raise AssertionError(f"{type(error).__name__}: {error!s:.300}") from error
    assert len(str(found)) < 20_000, "an error is for people to read"
    return found


def leaks(text: str) -> bool:
    """Return whether the key is in a text, plain or as JSON or a URL writes it."""
    return KEY in unquote(text.replace("\\", ""))
