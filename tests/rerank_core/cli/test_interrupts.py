"""Ctrl-C, SIGTERM and SIGHUP end the program with one line on standard error, at any moment.

``python tests/rerank_core/cli/test_interrupts.py 300`` interrupts so many times at random moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tells through a pipe when the program has taken the signals over. Before, they are Python's.
START = """
import os, sys, _signal
ready, real = int(sys.argv.pop(1)), _signal.signal

def first(number, handler):
    before = real(number, handler)
    if number == _signal.SIGINT:  # the last of them
        _signal.signal = real
        os.write(ready, b".")
    return before

_signal.signal = first
from rerank_core.cli import main
sys.exit(main())
"""
# Presses Ctrl-C where an exception is only printed: in a destructor, once a module is imported.
IN_DESTRUCTOR = """
import signal, sys

class Swallows:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def press(event, arguments):
    if event == "import" and arguments[0] == {module!r} and not seen:
        seen.append(Swallows())
        seen[0] = None

seen = []
sys.addaudithook(press)
from rerank_core.cli import main
sys.exit(main())
"""
# Ends the program as soon as the file under the other name is there.
WHILE_WRITING = """
import signal, sys

def end(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".tmp"):
        signal.raise_signal({number})

sys.addaudithook(end)
from rerank_core.cli import main
sys.exit(main())
"""
AT_EXIT = """
import atexit, signal, sys
atexit.register(signal.raise_signal, signal.SIGINT)
from rerank_core.cli import main
sys.exit(main())
"""
ENDS = {
    signal.SIGINT: (130, b"rerank: interrupted\n"),
    signal.SIGTERM: (143, b"rerank: ended by SIGTERM\n"),
    signal.SIGHUP: (129, b"rerank: ended by SIGHUP\n"),
}
INTERRUPTED = ENDS[signal.SIGINT]


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C reach the processes, even where the tests run in a background job."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def write_lines(path: Path) -> Path:
    """Write what takes more than two seconds to rank."""
    path.write_text("".join(f"line {n} {'word ' * 60}\n" for n in range(2000)))
    return path


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, timeout=120, check=False
    )


def interrupt(
    arguments: list[str], delay: float, number: signal.Signals
) -> tuple[int, bytes, bytes]:
    """Send a signal to a command so many seconds after it began: exit code and output."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", START, str(writer), *arguments],
        pass_fds=[writer], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(writer)
        assert os.read(reader, 1) == b"."
        os.close(reader)
        time.sleep(delay)
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def interrupt_often(folder: Path, count: int, seed: int, longest: float) -> Counter[str]:
    """Interrupt the commands at random moments, and count how that ended."""
    source, output = write_lines(folder / "in.txt"), folder / "out.jsonl"
    commands = [["rank", "-q", "line", "-o", str(output), str(source)], ["demo"]]
    chance = random.Random(seed)
    ends: Counter[str] = Counter()
    for number in range(count):
        sent = [*ENDS][number % 3]
        code, out, errors = interrupt(commands[number % 2], chance.uniform(0, longest), sent)
        whole = sent != signal.SIGINT or not out or out.endswith(b"\n")  # the others do not wait
        clean = sorted(path.name for path in folder.iterdir()) == ["in.txt"]
        good = (code, errors) == ENDS[sent] and whole and clean
        ends["good" if good else f"{code} {whole} {clean} {errors.decode()}"] += 1
    return ends


def test_interrupts_at_any_moment(tmp_path: Path) -> None:
    assert interrupt_often(tmp_path, count=24, seed=1, longest=1.5) == {"good": 24}


@pytest.mark.parametrize("module", ["rich", "onnxruntime"])
def test_an_interrupt_that_python_would_swallow(module: str, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("a\n")
    done = run(IN_DESTRUCTOR.format(module=module), "rank", "-q", "x", str(source))
    assert (done.returncode, done.stderr) == INTERRUPTED
    assert done.stdout == b""


@pytest.mark.parametrize("number", ENDS, ids=str)
def test_a_signal_while_writing_leaves_the_old_file_and_nothing_else(
    number: signal.Signals, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("a\n")
    output.write_text("old")
    script = WHILE_WRITING.format(number=int(number))
    done = run(script, "rank", "-q", "x", "-o", str(output), str(source))
    assert (done.returncode, done.stderr) == ENDS[number]
    assert output.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [source, output]


def test_an_interrupt_while_the_interpreter_ends() -> None:
    done = run(AT_EXIT, "--version")
    assert (done.returncode, done.stderr) == INTERRUPTED
    assert done.stdout.startswith(b"rerank ")


def test_next_to_nothing_is_imported_before_interrupts_are_ours() -> None:
    script = (
        "import sys, atexit, _signal\n"
        "before = set(sys.modules)\n"
        "import rerank_core.cli\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    assert run(script).stdout.split() == [
        b"__future__", b"rerank_core", b"rerank_core._version", b"rerank_core.cli",
        b"rerank_core.cli._interrupts",
    ]  # fmt: skip


def test_an_ignored_interrupt_stays_ignored() -> None:
    ignore = "import signal; signal.signal(signal.{name}, signal.SIG_IGN)"
    for name in ("SIGINT", "SIGHUP"):
        script = AT_EXIT.replace("SIGINT", name)
        done = run(f"{ignore.format(name=name)}\n{script}", "--version")
        assert (done.returncode, done.stderr) == (0, b"")


def test_output_is_written_whole_and_callbacks_run_before_the_process_ends() -> None:
    script = (
        "import atexit, sys\n"
        "atexit.register(print, 'bye')\n"
        "from rerank_core.cli import main\n"
        "sys.exit(main())\n"
    )
    done = run(script, "--version")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[1:] == [b"bye"]


def test_a_program_that_calls_main_goes_on() -> None:
    script = (
        "import sys\n"
        "names = {'__name__': 'embedding'}\n"
        "exec('from rerank_core.cli import main\\ncode = main()', names)\n"
        "print('code', names['code'])\n"
    )
    done = run(script, "--version")
    assert done.stdout.splitlines()[1:] == [b"code 0"]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        ends = interrupt_often(Path(folder), int(sys.argv[1]), seed=2, longest=2.0)
    for end, number in ends.most_common():
        sys.stdout.write(f"{number} {end}\n")
