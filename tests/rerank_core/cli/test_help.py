"""Help pages, their examples, and what a shell completes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rerank_core.cli._app import app
from support.collections import write_collection

COMMANDS = [
    "",
    "rank",
    "bulk",
    "eval",
    "calibrate",
    "export",
    "train",
    "models",
    "info",
    "demo",
    "serve",
]


def page(command: str, width: int = 80) -> str:
    result = CliRunner().invoke(app, [*command.split(), "-h"], env={"COLUMNS": str(width)})
    assert result.exit_code == 0, result.output
    return result.stdout


def example_lines(command: str) -> list[str]:
    """Return the command lines under "Examples:", which a page has once."""
    _, _, rest = page(command).partition("\n  Examples:\n")
    return [line.strip() for line in rest.partition("\n\n")[0].splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_fits_the_terminal_and_shows_no_python(command: str) -> None:
    text = page(command)
    assert text == CliRunner().invoke(app, [*command.split(), "--help"]).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "…\n" not in text.replace(":…\n", "")  # nothing is cut off
    assert "...\n" not in text.partition("\n")[2]
    assert not re.search(r"<\w+.*>|_key|top_n", text)
    narrow = page(command, 40)
    assert all(option in narrow for option in re.findall(r" (--[a-z-]+)", text) if option != "--")


def test_without_arguments_the_page_is_shown_as_an_error() -> None:
    result = CliRunner().invoke(app, [], prog_name="rerank")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: rerank [OPTIONS] COMMAND")


def test_every_page_has_examples() -> None:
    assert all(example_lines(command) for command in COMMANDS)
    known = {line.split()[0] for line in page("").partition("Commands:\n")[2].splitlines() if line}
    assert set(COMMANDS[1:]) <= known


@pytest.mark.parametrize("line", [line for command in COMMANDS for line in example_lines(command)])
def test_an_example_can_be_typed(line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "rerank"
    if arguments[-1] not in ("-h", "--help"):
        name, *rest = arguments
        command = get_command(app).commands[name]  # type: ignore[attr-defined]
        command.make_context(name, rest)  # raises for an argument that is wrong


@pytest.mark.parametrize(
    "line",
    [
        line
        for command in ("", "rank", "eval", "models", "info")
        for line in example_lines(command)
        if not re.search("cohere:|torch:|--sample", line) and line != "rerank demo"
    ],
)
def test_an_example_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("candidates.jsonl").write_text('{"text": "Cats purr."}\n{"text": "Plants use light."}\n')
    Path("docs.csv").write_text("id,body\n1,Cats purr.\n2,Plants use light.\n")
    write_collection(tmp_path / "my-collection")
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
    written = {"best.jsonl": "Plants use light.", "quality.svg": "<svg"}
    for name, text in written.items():
        assert (name in line) == Path(name).exists()
        assert name not in line or text in Path(name).read_text()


def complete(shell: str, line: str) -> list[str]:
    """Return what a shell would get for the end of a line, by Typer's protocol."""
    words = line.split(" ")
    env = {
        "_RERANK_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    result = CliRunner().invoke(app, [], prog_name="rerank", env=env)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("rerank ra", ["rank"]),
        ("rerank rank --min", ["--min-score"]),
        ("rerank rank -s na", ["nano"]),
        ("rerank rank --scorer voyage:rerank-2.5-", ["voyage:rerank-2.5-lite"]),
        ("rerank eval my-collection -s BAAI", ["BAAI/bge-reranker-v2-m3"]),
        ("rerank demo -s torch:BAAI", ["torch:BAAI/bge-reranker-v2-m3"]),
        ("rerank export BAAI", ["BAAI/bge-reranker-v2-m3"]),
        ("rerank export m --precision i", ["int8"]),
        ("rerank rank -f ta", ["table"]),
        ("rerank rank --input-format js", ["jsonl", "json"]),
        ("rerank rank --blend z", ["zscore"]),
        ("rerank eval --metric n", ["nDCG@10"]),
    ],
)
def test_names_are_completed(line: str, found: list[str]) -> None:
    assert complete("bash", line) == found
    assert [text.partition("\t")[0] for text in complete("fish", line)] == found
    assert all(f'"{name}"' in " ".join(complete("zsh", line)).replace("\\", "") for name in found)


def test_files_are_left_to_the_shell() -> None:
    for line in (
        "rerank rank cand",
        "rerank rank -o be",
        "rerank eval my-",
        "rerank eval --plot q",
    ):
        assert complete("bash", line) in ([], [""])
        assert complete("zsh", line) == ["_files"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, [], prog_name="rerank", env={"_RERANK_COMPLETE": f"source_{shell}"}
    )
    assert (result.exit_code, "rerank" in result.stdout) == (0, True)
    if program := shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(result.stdout)
        subprocess.run([program, "-n", str(script)], check=True, timeout=60)


def test_bash_completes_what_is_typed(tmp_path: Path) -> None:
    program = tmp_path / "rerank"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rerank_core.cli "$@"\n')
    program.chmod(0o755)
    typed = (
        'eval "$(_RERANK_COMPLETE=source_bash rerank)"\n'
        "COMP_WORDS=(rerank rank -s na)\nCOMP_CWORD=3\n_rerank_completion rerank\n"
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", f'PATH="{tmp_path}:$PATH"\n{typed}'],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("nano\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("rnak", "No such command 'rnak'. Did you mean 'rank'?"),
        ("--verison", "No such option: --verison; did you mean '--version'?"),
        ("info --jsn", "No such option: --jsn; did you mean '--json'?"),
        ("rank -q x --minscore 1", "did you mean '--min-score'?"),
        ("rank -q x --output-file out", "did you mean '--output'?"),
        (
            "rank -q x -n three",
            "'--top-n' / '-n': must be a whole number of at least 1, not 'three'",
        ),
        ("rank -q x -n 0", "must be a whole number of at least 1, not 0"),
        ("rank -q x --min-score high", "'--min-score': must be a finite number, not 'high'"),
        ("rank -q x --min-score nan", "'--min-score': must be a finite number, not nan"),
        ("rank -q x -f tabel", "not 'tabel'; did you mean 'table'?"),
        ("rank -q x --input-format jsn", "not 'jsn'; did you mean 'json'?"),
        ("eval . --max-loss nan", "'--max-loss': must be a finite number of at least 0, not nan"),
        ("eval . --resamples 1", "must be a whole number of at least 100, not 1"),
        ("export m --out o --precision int4", "must be 'fp32' or 'int8', not 'int4'"),
        ("export", "Missing argument 'MODEL'"),
        ("rank -q ''", "rerank: --query is blank: ''"),
        ("rank -q x -s nanoo", "rerank: --scorer 'nanoo' is unknown; did you mean 'nano'?"),
        ("rank -q x -s ''", "rerank: --scorer '' is no name"),
        ("rank -q x --blend best", "rerank: --blend 'best': method must be one of 'rrf', "),
        ("rank -q x --blend rrf:2", "rerank: --blend 'rrf:2': weight must be a number from 0 to 1"),
        ("rank -q x --score-key ''", "rerank: --score-key must be a name such as"),
        ("rank -q x --score-key text", "rerank: --text-field and --score-key are both 'text'"),
        ("rank -q x --count-tokens json", "rerank: --count-tokens json: is not a function"),
        ("export . --out .", " exists; choose another, or replace it with --force"),
        ("export . --out no/where", "rerank: --out /"),
        ("eval . --metric foo", "rerank: --metric 'foo' is unknown"),
        ("eval . --plot quality.jpg", "rerank: --plot 'quality.jpg' must end in one of .png, .svg"),
        ("eval . --plot -", "rerank: --plot '-' must end in one of .png, .svg, .pdf"),
        ("eval . -s nano -s nano", "rerank: --scorer 'nano' is given twice; give one as NAME="),
        ("eval . .", "is given twice; give one as a folder of another name"),
        ("demo -s nanoo", "rerank: --scorer 'nanoo' is unknown"),
    ],
)
def test_an_error_is_in_the_words_of_the_command_line(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"  # whose name is in some messages
    folder.mkdir()
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(app, shlex.split(arguments), input="a\n", env={"COLUMNS": "40"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    said = result.stderr.replace(str(tmp_path), "")
    assert not re.search(r"[a-z]_[a-z]|\((str|int|float)\)|Input should|Value error", said)
    assert result.exception is None or isinstance(result.exception, SystemExit)
