"""Small test collections, written to a folder in BEIR's layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

DOCUMENTS = {
    "d1": "a river runs through the valley",
    "d2": "the mountain river is cold",
    "d3": "python writes a list to a file",
    "d4": "a list of python errors",
    "d5": "storm weather",
    "d6": "",
}
QUERIES = {"q1": "river valley", "q2": "python list", "q3": "storm"}
JUDGEMENTS = {"q1": {"d1": 2, "d2": 1, "d5": 0}, "q2": {"d3": 1}, "q3": {"d5": 1, "gone": 1}}
RUN = {
    "q1": {"d5": 3.0, "d2": 2.0, "d1": 1.0},
    "q2": {"d4": 2.0, "d6": 1.5, "d3": 1.0},
    "q3": {"d1": 2.0, "d5": 1.0},
}


def write_collection(
    folder: Path,
    documents: Mapping[str, str] = DOCUMENTS,
    queries: Mapping[str, str] = QUERIES,
    judgements: Mapping[str, Mapping[str, int]] = JUDGEMENTS,
    runs: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
) -> Path:
    """Write a collection; its only run, unless others are given, is called "first"."""
    folder.mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    rows = [f"{q}\t{d}\t{grade}" for q, grades in judgements.items() for d, grade in grades.items()]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    for name, run in ({"first": RUN} if runs is None else runs).items():
        rows = [
            f"{query}\t{document}\t{rank}\t{score}"
            for query, scores in run.items()
            for rank, (document, score) in enumerate(scores.items(), start=1)
        ]
        header = "query-id\tcorpus-id\trank\tscore"
        (folder / f"run.{name}.tsv").write_text("\n".join([header, *rows]) + "\n")
    return folder
