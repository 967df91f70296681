"""Step 1: building queries and one pool of passages from data sets of pairs."""

from __future__ import annotations

import ast
import gzip
import json
import random
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from training.settings import Settings, whole_file

__all__ = ["Labelled", "prepare", "read_labelled", "read_passages"]

T = TypeVar("T")


@dataclass(frozen=True)
class Labelled:
    """A query with its labelled passages.

    Attributes:
        source: Name of the data set.
        query: The query.
        positives: Positions of the relevant passages in the pool.
        negatives: Positions of the passages labelled as not relevant.
    """

    source: str
    query: str
    positives: list[int]
    negatives: list[int]


def prepare(settings: Settings) -> None:
    """Write ``passages.jsonl`` (one string per line) and ``queries.jsonl`` (`Labelled`).

    Args:
        settings: Settings of the recipe.
    """
    rng = random.Random(settings.seed)
    options = settings.section("data")
    pool: dict[str, int] = {}
    labelled: list[Labelled] = []

    def place(text: str) -> int:
        return pool.setdefault(" ".join(text.split()), len(pool))

    for source, most in sorted(options["queries"].items()):
        pairs = _read_set(settings.data / "train" / f"{source}.jsonl.gz")
        for query in _runs(rng, list(pairs), most, options["run"]):
            positives, negatives = pairs[query]
            kept = _sample(rng, negatives, options["given_negatives"])
            labelled.append(
                Labelled(
                    source,
                    query,
                    [place(text) for text in positives],
                    [place(text) for text in kept if text not in positives],
                )
            )
    questions = _lines(settings.data / "train" / "queries_only_wellformedness.txt.gz")
    labelled += [
        Labelled("questions", query, [], [])
        for query in _sample(rng, questions, options["questions"])
    ]
    for query, code in _sample(rng, sorted(set(_code_pairs())), options["code_pairs"]):
        # Whitespace is kept, as it is part of the code.
        labelled.append(Labelled("stdlib", query, [pool.setdefault(code, len(pool))], []))
    wikipedia = settings.data / "pretrain" / "wiki_boolq_7030.txt.gz"
    sections = sorted(set(_sections(wikipedia)))
    for text in _sample(rng, sections, options["wikipedia_passages"]):
        place(text)
    _write(settings.work / "passages.jsonl", pool)
    _write(settings.work / "queries.jsonl", map(asdict, labelled))


def read_passages(work: Path) -> list[str]:
    """Read the pool of passages."""
    with (work / "passages.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_labelled(work: Path) -> list[Labelled]:
    """Read the labelled queries."""
    with (work / "queries.jsonl").open(encoding="utf-8") as lines:
        return [Labelled(**json.loads(line)) for line in lines]


def _read_set(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    pairs: dict[str, tuple[list[str], list[str]]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            positives, negatives = pairs.setdefault(row["query"].strip(), ([], []))
            found = row["pos"] if isinstance(row["pos"], list) else [row["pos"]]
            positives += [text for text in found if text not in positives and text.strip()]
            negatives += [text for text in row.get("negs") or [] if text.strip()]
    return {query: value for query, value in pairs.items() if query and value[0]}


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [line.strip() for line in lines if line.strip()]


def _sections(path: Path, words: int = 110) -> Iterator[str]:
    """Yield sections of at least 30 words, each cut after the sentence that reaches `words`."""
    section: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and sum(len(part.split()) for part in section) < words:
                section.append(line.strip())
            elif not line.strip():
                text = " ".join(section)
                section = []
                if len(text.split()) >= 30:
                    yield text


def _code_pairs() -> Iterator[tuple[str, str]]:
    """Yield pairs from the functions of Python's standard library.

    Yields:
        The first sentence of a docstring, and the function without its docstring.
    """
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts or "tests" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue  # some files of the standard library are invalid on purpose
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and (pair := _code_pair(node)):
                yield pair


def _code_pair(node: ast.FunctionDef) -> tuple[str, str] | None:
    docstring = ast.get_docstring(node)
    if not docstring or len(node.body) < 2:
        return None
    sentence = re.split(r"\.\s|\n\n", docstring.strip())[0]
    query = " ".join(sentence.split()).rstrip(".")
    if not 4 <= len(query.split()) <= 20:
        return None
    node.body = node.body[1:]
    code = ast.unparse(node)
    return (query, code) if 40 <= len(code) <= 2000 else None


def _sample(rng: random.Random, items: list[T], most: int) -> list[T]:
    return rng.sample(items, min(most, len(items)))


def _runs(rng: random.Random, items: list[T], most: int, size: int) -> list[T]:
    """Sample runs of neighbours, as the questions about one passage or article stand together."""
    starts = _sample(rng, list(range(0, len(items), size)), -(-most // size))
    return [item for start in starts for item in items[start : start + size]]


def _write(path: Path, rows: Iterable[object]) -> None:
    with whole_file(path) as out:
        out.writelines(f"{json.dumps(row, ensure_ascii=False)}\n".encode() for row in rows)
