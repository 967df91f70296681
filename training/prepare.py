"""Step 1: queries and one pool of passages out of sets of pairs."""

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
    """A query and the passages that people tied to it, as places in the pool."""

    source: str
    query: str
    positives: list[int]
    negatives: list[int]


def prepare(settings: Settings) -> None:
    """Write ``passages.jsonl`` (one string a line) and ``queries.jsonl`` (`Labelled`)."""
    chance = random.Random(settings.seed)
    options = settings.section("data")
    pool: dict[str, int] = {}
    labelled: list[Labelled] = []

    def place(text: str) -> int:
        return pool.setdefault(" ".join(text.split()), len(pool))

    for source, most in sorted(options["queries"].items()):
        pairs = _read_set(settings.data / "train" / f"{source}.jsonl.gz")
        for query in _sample(chance, sorted(pairs), most):
            positives, negatives = pairs[query]
            kept = _sample(chance, negatives, options["given_negatives"])
            labelled.append(
                Labelled(
                    source,
                    query,
                    [place(text) for text in positives],
                    [place(text) for text in kept if text not in positives],
                )
            )
    for query, code in _sample(chance, sorted(set(_code_pairs())), options["code_pairs"]):
        # Code keeps its lines: its white space is part of it.
        labelled.append(Labelled("stdlib", query, [pool.setdefault(code, len(pool))], []))
    wikipedia = settings.data / "pretrain" / "wiki_boolq_7030.txt.gz"
    sections = sorted(set(_sections(wikipedia)))
    for text in _sample(chance, sections, options["wikipedia_passages"]):
        place(text)
    _write(settings.work / "passages.jsonl", pool)
    _write(settings.work / "queries.jsonl", map(asdict, labelled))


def read_passages(work: Path) -> list[str]:
    """Read the pool back."""
    with (work / "passages.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_labelled(work: Path) -> list[Labelled]:
    """Read the queries back."""
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


def _sections(path: Path, words: int = 110) -> Iterator[str]:
    """Yield sections of 30 words at least, cut after the sentence that reaches `words`."""
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
    """Yield (first sentence of the docstring, function without it) of the standard library."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts or "tests" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue  # lib2to3 and some codecs hold files that are wrong on purpose
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


def _sample(chance: random.Random, items: list[T], most: int) -> list[T]:
    return chance.sample(items, min(most, len(items)))


def _write(path: Path, rows: Iterable[object]) -> None:
    with whole_file(path) as out:
        out.writelines(f"{json.dumps(row, ensure_ascii=False)}\n".encode() for row in rows)
