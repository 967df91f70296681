from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks._against import QUICK, Effort, compare, summarise
from benchmarks._checkout import ROOT, CheckoutError, checkout

IMPORT = "from rerank_core import load_scorer, rerank"
COMMITTED = "load_scorer = rerank = None\n"


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose one commit holds a package that is quick to import."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    root = tmp_path / "repository"
    package = root / "shared" / "rerank_core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(COMMITTED)
    _git(root, "init", "--quiet")
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "--no-gpg-sign", "-m", "One")
    (package / "__init__.py").write_text("not committed")
    return root


def _left(repository: Path) -> list[Path]:
    return [*repository.parent.joinpath("temporary").iterdir()]


def test_a_checkout_holds_what_was_committed(repository: Path) -> None:
    with checkout("HEAD", repository) as found:
        assert (found.root / "shared/rerank_core/__init__.py").read_text() == COMMITTED
        assert found.root.name == found.commit
    assert _left(repository) == []


def test_a_checkout_is_removed_when_interrupted(repository: Path) -> None:
    with pytest.raises(KeyboardInterrupt), checkout("HEAD", repository):
        raise KeyboardInterrupt
    assert _left(repository) == []


@pytest.mark.parametrize("revision", ["nowhere", "--all", "", "HEAD:shared"])
def test_an_unknown_revision_is_named(repository: Path, revision: str) -> None:
    message = f"'{revision}' is not a commit, branch or tag of "
    with pytest.raises(CheckoutError, match=message), checkout(revision, repository):
        pass


def test_a_revision_without_the_project(repository: Path) -> None:
    _git(repository, "mv", "shared", "elsewhere")
    _git(repository, "commit", "--quiet", "--no-gpg-sign", "-m", "Two")
    with pytest.raises(CheckoutError, match="has no shared"), checkout("HEAD", repository):
        pass
    assert _left(repository) == []


def test_no_clone(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repository.parent))
    with (
        pytest.raises(CheckoutError, match="not a git repository"),
        checkout("HEAD", repository.parent),
    ):
        pass
    with (
        pytest.raises(CheckoutError, match="is not the root of a git clone"),
        checkout("HEAD", repository / "shared"),
    ):
        pass


def test_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CheckoutError, match="git is not installed"), checkout("HEAD", repository):
        pass


def test_slower_code_is_seen(repository: Path) -> None:
    with checkout("HEAD", repository) as old:
        times = compare(old, Effort((IMPORT,), seconds=0, turns=1), 2, lambda _: None)
        page, held = summarise(times, old.commit, at_least=0.97)
    assert not held  # there is more to import today
    assert f"| {old.commit} | this clone |" in page
    assert "| **no** |" in page


def test_a_call_that_fails_names_its_side(repository: Path) -> None:
    with (
        checkout("HEAD", repository) as old,
        pytest.raises(RuntimeError, match=r"nano fails on the old code: .*cannot import name"),
    ):
        compare(old, Effort(("nano",), seconds=0, turns=1), 1, lambda _: None)
    assert _left(repository) == []


def test_ratios_above_one_are_faster() -> None:
    times = {"nano": [(2.0, 1.0), (1.0, 1.0), (3.0, 2.0)], IMPORT: [(0.096, 0.1)]}
    page, held = summarise(times, "abc1234", at_least=0.97)
    assert "| 1.500 (1.00-2.00) | 2 s | 1 s | yes |" in page
    assert "| 0.960 (0.96-0.96) | 96 ms | 100 ms | **no** |" in page
    assert not held
    assert summarise(times, "abc1234", at_least=0.95)[1]


def _start(*options: str, temporary: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone")
def test_every_call_runs_on_committed_code(tmp_path: Path) -> None:
    options = ("--quick", "--rounds", "1", "--against", "HEAD", "--at-least", "0")
    with _start(*options, temporary=tmp_path) as process:
        page, log = process.communicate()
    assert process.returncode == 0, log
    assert len(page.splitlines()) == 2 + len(QUICK.calls)
    assert [*tmp_path.glob("rerank-core-*")] == []


@pytest.mark.skipif(os.name == "nt", reason="sends a signal of POSIX")
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    with _start("--quick", "--against", "HEAD", temporary=tmp_path) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "round 1" in line)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert "round 1 of 10" in line
    assert (process.returncode, rest) == (130, "")
    assert [*tmp_path.glob("rerank-core-*")] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--against", "nowhere"), "'nowhere' is not a commit, branch or tag"),
        (("--against", "HEAD", "--name", "x"), "--name cannot be used with --against"),
        (("--at-least", "1"), "--at-least needs --against"),
        (("--rounds", "0"), "--rounds must be at least 1"),
    ],
)
def test_wrong_options(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with _start(*options, temporary=tmp_path) as process:
        log = process.communicate()[1]
    assert process.returncode == 2
    assert message in log or (message.startswith("'nowhere'") and not (ROOT / ".git").exists())
