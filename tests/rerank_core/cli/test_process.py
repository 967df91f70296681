"""The real program in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]
RERANK = [sys.executable, "-m", "rerank_core.cli"]
# The same way through the program, with a scorer that costs nothing.
CHEAP = [
    sys.executable,
    "-c",
    (
        "import sys\n"
        "from support.scorers import OverlapScorer\n"
        "from rerank_core.cli._guard import guarded\n"
        "from rerank_core.cli._rank import RankOptions, rank_file\n"
        "with guarded():\n"
        "    rank_file(sys.argv[1], OverlapScorer(), RankOptions(query='line'))\n"
    ),
]
PYTHONPATH = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
ENV = {**os.environ, "PYTHONPATH": PYTHONPATH, "TERM": "xterm", "COLUMNS": "100"}
for variable in ("PYTHONUTF8", "CO_API_KEY", "COHERE_API_KEY"):
    ENV.pop(variable, None)


def run(*arguments: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*RERANK, *arguments],
        input=stdin,
        capture_output=True,
        env={**ENV, **env},
        timeout=60,
        check=False,
    )


def read_until(descriptor: int, *marks: bytes) -> bytes:
    """Read until all marks were seen; without marks, until the other side has closed."""
    seen = b""
    while not marks or not all(mark in seen for mark in marks):
        ready, _, _ = select.select([descriptor], [], [], 60)
        assert ready, f"silence after {seen!r}"
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # how Linux ends a pseudo-terminal
            chunk = b""
        if not chunk:
            assert not marks, f"ended after {seen!r}"
            break
        seen += chunk
    return seen


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that does not outlive its test, however that ends."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C reach the processes, even where the tests run in a background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Far more than a pipe holds (64 KiB)."""
    file = tmp_path / "big.txt"
    file.write_text("".join(f"line {n} {'x' * 1000}\n" for n in range(2000)))
    return file


def test_lines_in_json_lines_out() -> None:
    done = run(
        "rank", "-q", "What is the capital of France?", "--top-n", "1",
        stdin="Cats purr.\nParis is the capital of France → naturellement.\n".encode(),
        LC_ALL="C",
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == b""
    record = json.loads(done.stdout)
    assert record.pop("relevance_score") > 0
    assert record == {"id": 2, "text": "Paris is the capital of France → naturellement."}
    assert "→".encode() in done.stdout


def test_nothing_in_nothing_out() -> None:
    done = run("rank", "-q", "x", "-s", "owner/never-fetched", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"rerank: stdin: no candidates\n"


@pytest.mark.parametrize(
    "data",
    [b"id,text\n1,a\n", b'[\n  {\n    "text": "a"\n  }\n]', '["a"]'.encode("utf-16")],
    ids=["csv", "pretty-printed", "utf-16"],
)
def test_standard_input_is_read_for_what_it_is(data: bytes) -> None:
    done = run("rank", "-q", "a", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["text"] == "a"


def test_lone_surrogates_and_odd_queries_pass() -> None:
    done = run("rank", "-q", os.fsdecode(b"caf\xff"), stdin=b'{"text": "a\\ud800"}\n')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b'{"text": "a\\ud800", "relevance_score": ')


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["rank"], 2, "--query"),
        (["rank", "-q", " "], 2, "--query is blank"),
        (["rank", "-q", "x", "-s", "cohere:rerank-v3.5"], 1, "there is no API key"),
        (["rank", "-q", "x", "/nowhere/in"], 1, "/nowhere/in: No such file or directory"),
        (["rank", "-q", "x", "/"], 1, "/: Is a directory"),
        (["rank", "-q", "x", "-o", "/nowhere/out"], 1, "the folder /nowhere does not exist"),
        (["rank", "-q", "x", "-o", "/dev/full"], 1, "No space left on device"),
        (["rank", "-q", "x", "--strict"], 1, "stdin:2: "),
        (["rank", "-q", "x", "--input-format", "csv"], 1, "stdin:1: the header has no column"),
        (["rank", "-q", "x", "--text-field", "txt"], 1, "missing; use --text-field text"),
    ],
)
def test_errors_are_plain(arguments: list[str], code: int, message: str) -> None:
    done = run(*arguments, stdin=b'{"text": "a"}\n{"text": 2}\n')
    errors = done.stderr.decode()
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in " ".join(errors.split())
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


def test_a_full_device_on_standard_output_is_told_once() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*RERANK, "rank", "-q", "x"],
            input=b"a\n", stdout=full, stderr=subprocess.PIPE, env=ENV, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"rerank: No space left on device\n")


def test_closed_streams_are_told() -> None:
    script = '"$@" <&-; echo $?; echo a | "$@" >&-; echo $? >&2'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *RERANK, "rank", "-q", "x"],
        capture_output=True, env=ENV, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == b"1\n"
    assert done.stderr.decode().splitlines() == [
        "rerank: standard input is closed; name a FILE",
        "rerank: standard output is closed; open it, or name a file to write",
        "1",
    ]


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_the_extra_the_install_line_is_printed(package: str) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; from rerank_core.cli import main; "
    done = subprocess.run(
        [sys.executable, "-c", script + "sys.exit(main())"],
        capture_output=True, env=ENV, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b'rerank: The command line needs an extra: pip install "rerank-core[cli]"\n'
    )


def test_a_reader_that_goes_away_ends_the_program_quietly(big: Path) -> None:
    with started(
        [*CHEAP, str(big)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141
    assert json.loads(first)["id"] == 1


def test_ctrl_c_while_writing_ends_after_a_whole_line(big: Path) -> None:
    with started(
        [*CHEAP, str(big)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        wrote = os.read(process.stdout.fileno(), 1)  # the rest waits for room in the pipe
        process.send_signal(signal.SIGINT)
        out = wrote + read_until(process.stdout.fileno())
        assert process.stderr.read() == b"rerank: interrupted\n"
        assert process.wait(timeout=60) == 130
    assert out.endswith(b"}\n")
    ids = [json.loads(line)["id"] for line in out.splitlines()]
    assert ids == list(range(1, len(ids) + 1))
    assert 0 < len(ids) < 2000


def test_ctrl_c_while_reading_writes_nothing() -> None:
    with started(
        [*RERANK, "rank", "-q", "x"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b'{"text": "good"}\n{"text": "bad\n')
        process.stdin.flush()
        assert process.stderr.readline().startswith(b"stdin:2: not JSON")  # it is reading
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"rerank: interrupted\n"
        assert process.stdout.read() == b""
        assert process.wait(timeout=60) == 130


def test_ctrl_c_while_scoring_leaves_nothing_behind(big: Path) -> None:
    output = big.with_name("out.jsonl")
    master, slave = pty.openpty()
    with started(
        [*RERANK, "rank", "-q", "x", "-o", str(output), str(big)],
        stdout=subprocess.PIPE, stderr=slave, env=ENV,
    ) as process:  # fmt: skip
        os.close(slave)
        assert process.stdout is not None
        shown = read_until(master, b"scoring", b"/2000")  # the progress bar
        process.send_signal(signal.SIGINT)
        shown += read_until(master)
        assert process.stdout.read() == b""
        assert process.wait(timeout=60) == 130
    os.close(master)
    assert shown.rstrip().endswith(b"rerank: interrupted")
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is back
    assert list(big.parent.iterdir()) == [big]


@pytest.mark.parametrize(("lines", "bar"), [(101, True), (100, False)])
def test_the_progress_bar_shows_on_long_input_and_goes(lines: int, bar: bool) -> None:
    master, slave = pty.openpty()
    with started(
        [*RERANK, "rank", "-q", "x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=slave,
        env=ENV,
    ) as process:  # fmt: skip
        os.close(slave)
        out, _ = process.communicate(b"".join(b"%d\n" % n for n in range(lines)), timeout=60)
    shown = read_until(master)
    os.close(master)
    assert process.returncode == 0
    assert len(out.splitlines()) == lines
    if bar:
        assert b"%d/%d" % (lines, lines) in shown
        assert shown.rindex(b"\x1b[2K") > shown.rindex(b"scoring")  # the line was erased
    else:
        assert shown == b""


def test_a_terminal_gets_a_table_and_is_asked_for_input() -> None:
    master, slave = pty.openpty()
    with started(
        [*RERANK, "rank", "-q", "capital of France"],
        stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=ENV,
    ) as process:  # fmt: skip
        os.close(slave)
        assert process.stderr is not None
        assert b"reading candidates from the terminal" in process.stderr.readline()
        # ^V lets the escape through the terminal's own line editor.
        os.write(master, b"cats\nParis is the capital\x16\x1b[2J of France\n\x04")
        shown = read_until(master, b"\xe2\x86\x931")
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
    os.close(master)
    table = shown[shown.index(b"nano ") :].decode()
    assert "logit: any real number, not a probability" in table
    assert "↑1" in table
    assert "\x1b[2J" not in table
    assert "Paris is the capital\ufffd[2J of France" in table
