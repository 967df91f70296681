from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rerank_core import ConfigurationError, InvalidInputError, MissingExtraError
from rerank_core.evaluation import Collection, Journal, first_stage, read_collection
from support.bi_encoders import build_bi_encoder
from support.collections import DOCUMENTS, write_collection
from support.models import TinyModel

HEADER = "query-id\tcorpus-id\trank\tscore\n"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return read_collection(write_collection(tmp_path / "small"))


def ids(collection: Collection, spec: str, query: str, depth: int = 10) -> list[str]:
    found = first_stage(spec, collection, depth).candidates[query]
    return [candidate.id for candidate in found]


def test_a_run_is_read_to_its_depth(collection: Collection) -> None:
    assert ids(collection, "run:first", "q1") == ["d5", "d2", "d1"]
    assert ids(collection, "run:first", "q1", depth=2) == ["d5", "d2"]
    stage = first_stage("run:first", collection, 2)
    assert stage.candidates["q2"][1] == ("d6", 1.5)
    assert stage.settings["content"] != first_stage("run:first", collection, 3).settings["content"]


def test_trec_runs_and_scores_decide(collection: Collection, tmp_path: Path) -> None:
    run = tmp_path / "run.txt"
    run.write_text(
        "q1 Q0 d1 9 1.0 tag\nq1 Q0 d3 2 2.5 tag\nq1 Q0 d2 1 2.5 tag\nq1 Q0 d4 1 2.5 tag\n"
        "other Q0 d1 1 1 tag\n"
    )
    stage = first_stage(f"run:{run}", collection, 10)
    # By score, then rank, then line.
    assert [candidate.id for candidate in stage.candidates["q1"]] == ["d2", "d4", "d3", "d1"]
    assert stage.notes == (
        "2 of 3 queries have no candidates in run.txt",
        "1 queries of run.txt do not count here",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "q1\td1\t1", r":2: 3 columns, but there must be query-id"),
        (HEADER + "q1\td1\tfirst\t1", r":2: the rank must be a whole number, not 'first'"),
        (HEADER + "q1\td1\t1\tnan", r":2: the score must be a finite number, not 'nan'"),
        (HEADER + "q1\td1\t1\thigh", r":2: the score must be a finite number, not 'high'"),
        (HEADER + "q1\td9\t1\t1", r":2: document 'd9' has no text in small"),
        (HEADER + "q1\td1\t1\t2\nq1\td1\t2\t1", r":3: document 'd1' appears twice.*line 2"),
        ("q1 Q0 d1 1 2.5", r":1: 5 columns, but there must be 6"),
    ],
)
def test_a_wrong_line_of_a_run_is_named(collection: Collection, content: str, message: str) -> None:
    assert collection.folder is not None
    (collection.folder / "run.bad.tsv").write_text(content)
    with pytest.raises(InvalidInputError, match=r"run\.bad\.tsv" + message):
        first_stage("run:bad", collection, 10)


def test_a_run_that_is_not_there_says_which_are(collection: Collection) -> None:
    with pytest.raises(InvalidInputError, match=r"no run 'bm25'.*its runs are first"):
        first_stage("run:bm25", collection, 10)


def test_bm25_finds_by_words_and_their_stems(collection: Collection) -> None:
    assert ids(collection, "bm25", "q1") == ["d1", "d2"]
    assert ids(collection, "bm25", "q3") == ["d5"]
    settings = first_stage("bm25", collection, 10).settings
    assert (settings["k1"], settings["b"], settings["stemmer"]) == (0.9, 0.4, "snowball english")


def test_bm25_stems_words(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c", queries={"q1": "rivers", "q2": "the zebra"})
    collection = read_collection(folder)
    assert sorted(ids(collection, "bm25", "q1")) == ["d1", "d2"]
    stage = first_stage("bm25", collection, 10)
    assert stage.candidates["q2"] == ()
    assert stage.notes == ("bm25 finds nothing for 1 queries",)


def test_equal_bm25_scores_keep_the_corpus_order(tmp_path: Path) -> None:
    documents = {f"d{i}": "storm weather" for i in (5, 3, 9, 1, 7)}
    folder = write_collection(
        tmp_path / "c", documents, {"q3": "storm"}, {"q3": {"d1": 1}}, runs={}
    )
    collection = read_collection(folder)
    assert ids(collection, "bm25", "q3", depth=4) == ["d5", "d3", "d9", "d1"]


def test_bm25_gives_the_scores_of_its_formula(tmp_path: Path) -> None:
    from math import log

    documents = {"a": "storm storm weather", "b": "quiet weather", "c": "nothing"}
    folder = write_collection(tmp_path / "c", documents, {"q": "storm"}, {"q": {"a": 1}}, runs={})
    (found,) = first_stage("bm25", read_collection(folder), 3).candidates["q"]
    idf = log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 / (2 + 0.9 * (1 - 0.4 + 0.4 * 3 / 2))
    assert found.score == pytest.approx(expected, rel=1e-5)


def test_dense_finds_by_cosine_and_remembers(
    collection: Collection, tiny: Callable[..., TinyModel], tmp_path: Path
) -> None:
    model = build_bi_encoder(tiny("bert").torch, tmp_path / "tiny-bi")
    from rerank_core import BiEncoderScorer

    encoder = BiEncoderScorer(str(model))
    known = [key for key, text in DOCUMENTS.items() if text]
    scores = encoder.score("storm", [DOCUMENTS[key] for key in known]).scores
    expected = sorted(known, key=lambda key: -(scores[known.index(key)] or 0))
    steps: list[int] = []
    with Journal(tmp_path / "journal.jsonl") as journal:
        stage = first_stage(
            f"dense:{model}",
            collection,
            10,
            journal=journal,
            progress=lambda done, total: steps.append(done),
        )
    assert [candidate.id for candidate in stage.candidates["q3"]] == expected
    assert (stage.name, steps[-1]) == ("dense:tiny-bi", 5)
    with Journal(tmp_path / "journal.jsonl") as journal:
        again = first_stage(
            f"dense:{model}", collection, 10, journal=journal, progress=lambda *_: steps.clear()
        )
    assert again == stage
    assert steps  # nothing was embedded again
    written = (tmp_path / "journal.jsonl").read_text()
    for hit in (5, ["d1"], ["gone", 0.5], ["d1", "0.5"], ["d2", 0.5]):  # d2 twice
        line = json.loads(written.splitlines()[1])
        line["entry"]["q1"] = [["d2", 0.5], hit]
        (tmp_path / "journal.jsonl").write_text(f"{written.splitlines()[0]}\n{json.dumps(line)}\n")
        with (
            Journal(tmp_path / "journal.jsonl") as journal,
            pytest.raises(InvalidInputError, match=r"journal\.jsonl:2: is damaged: a "),
        ):
            first_stage(f"dense:{model}", collection, 10, journal=journal)


@pytest.mark.parametrize("spec", ["tfidf", "run:", "dense:", "", "bm25:x"])
def test_an_unknown_first_stage_lists_what_works(collection: Collection, spec: str) -> None:
    with pytest.raises(ConfigurationError, match="use 'bm25', 'run:NAME'"):
        first_stage(spec, collection, 10)


def test_without_the_extra_the_install_line_is_shown(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rerank-core\[eval\]"'):
        first_stage("bm25", collection, 10)
