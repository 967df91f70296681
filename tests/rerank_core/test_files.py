from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rerank_core._files import bounded_bytes, bounded_lines, replacing


def test_lines_keep_their_ends_and_have_a_greatest_length() -> None:
    assert list(bounded_lines(io.BytesIO(b"ab\n\ncd"), "x", longest=3)) == [b"ab\n", b"\n", b"cd"]
    lines = bounded_lines(io.BytesIO(b"ab\nabc\n"), "x", longest=3)
    assert next(lines) == b"ab\n"
    with pytest.raises(OSError, match="line 2 is longer than 3 bytes"):
        next(lines)


def test_a_file_is_read_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert bounded_bytes(path, most=3) == b"abc"
    with pytest.raises(ValueError, match="it is larger than 2 bytes"):
        bounded_bytes(path, most=2)


def test_a_device_without_an_end_does_not_fill_the_memory() -> None:
    with Path("/dev/zero").open("rb") as zeros, pytest.raises(OSError, match="line 1 is longer"):
        next(bounded_lines(zeros, "x", longest=1 << 20))


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    for path in (Path("/dev/null"), link):
        with replacing(path) as stream:
            stream.write(b"x")
        assert path.is_char_device()
    with pytest.raises(OSError, match="No space left"), replacing(Path("/dev/full")) as stream:
        stream.write(b"x")
    assert Path("/dev/full").is_char_device()


def test_the_file_under_the_other_name_is_guarded_before_it_exists(tmp_path: Path) -> None:
    target = tmp_path / "out"
    removes: list[Callable[[], object]] = []

    @contextmanager
    def guard(remove: Callable[[], object]) -> Iterator[None]:
        assert list(tmp_path.iterdir()) == []
        removes.append(remove)
        yield

    with replacing(target, guard) as stream:
        stream.write(b"new")
        (draft,) = tmp_path.iterdir()
        removes[0]()
        assert not draft.exists()
        draft.write_bytes(b"new")
    assert target.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [target]
