"""Questions, and pieces of real English text of wanted lengths."""

from __future__ import annotations

import ast
import itertools
import random
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rerank_core._local.files import embedded_tokenizer

__all__ = ["QUERIES", "Workload", "cut_texts", "make_workload", "standard_library_chunks"]

QUERIES = (
    "How can I measure how long a small piece of code takes to run?",
    "How do I generate a secure random password token?",
    "How do I write log messages to a file that rotates every day?",
)
"""Questions that Python's documentation answers."""
_DUPLICATES = 0.1  # share of candidates that repeat another one


@dataclass(frozen=True)
class Workload:
    """A query with its candidates.

    Attributes:
        name: Which lengths they have: ``"mixed"``, ``"short"``, or ``"exactly"`` so many tokens.
        query: The question.
        texts: The candidates, a tenth of them duplicates.
        tokens: Mean tokens of a pair, special ones included.
        padded: Tokens of all pairs padded to the longest, over their true number.
    """

    name: str
    query: str
    texts: tuple[str, ...]
    tokens: float
    padded: float


def make_workload(name: str, candidates: int) -> Workload:
    """Make a workload; the same one for the same arguments and Python version.

    Args:
        name: ``"mixed"`` has 20 to 400 tokens a text, 147 on average and most of them short, as
            chunks of documents are; ``"short"`` 20 to 100; a number exactly so many.
        candidates: How many texts.

    Returns:
        The workload.
    """
    chance = random.Random(f"{name}-{candidates}")
    draw: Callable[[], int] = {
        "mixed": lambda: 20 + round(380 * chance.random() ** 2),
        "short": lambda: chance.randint(20, 100),
    }.get(name, lambda: int(name))
    copies = round(_DUPLICATES * candidates)
    texts = cut_texts([draw() for _ in range(candidates - copies)], seed=candidates)
    texts += chance.sample(texts, copies)
    chance.shuffle(texts)
    tokenizer = embedded_tokenizer()
    query = QUERIES[0]
    pairs = tokenizer.encode_batch([(query, text) for text in texts])
    lengths = [len(pair.ids) for pair in pairs]
    mean = sum(lengths) / len(lengths)
    return Workload(name, query, tuple(texts), tokens=mean, padded=max(lengths) / mean)


def cut_texts(lengths: Sequence[int], seed: int) -> list[str]:
    """Cut pieces of these lengths from the standard library's documentation.

    Args:
        lengths: Tokens of each piece, without special tokens.
        seed: Different seeds give different pieces.

    Returns:
        The pieces, in the order of `lengths`.
    """
    tokenizer = embedded_tokenizer()
    supply = itertools.cycle(random.Random(seed).sample(_chunks(), len(_chunks())))
    texts = []
    for length in lengths:
        text = next(supply)
        encoding = tokenizer.encode(text, add_special_tokens=False)
        while len(encoding.ids) < length:
            text = f"{text}\n\n{next(supply)}"
            encoding = tokenizer.encode(text, add_special_tokens=False)
        texts.append(text[: encoding.offsets[length - 1][1]])
    return texts


@cache
def _chunks() -> tuple[str, ...]:
    return tuple(chunk.text for chunk in standard_library_chunks())


_SHORTEST, _LONGEST = 60, 900  # characters of a chunk
_NOT_FOR_USERS = frozenset(
    {"distutils", "idlelib", "lib2to3", "site-packages", "test", "tests", "turtledemo"}
)


class Chunk(NamedTuple):
    """A piece of documentation.

    Attributes:
        id: Where it is from, such as ``"csv.DictReader"``; later pieces of one text are numbered.
        text: The piece, under the name of what it documents.
    """

    id: str
    text: str


def standard_library_chunks() -> list[Chunk]:
    """Cut the documentation strings of the standard library's Python files into chunks.

    Nothing is imported: the files are parsed. Paragraphs are kept whole.

    Returns:
        The chunks, sorted by module; the same for one Python version.
    """
    root = Path(sysconfig.get_path("stdlib"))
    chunks: dict[str, Chunk] = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if _NOT_FOR_USERS.isdisjoint(parts) and not parts[0].startswith("_"):
            module = ".".join(parts).removesuffix(".__init__")
            for chunk in _chunks_of(path, module):
                chunks.setdefault(chunk.text, chunk)  # some texts are in several modules
    return list(chunks.values())


def _chunks_of(path: Path, module: str) -> Iterator[Chunk]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # some files of the library are broken on purpose
        return
    waiting: list[tuple[str, ast.AST]] = [(module, tree)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for number, piece in enumerate(_pieces(ast.get_docstring(node) or ""), start=1):
                yield Chunk(name if number == 1 else f"{name}#{number}", f"{name}: {piece}")
            waiting += [
                (f"{name}.{child.name}", child)
                for child in node.body
                if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not child.name.startswith("_")
            ]


def _pieces(documentation: str) -> Iterator[str]:
    """Join paragraphs up to the greatest length of a chunk."""
    piece = ""
    for paragraph in documentation.split("\n\n"):
        if piece and len(piece) + len(paragraph) > _LONGEST:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{paragraph}" if piece else paragraph
    if len(piece) >= _SHORTEST:
        yield piece
