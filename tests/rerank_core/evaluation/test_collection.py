from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rerank_core import InvalidInputError
from rerank_core.evaluation import Collection, read_collection
from support.collections import write_collection


def test_it_reads_documents_queries_and_judgements(tmp_path: Path) -> None:
    collection = read_collection(write_collection(tmp_path / "small"))
    assert collection.name == "small"
    assert collection.documents["d5"] == "storm weather"
    assert collection.judgements["q1"] == {"d1": 2, "d2": 1, "d5": 0}
    assert collection.evaluated == ("q1", "q2", "q3")
    assert collection.notes == ("1 of 5 judged documents have no text here",)


def test_a_title_comes_first(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c")
    documents = [
        {"_id": "d1", "title": "Rivers", "text": "They flow."},
        {"_id": "d2", "title": " ", "text": "They flow."},
        {"_id": "d3", "title": "Rivers", "text": ""},
        {"_id": "d4", "title": None, "text": "half \ud800 a pair"},
    ]
    (folder / "corpus.jsonl").write_text("\n\n".join(map(json.dumps, documents)))
    collection = read_collection(folder)
    assert list(collection.documents.values()) == [
        "Rivers. They flow.",
        "They flow.",
        "Rivers",
        "half \ufffd a pair",
    ]
    assert collection.headers == {"d1": "Rivers. "}
    assert [*map(collection.own_text, ("d1", "d3"))] == ["They flow.", "Rivers"]


def test_answers_are_places_in_the_text_without_its_title(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c")
    document = {"_id": "d1", "title": "Rivers", "text": "They flow. Down."}
    (folder / "corpus.jsonl").write_text(json.dumps(document))
    rows = ["q1\td1\t0\t10", "q1\td1\t11\t16", "q1\tgone\t0\t9", "q9\td1\t0\t2"]
    (folder / "answers.tsv").write_text(ANSWERS + "\n".join(rows))
    collection = read_collection(folder)
    assert collection.answers == {"q1": {"d1": [(0, 10), (11, 16)]}}
    assert "2 answers have no query or document here and are left out" in collection.notes


def test_queries_that_cannot_count_are_told(tmp_path: Path) -> None:
    judgements = {"q1": {"d1": 1}, "q2": {"d3": 0, "d4": -1}, "unknown": {"d1": 1}}
    collection = read_collection(write_collection(tmp_path / "c", judgements=judgements))
    assert collection.evaluated == ("q1",)
    assert collection.notes == (
        "1 judged queries have no text here and are left out",
        "1 judged queries have no relevant document and are left out",
        "1 queries have no judgements and are left out",
    )


def test_the_judgements_are_chosen_and_never_guessed(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c")
    (folder / "qrels.other.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    assert read_collection(folder, qrels="qrels.other.tsv").evaluated == ("q1",)
    (folder / "qrels").mkdir()
    (folder / "qrels.tsv").rename(folder / "qrels" / "test.tsv")
    assert read_collection(folder).evaluated == ("q1", "q2", "q3")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "dev.tsv")
    with pytest.raises(InvalidInputError, match=r"there is qrels.other.tsv, qrels/dev.tsv"):
        read_collection(folder)


def test_trec_judgements_say_the_same(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c")
    (folder / "trec.txt").write_text("q1 0 d1 2\nq1 0 d2 1\nq1 0 d5 0\nq2 Q0 d3 1\nq2 Q0 d3 1\n")
    read = read_collection(folder, qrels="trec.txt").judgements
    assert read == {"q1": {"d1": 2, "d2": 1, "d5": 0}, "q2": {"d3": 1}}


HEADER = "query-id\tcorpus-id\tscore\n"
ANSWERS = "query-id\tcorpus-id\tstart\tend\n"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n\n{"_id"', r"corpus\.jsonl:3: not JSON: "),
        ("corpus.jsonl", "[1]", r"corpus\.jsonl:1: must be a JSON object, not \[1\]"),
        ("corpus.jsonl", '{"text": "x"}', r':1: "_id" must be a string.*missing'),
        ("corpus.jsonl", '{"_id": 7, "text": "x"}', r':1: "_id" must be a string; it is 7$'),
        ("corpus.jsonl", '{"_id": "a"}', r':1: "text" must be a string; it is missing'),
        ("corpus.jsonl", '{"_id": "a", "text": 5}', r':1: "text" must be a string; it is 5'),
        ("corpus.jsonl", '{"_id":"a","title":[],"text":""}', r':1: "title" must be a string'),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}',
            r":2: \"_id\" 'a' appears twice, first on line 1",
        ),
        ("corpus.jsonl", "", "is empty"),
        ("corpus.jsonl", "[" * 100_000, r":1: not JSON"),
        ("queries.jsonl", '{"_id": "a", "text": " "}', r'queries\.jsonl:1: "text" is blank'),
        ("qrels.tsv", HEADER + "q1\td1", r"qrels\.tsv:2: 2 columns"),
        ("qrels.tsv", HEADER + "q1\td1\thigh", r"qrels\.tsv:2: the grade.*'high'"),
        ("qrels.tsv", HEADER + "q1\td1\t2000000000", r":2: the grade must be at most 1,000,000"),
        ("qrels.tsv", HEADER + "q1\td1\t1\nq1\td1\t2", r":3: document 'd1' is judged 2.*line 2"),
        ("qrels.tsv", "q1 0 d1 1\nq1 d1 1", r"qrels\.tsv:2: 3 columns, but there must be 4"),
        ("qrels.tsv", HEADER, "has no judgements"),
        ("answers.tsv", ANSWERS + "q1\td1\t0", r"answers\.tsv:2: 3 columns"),
        ("answers.tsv", ANSWERS + "q1\td1\t0\tx", r":2: end must be a whole number, not 'x'"),
        ("answers.tsv", ANSWERS + "q1\td1\t0\t32", r":2: 0 to 32 is no part of document 'd1'"),
        ("answers.tsv", ANSWERS + "q1\td1\t4\t4", r":2: 4 to 4 is no part of document 'd1'"),
        ("qrels.tsv", HEADER + "q1\td1\t0", "no query of .* has a judgement of at least 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, file: str, content: str, message: str) -> None:
    folder = write_collection(tmp_path / "c")
    (folder / file).write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        read_collection(folder)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "c")
    (folder / "queries.jsonl").write_bytes(b'\xef\xbb\xbf{"_id": "a", "text": "x"}\n"\xff"')
    with pytest.raises(InvalidInputError, match=r"queries\.jsonl:2: not UTF-8: byte 0xff at 2"):
        read_collection(folder)


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = write_collection(tmp_path / "c")
    (folder / missing).unlink()
    with pytest.raises(InvalidInputError, match=missing):
        read_collection(folder)
    with pytest.raises(InvalidInputError, match="no such folder"):
        read_collection(tmp_path / "nowhere")


def test_the_fingerprint_follows_the_texts(tmp_path: Path) -> None:
    one = read_collection(write_collection(tmp_path / "one"))
    two = read_collection(write_collection(tmp_path / "two"))
    other = read_collection(write_collection(tmp_path / "three", queries={"q1": "river"}))
    assert one.fingerprint == two.fingerprint != other.fingerprint


def test_every_question_of_the_sample_has_answers() -> None:
    sample = Collection.sample()
    assert len(sample.evaluated) == len(sample.queries) == 146
    assert len(set(sample.queries.values())) == 146
    for query in sample.evaluated:
        assert sample.judgements[query].keys() <= sample.documents.keys(), query
    assert sum(sample.documents[name].startswith(f"{name}: ") for name in sample.documents) > 2000


def test_the_questions_of_the_sample_are_not_cut_out_of_their_answers() -> None:
    sample = Collection.sample()
    for query, question in sample.queries.items():
        for answer in sample.judgements[query]:
            asked, written = (
                re.findall(r"\w+", text.lower()) for text in (question, sample.documents[answer])
            )
            runs = {tuple(written[i : i + 6]) for i in range(len(written))}
            assert not any(tuple(asked[i : i + 6]) in runs for i in range(len(asked) - 5)), question
