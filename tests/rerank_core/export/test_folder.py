from __future__ import annotations

import os
from pathlib import Path

import pytest

from rerank_core import ConfigurationError
from rerank_core.export._folder import SETTINGS, check_target, new_folder, write_settings


def export(folder: Path, content: str, *, force: bool = False) -> None:
    with new_folder(folder, force=force) as (filled, scratch):
        (scratch / "meanwhile").write_text("x")
        write_settings(filled, {"content": content})


def fail(folder: Path, error: type[BaseException]) -> None:
    with new_folder(folder, force=True) as (filled, _):
        write_settings(filled, {"content": "half"})
        raise error


def content(folder: Path) -> str:
    return (folder / SETTINGS).read_text()


def test_only_the_folder_is_left(tmp_path: Path) -> None:
    export(tmp_path / "model", "new ½")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]
    assert [path.name for path in (tmp_path / "model").iterdir()] == [SETTINGS]
    assert "new ½" in content(tmp_path / "model")
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o777 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ZeroDivisionError])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException], before: str | None
) -> None:
    if before:
        export(tmp_path / "model", before)
    with pytest.raises(error):
        fail(tmp_path / "model", error)
    assert [path.name for path in tmp_path.iterdir()] == (["model"] if before else [])
    if before:
        assert before in content(tmp_path / "model")


def test_an_export_is_replaced_only_with_force(tmp_path: Path) -> None:
    export(tmp_path / "model", "one")
    with pytest.raises(ConfigurationError, match="exists"):
        export(tmp_path / "model", "two")
    assert "one" in content(tmp_path / "model")
    export(tmp_path / "model", "two", force=True)
    assert "two" in content(tmp_path / "model")
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    draft = new_folder(folder, force=False)
    draft.__enter__()
    folder.mkdir()
    (folder / "precious").write_text("x")
    with pytest.raises(ConfigurationError, match="exists"):
        draft.__exit__(None, None, None)
    assert [path.name for path in folder.iterdir()] == ["precious"]
    assert list(tmp_path.iterdir()) == [folder]


def test_force_spares_what_is_no_export(tmp_path: Path) -> None:
    home, file, link = tmp_path / "home", tmp_path / "file", tmp_path / "link"
    home.mkdir()
    (home / "thesis.txt").write_text("x")
    file.write_text("x")
    export(tmp_path / "model", "one")
    link.symlink_to(tmp_path / "model")
    for target in (home, file, link):
        with pytest.raises(ConfigurationError, match="not an exported model"):
            check_target(target, force=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    export(empty, "new", force=True)
    assert "new" in content(empty)


def test_the_folder_above_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        check_target(tmp_path / "no" / "model", force=False)
