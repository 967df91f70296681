from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rerank_core.cli._guard import Failure
from rerank_core.cli._output import check_target, write_lines


def test_a_file_is_written_as_utf_8_with_line_feeds(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_lines(["é", "b"], target)
    assert target.read_bytes() == b"\xc3\xa9\nb\n"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "out"
    target.write_text("old")

    def lines() -> Iterator[str]:
        yield "new"
        raise error

    with pytest.raises(error):
        write_lines(lines(), target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_gets_the_usual_permissions_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    usual, new, old = tmp_path / "usual", tmp_path / "new", tmp_path / "old"
    usual.touch()
    old.touch()
    old.chmod(0o640)
    write_lines(["x"], new)
    write_lines(["x"], old)
    assert new.stat().st_mode == usual.stat().st_mode
    assert stat.S_IMODE(old.stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_lines(["new"], link)
    assert link.is_symlink()
    assert target.read_text() == "new\n"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    check_target(pipe)
    write_lines(["x"], pipe)
    reader.join(timeout=30)
    assert got == [b"x\n"]
    assert pipe.is_fifo()


def test_a_target_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="is a folder"):
        check_target(tmp_path)
    with pytest.raises(Failure, match="does not exist"):
        check_target(tmp_path / "missing" / "out")
    check_target(tmp_path / "out")
    check_target(None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_beforehand(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Failure, match="no permission"):
        check_target(tmp_path / "out")


def test_a_link_to_itself_and_a_name_that_is_too_long_are_refused_beforehand(
    tmp_path: Path,
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (loop, loop / "out", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"link|long"):
            check_target(path)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "missing" / "out")
    with pytest.raises(Failure, match="missing does not exist"):
        check_target(dangling)
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="file does not exist"):
        check_target(tmp_path / "file" / "out")


def test_a_pipe_without_a_reader_is_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=write_lines, args=(["x"], pipe))
    writer.start()
    assert pipe.read_bytes() == b"x\n"
    writer.join(timeout=30)
