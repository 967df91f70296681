from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rerank_core import AllScorersFailed, RateLimitError, __version__
from rerank_core.cli._app import app
from rerank_core.cli._guard import guarded

runner = CliRunner()


def test_version() -> None:
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"rerank {__version__}\n")


def test_every_option_reaches_the_ranking(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    arguments = [
        "rank", "--query", "capital of France", "--scorer", "nano", "--top-n", "2",
        "--min-score", "-1000", "--blend", "zscore:1", "--input-format", "jsonl",
        "--format", "jsonl", "--strict", "--usage", "--output", str(output),
    ]  # fmt: skip
    lines = [
        {"text": "Paris is the capital of France", "score": 1},
        {"text": "cats purr", "score": 3},
        {"text": "dogs bark", "score": 2},
    ]
    result = runner.invoke(app, arguments, input="\n".join(map(json.dumps, lines)))
    assert result.exit_code == 0, result.output
    assert result.output.startswith("rerank: nano: scale logit, pairs 3, ")
    assert len(result.output.splitlines()) == 1
    records = [json.loads(line) for line in output.read_text().splitlines()]
    # With all the weight on the first stage, its order stays.
    assert [record["score"] for record in records] == [3, 2]


def ranked(*arguments: str, lines: list[dict[str, object]]) -> list[dict[str, object]]:
    given = "\n".join(map(json.dumps, lines))
    result = runner.invoke(app, ["rank", "-q", "capital of France", *arguments], input=given)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_only_the_first_candidates_are_scored_with_depth() -> None:
    lines: list[dict[str, object]] = [{"text": "cats"}, {"text": "dogs"}, {"text": "Paris"}]
    found = ranked("--depth", "2", lines=lines)
    assert ["relevance_score" in record for record in found] == [True, True, False]
    assert found[2] == {"text": "Paris"}


def test_fields_can_have_other_names() -> None:
    long = "The bus was late. " * 60 + "Paris is the capital of France."
    lines: list[dict[str, object]] = [
        {"text": "cats purr", "mine": "old", "where": "old", "first": 2},
        {"text": long, "first": 1},
    ]
    found = ranked(
        *("--score-key", "mine", "--span-key", "where", "--prior-key", "first"),
        *("--blend", "zscore:0.1"),
        lines=lines,
    )
    assert [record["first"] for record in found] == [1, 2]
    assert all(isinstance(record["mine"], float) for record in found)
    assert all("where" not in record for record in found)  # nano does not know passages
    assert all("relevance_score" not in record for record in found)


def test_each_id_is_kept_once_if_asked_for() -> None:
    lines: list[dict[str, object]] = [
        {"id": 1, "text": "cats"},
        {"id": 2, "text": "Paris"},
        {"id": 1, "text": "cats again"},
        {"text": "no id"},
        {"text": "no id"},
    ]
    assert len(ranked(lines=lines)) == 5
    found = ranked("--distinct-ids", lines=lines)
    assert sorted(str(record["text"]) for record in found) == ["Paris", "cats", "no id", "no id"]


def test_a_budget_of_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, object]] = [
        {"text": "Paris is the capital of France"},
        {"text": "cats purr, dogs bark, and birds sing in the morning"},
    ]
    assert len(ranked("--max-tokens", "8", lines=lines)) == 1
    assert len(ranked("--max-tokens", "100", lines=lines)) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_counter.py").write_text("def letters(text):\n    return len(text)\n")
    counted = ("--count-tokens", "my_counter:letters")
    assert len(ranked("--max-tokens", "30", *counted, lines=lines)) == 1
    (cut,) = ranked("--max-tokens", "20", *counted, lines=lines)
    assert cut["text"] == "Paris is the capital"
    whole = "Paris is the capital of France"
    assert cut["trimmed"] == {"spans": [{"start": 0, "end": 20}], "original": whole}


def test_texts_are_trimmed() -> None:
    text = "Cats purr. Paris is the capital of France. Dogs bark."
    lines: list[dict[str, object]] = [{"text": text, "trimmed": 1}, {"text": text, "trimmed": 1}]
    (kept,) = ranked("--trim", "excerpt=0", "--trim", "distinct", lines=lines)
    assert kept["text"] == "Paris is the capital of France."
    assert kept["trimmed"] == {"spans": [{"start": 11, "end": 42}], "original": text}
    (kept,) = ranked("--trim", "distinct", lines=lines)
    assert "trimmed" not in kept  # what an earlier ranking wrote does not stay


def test_what_trimming_saved_is_told() -> None:
    given = ["rank", "-q", "capital of France", "--trim", "adaptive", "--usage"]
    result = runner.invoke(app, given, input="Paris is the capital of France\ncats purr\n")
    assert "text tokens 6 of 9" in result.stderr
    result = runner.invoke(app, ["rank", "-q", "x", "--trim", "exerpt"], input="a\n")
    assert result.exit_code == 2
    assert "--trim: there is no trimmer 'exerpt'; did you mean 'excerpt'?" in result.output


@pytest.mark.parametrize("name", ["no_such_module:f", "json:no_such", "json", "json:__name__"])
def test_a_counter_that_is_none_is_refused(name: str) -> None:
    result = runner.invoke(app, ["rank", "-q", "x", "--count-tokens", name], input="a\n")
    assert result.exit_code == 2
    assert f"--count-tokens {name}: " in result.output


def test_a_query_too_long_for_the_model_is_told() -> None:
    query = "capital of France " * 200
    result = runner.invoke(app, ["rank", "-q", query], input="Paris\nRome\n")
    assert result.exit_code == 0
    assert "the query is too long for nano, and was read without its middle" in result.output


def test_a_threshold_that_drops_everything_says_so() -> None:
    lines = "Paris is the capital of France\ncats purr\n"
    (first, *_) = ranked(lines=[{"text": line} for line in lines.splitlines()])
    best = f"{first['relevance_score']:.6g}"
    given = ["rank", "-q", "capital of France", "--min-score", "1e3"]
    result = runner.invoke(app, given, input=lines)
    assert (result.exit_code, result.stdout) == (0, "")
    said = "rerank: --min-score 1000 drops every scored candidate; the best scores "
    assert result.stderr == f"{said}{best}\n"
    result = runner.invoke(app, [*given[:-1], "-1e3", "--max-tokens", "1"], input=lines)
    assert (result.exit_code, json.loads(result.stdout)["text"]) == (0, "Paris")
    assert "the budget of 1 tokens is less than the best sentence takes" in result.stderr
    assert "--min-score" not in result.stderr  # it dropped nothing


def test_a_dash_is_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, ["rank", "-q", "x", "-o", "-"], input="a\n")
    assert (result.exit_code, json.loads(result.stdout)["text"]) == (0, "a")
    assert not list(tmp_path.iterdir())


def test_a_table_can_be_asked_for() -> None:
    result = runner.invoke(app, ["rank", "-q", "x", "-f", "table"], input="a\nb\n")
    assert result.exit_code == 0
    assert "not a probability" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        *(
            (["rank", "-q", "x", *guess], "--top-n")
            for guess in (["--top-k", "3"], ["--topk=3"], ["--topn", "3"], ["--top_n", "3"],
                          ["-k", "3"], ["-k3"], ["--k", "3"], ["--limit", "3"])
        ),
        *(
            ([*command, guess, "nano"], "--scorer")
            for command in (["rank", "-q", "x"], ["demo"], ["eval", "."])
            for guess in ("--model", "-m", "--reranker", "--scorers")
        ),
        (["eval", ".", "--top-k", "20"], "--top-n' or '--depth"),
        (["eval", ".", "-k", "20"], "--top-n' or '--depth"),
        (["rank", "-q", "x", "--threshold", "0"], "--min-score"),
        (["rank", "-q", "x", "--text-key", "body"], "--text-field"),
    ],
)  # fmt: skip
def test_names_that_users_guess_get_an_answer(arguments: list[str], option: str) -> None:
    result = runner.invoke(app, arguments, env={"COLUMNS": "100"})
    assert result.exit_code == 2
    assert f"; did you mean '{option}'" in result.stderr


def test_an_option_that_is_like_no_other_is_only_refused() -> None:
    result = runner.invoke(app, ["demo", "--top-k", "3"])
    assert (result.exit_code, "did you mean" in result.stderr) == (2, False)
    assert "No such option: --top-k" in result.stderr


def test_every_cause_of_a_chain_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    causes = [RateLimitError("slow down", provider="cohere", status_code=429), ValueError("x\ny")]
    with pytest.raises(SystemExit) as raised, guarded():
        raise AllScorersFailed("every scorer failed", causes)
    assert raised.value.code == 1
    assert capsys.readouterr().err == (
        "rerank: every scorer failed; cohere: slow down (status 429); x y\n"
    )


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), guarded():
        _ = 1 / 0


def test_an_interrupt_is_one_whatever_was_made_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    def compiled() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("as a compiled extension does") from None

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as raised, guarded():
        compiled()
    assert raised.value.code == 130
    assert capsys.readouterr().err == "rerank: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is before
