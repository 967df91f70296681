"""The collection of articles that the benchmark of trimming makes of sentences."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.trim import articles, write
from rerank_core.evaluation import read_collection
from support.collections import write_collection


def test_sentences_become_articles_with_answers(tmp_path: Path) -> None:
    judgements = {
        "q1": {"D1-10": 1, "D1-2": 0},
        "q2": {"D2-0": 1},  # fills its article
        "q3": {"D1-2": 1, "D2-0": 1},  # in two articles
    }
    queries = {"q1": "hot?", "q2": "rice?", "q3": "both?"}
    folder = write_collection(tmp_path / "sentences", queries=queries, judgements=judgements)
    rows = {
        "D1-10": ("Tea", "It is hot."),
        "D1-2": ("Tea", "Tea is green."),
        "D2-0": ("Rice", "White."),
    }
    lines = [{"_id": name, "title": title, "text": text} for name, (title, text) in rows.items()]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, lines)))
    made = articles(read_collection(folder))
    assert made.documents == {"D1": "Tea. Tea is green. It is hot.", "D2": "Rice. White."}
    assert made.own_text("D1")[14:24] == "It is hot."
    assert made.answers == {"q1": {"D1": [(14, 24)]}}
    assert [*made.queries] == ["q1"]
    write(made, tmp_path / "articles")
    read = read_collection(tmp_path / "articles")
    assert (read.documents, read.headers) == (made.documents, made.headers)
    assert (read.queries, read.judgements, read.answers) == (
        made.queries,
        made.judgements,
        made.answers,
    )
